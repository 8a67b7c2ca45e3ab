import hashlib
from typing import Any

from tests.annotation.label_studio.real import candidate, scene

from pixloop.annotation.label_studio.marks import read_mark
from pixloop.annotation.label_studio.tasks import LocalPlace, push, remove_twins
from pixloop.annotation.queue import ReviewQueue

CLASSES = ("red", "green", "blue")


class Recorder:
    """In Label Studio's place: takes tasks, and notes what is deleted."""

    def __init__(self) -> None:
        self.tasks: list[dict[str, Any]] = []
        self.deleted: list[str] = []

    def import_tasks(self, project: int, tasks: Any) -> list[int]:
        self.tasks += tasks
        return list(range(len(self.tasks) - len(tasks), len(self.tasks)))

    def delete(self, path: str) -> None:
        self.deleted.append(path)


def test_each_picture_that_is_asked_becomes_one_task_with_its_mark_and_answer(tmp_path):
    queue = ReviewQueue(tmp_path / "review")
    box = {"label": "red", "score": 0.7, "xyxy": [20, 40, 60, 90], "decision": "refer"}
    answer = {"boxes": [box], "width": 128, "height": 96}
    known, new, lying = scene(1), scene(2), scene(3, orientation=6)
    pictures = [candidate(known), candidate(new, answer), candidate(lying)]
    queue.offer(pictures)
    for each in pictures:
        queue.mark(each.sha256, "asked", "random")
    place = LocalPlace(tmp_path / "shown", tmp_path / "shown" / "pictures")
    studio = Recorder()
    done = push(studio, 1, queue, place, [pictures[0].sha256], CLASSES)
    assert len(done.tasks) == 2
    marks = {read_mark(task).sha256: task for task in studio.tasks}
    assert marks.keys() == {pictures[1].sha256, pictures[2].sha256}
    for task in studio.tasks:
        mark = read_mark(task)
        assert (mark.width, mark.height, mark.drawn) == (128, 96, "random")
        file = tmp_path / "shown" / task["data"]["image"].split("?d=")[1]
        upright = hashlib.sha256(file.read_bytes()).hexdigest() == mark.sha256
        assert upright == (mark.sha256 == pictures[1].sha256)
    (filled,) = marks[pictures[1].sha256]["predictions"]
    assert filled["result"][0]["value"]["x"] == 100 * 20 / 128
    assert "predictions" not in marks[pictures[2].sha256]
    assert len(done.empty) == 1


def test_of_two_tasks_of_a_picture_the_one_with_an_answer_stays():
    def task(number: int, name: str, **more: Any) -> dict[str, Any]:
        return {"id": number, "meta": {"sha256": name * 64, "width": 1, "height": 1}, **more}

    tasks = [
        task(1, "a"),
        task(2, "a", annotations=[{"id": 1}]),
        task(3, "b"),
        task(4, "b"),
        task(5, "c", annotations=[{"id": 2}]),
        task(6, "c", annotations=[{"id": 3}]),
        {"id": 7, "meta": {}},
    ]
    studio = Recorder()
    left = remove_twins(studio, tasks)
    assert studio.deleted == ["tasks/1/", "tasks/4/"]
    assert [each["id"] for each in left] == [2, 3, 5, 6, 7]
