"""Labels that cannot be read: the run goes on, and what was left out is listed with its place."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pixloop.bundle import Task
from pixloop.config import DataConfig
from pixloop.data.dataset import SPLITS, Dataset, DatasetInfo
from pixloop.data.findings import KINDS, summary
from pixloop.data.formats import write_samples
from pixloop.data.prepare import prepare
from pixloop.errors import DataError
from pixloop.records import Box, Sample

Put = Callable[..., Path]
WIDTH, HEIGHT = 48, 40


class Room:
    """Ten pictures of 48×40 pixels with a cat in each, and what prepare makes of them."""

    def __init__(self, folder: Path, put: Put) -> None:
        self.source, self.output, self.work = (folder / n for n in ("source", "out", "work"))
        self.pictures = [put(folder / f"pictures/{n}.png", n) for n in range(10)]

    def write(self, format_: str) -> None:
        box = Box("cat", (12, 10, 36, 30))
        samples = [Sample(p, None, None, "", (box,), (WIDTH, HEIGHT)) for p in self.pictures]
        write_samples(samples, self.source, format_)

    def prepare(
        self, task: Task = "detection", *, test: Path | None = None, **data: Any
    ) -> DatasetInfo:
        config = DataConfig(train="source", **data)
        return prepare(config, self.source, test, self.output, self.work, task)

    def said(self, kind: str) -> dict[str, str]:
        """A finding's words about each path; the count is that of the paths."""
        report = json.loads((self.output / "data_report.json").read_text())
        for found in report["findings"]:
            if found["kind"] == kind:
                assert found["count"] == len(found["examples"])
                return {e["path"].rpartition("/")[2]: e["detail"] for e in found["examples"]}
        return {}

    def quarantine(self) -> dict[str, str]:
        return {e["path"].rpartition("/")[2]: e["reason"] for e in self._lines("quarantine.jsonl")}

    def left_out(self) -> list[tuple[Any, ...]]:
        lines = self._lines("quarantine_boxes.jsonl")
        names = ("path", "box", "reason", "detail")
        return [(e["path"].rpartition("/")[2], *(e[n] for n in names[1:])) for e in lines]

    def _lines(self, name: str) -> list[dict[str, Any]]:
        return list(map(json.loads, (self.output / name).read_text().splitlines()))

    def boxes(self) -> dict[str, list[list[float]]]:
        """The edges of every picture's boxes in the data set."""
        dataset = Dataset.open(self.output)
        found = {}
        for split in SPLITS:
            for row in dataset.split(split):
                assert row.objects is not None
                found[row.path.rpartition("/")[2]] = row.objects.boxes.round(6).tolist()
        return found


@pytest.fixture
def room(tmp_path: Path, put: Put) -> Room:
    return Room(tmp_path, put)


CAT = [12, 10, 36, 30]


def change_json(file: Path, change: Callable[[Any], Any]) -> None:
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def yolo_label(room: Room, number: int) -> Path:
    return room.source / f"labels/unsplit/{number}.txt"


def test_bad_lines_of_yolo_are_left_out_with_their_place_and_the_others_stay(room: Room) -> None:
    room.write("yolo")
    good = yolo_label(room, 0).read_text()
    yolo_label(room, 0).write_text(good + "0 0.5 0.5 0.1\n0 0.5 0.5 wide 0.1\n")
    yolo_label(room, 1).write_text("0 0.5\n")
    yolo_label(room, 2).write_bytes(b"\xff")
    yolo_label(room, 3).write_text(good + "7 0.1 0.1 0.1 0.1\n0 30 20 10 10\n")
    info = room.prepare()
    assert room.quarantine() == {"1.png": "no_box_left", "2.png": "unreadable_label"}
    assert room.left_out() == [
        (
            "0.png",
            2,
            "unreadable_box",
            "labels/unsplit/0.txt:2: expected 'class x y width height' or a polygon,"
            " got '0 0.5 0.5 0.1'.",
        ),
        ("0.png", 3, "unreadable_box", "labels/unsplit/0.txt:3: expected a number, got 'wide'."),
        (
            "1.png",
            1,
            "unreadable_box",
            "labels/unsplit/1.txt:1: expected 'class x y width height' or a polygon, got '0 0.5'.",
        ),
        ("3.png", 2, "unnamed_class", "labels/unsplit/3.txt:2: the class 7 has no name."),
        (
            "3.png",
            3,
            "pixel_box",
            "labels/unsplit/3.txt:3: 30 looks like pixels;"
            " expected shares of the picture, from 0 to 1.",
        ),
    ]
    assert room.boxes() == {f"{n}.png": [CAT] for n in range(10) if n not in (1, 2)}
    assert room.said("unreadable_label")["2.png"].startswith("labels/unsplit/2.txt is not UTF-8")
    report = json.loads((room.output / "data_report.json").read_text())
    lines = "\n".join(summary(info, report))
    assert "warning: 3 boxes that cannot be read (left out): " in lines
    assert "warning: 1 label that cannot be read (left out, with the picture): " in lines
    assert "warning: 1 box in pixels where shares of the picture are expected (left out)" in lines


def test_a_missing_label_file_is_told_from_an_empty_one(room: Room) -> None:
    room.write("yolo")
    yolo_label(room, 0).unlink()
    yolo_label(room, 1).write_text("")
    room.prepare()
    assert room.boxes()["0.png"] == room.boxes()["1.png"] == []
    assert room.said("no_label_file") == {"0.png": "expected labels/unsplit/0.txt"}
    assert room.said("no_objects") == {"1.png": "no boxes"}
    assert KINDS["no_label_file"].severity == "warning"
    with pytest.raises(DataError, match="1 picture without a label file"):
        room.prepare(strict=True)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("0 0.5 0.5", "expected 'class x y width height' or a polygon, got '0 0.5 0.5'"),
        ("0 24 20 24 20", "24 looks like pixels; expected shares of the picture, from 0 to 1"),
    ],
)
def test_where_most_labels_cannot_be_read_the_run_stops(room: Room, line: str, words: str) -> None:
    room.write("yolo")
    for number in range(5):
        yolo_label(room, number).write_text(line)
    room.prepare()
    yolo_label(room, 5).write_text(line)
    with pytest.raises(DataError) as error:
        room.prepare()
    first, *shown = str(error.value).split("\n")
    assert f"{room.source}: the labels of 6 in 10 pictures cannot be read." in first
    assert "data.format" in first
    places = [f"labels/unsplit/{number}.txt:1: " for number in range(3)]
    assert [entry[: len(place)] for entry, place in zip(shown, places, strict=True)] == places
    assert all(words in entry for entry in shown)


def test_a_test_set_that_cannot_be_read_stops_the_run_whatever_there_is_to_train(
    room: Room, tmp_path: Path
) -> None:
    room.write("yolo")
    test = tmp_path / "test"
    shutil.copytree(room.source, test)
    for number in range(4, 10):
        (test / f"labels/unsplit/{number}.txt").unlink()
        (test / f"images/unsplit/{number}.png").unlink()
    for number in range(4):
        (test / f"labels/unsplit/{number}.txt").write_text("0 24 20 24 20")
    with pytest.raises(DataError) as error:
        room.prepare(test=test)
    assert str(error.value).startswith(f"{test}: the labels of 4 in 4 pictures cannot be read.")


def test_pictures_that_show_nothing_count_as_read(room: Room) -> None:
    room.write("yolo")
    for number in range(8):
        yolo_label(room, number).write_text("")
    yolo_label(room, 8).write_text("0 0.5")
    yolo_label(room, 9).write_text(yolo_label(room, 9).read_text() + "0 0.5\n" * 3)
    assert room.prepare().counts
    assert room.quarantine() == {"8.png": "no_box_left"}


def test_coco_ids_written_as_7_0_are_whole_numbers(room: Room) -> None:
    room.write("coco")

    def change(content: dict[str, Any]) -> None:
        for annotation in content["annotations"]:
            annotation["image_id"] = float(annotation["image_id"])

    change_json(room.source / "labels.json", change)
    room.prepare()
    assert room.boxes() == {f"{n}.png": [CAT] for n in range(10)}
    assert not room.quarantine()


def test_a_name_that_no_file_can_have_is_a_missing_picture(room: Room) -> None:
    room.write("coco")
    change_json(room.source / "labels.json", lambda c: c["images"][0].update(file_name="a\0b.png"))
    room.prepare()
    assert list(room.quarantine().values()) == ["missing_file"]


def test_an_xml_or_an_object_that_cannot_be_read(room: Room) -> None:
    room.write("voc")
    for number, (old, new) in enumerate([("</annotation>", ""), ("<xmin>12", "<xmin>x")]):
        file = room.source / f"Annotations/{number}.xml"
        file.write_text(file.read_text().replace(old, new))
    file = room.source / "Annotations/2.xml"
    objects = "<object><name>cat</name></object></annotation>"
    file.write_text(file.read_text().replace("</annotation>", objects))
    room.prepare()
    assert room.quarantine() == {"0.png": "unreadable_label", "1.png": "no_box_left"}
    assert room.said("unreadable_label")["0.png"].startswith("Annotations/0.xml is not valid XML")
    assert room.said("unreadable_box") == {
        "1.png": "box 1: Annotations/1.xml: object 1, xmin: expected a number, got 'x'.",
        "2.png": "box 2: Annotations/2.xml: object 2 has no bndbox;"
        " expected one with xmin, ymin, xmax, ymax.",
    }
    assert room.boxes()["2.png"] == [CAT]


def test_coco_annotations_that_cannot_be_read_or_are_of_no_image(room: Room) -> None:
    room.write("coco")

    def change(content: dict[str, Any]) -> None:
        content["annotations"][0]["bbox"] = [1, 2]
        content["annotations"] += [
            {"id": 77, "image_id": 99, "category_id": 1, "bbox": [1, 2, 3, 4]},
            {"id": 78, "image_id": 2, "category_id": 5, "bbox": [1, 2, 3, 4]},
        ]
        content["images"].append(content["images"][3] | {"id": 11})
        box = {"id": 79, "image_id": 11, "category_id": 1, "bbox": [0, 0, 9, 9]}
        content["annotations"].append(box)

    change_json(room.source / "labels.json", change)
    room.prepare()
    assert room.quarantine() == {"0.png": "no_box_left", "labels.json": "unreadable_label"}
    assert room.said("unreadable_label") == {
        "labels.json": "labels.json: annotation 77 is of image '99'; 'images' names no file for it."
    }
    assert room.said("unnamed_class") == {
        "1.png": "box 2: labels.json: annotation 78: the category 5 has no name."
    }
    assert room.said("listed_twice") == {"3.png": "labels.json: images 4, 11"}
    assert room.boxes()["3.png"] == [CAT, [0, 0, 9, 9]]


def test_a_label_studio_size_that_is_not_the_pictures_loses_no_box(room: Room) -> None:
    room.write("label_studio")

    def change(tasks: list[dict[str, Any]]) -> None:
        size = {"original_width": 1000, "original_height": 300}
        tasks[0]["annotations"][0]["result"][0] |= size
        tasks[1]["annotations"][0]["result"][0]["value"]["rotation"] = 90
        tasks[2]["annotations"][0]["result"] = 7

    change_json(room.source / "tasks.json", change)
    room.prepare()
    assert room.boxes()["0.png"] == [CAT]
    assert room.said("size_mismatch") == {
        "0.png": "labels say 1000×300, the picture is 48×40; boxes were scaled"
    }
    # 24 wide and 20 high, turned on (12, 10) by 90 degrees: 20 to the left and 24 down; clipped.
    assert room.boxes()["1.png"] == [[0, 10, 12, 34]]
    assert room.said("turned_box") == {
        "1.png": "box 1 'cat': tasks.json: task 2, region 2-0 is turned by 90 degrees"
    }
    assert room.quarantine() == {"2.png": "unreadable_label"}


@pytest.mark.parametrize("task", ["detection", "classification"])
def test_manifest_lines_that_cannot_be_read(room: Room, task: Task) -> None:
    room.write("manifest")
    file = room.source / "labels.manifest"
    lines = file.read_text().splitlines()
    if task == "classification":
        names = [json.loads(line)["source-ref"] for line in lines]
        lines = [json.dumps({"image": n, "label": "ab"[i % 2]}) for i, n in enumerate(names)]
    lines[0] = lines[0][:-5]
    file.write_text("\n".join(lines))
    room.prepare(task)
    assert room.quarantine() == {"labels.manifest": "unreadable_label"}
    words = room.said("unreadable_label")["labels.manifest"]
    assert words.startswith("labels.manifest:1 is not valid JSON: ")
    assert len(Dataset.open(room.output).split("train")) > 0


def test_a_label_file_is_not_looked_at_as_a_picture(
    room: Room, capsys: pytest.CaptureFixture[str]
) -> None:
    room.write("coco")
    change_json(room.source / "labels.json", lambda content: content["images"].append({"id": 0}))
    room.prepare()
    report = json.loads((room.output / "data_report.json").read_text())
    assert report["formats"] == {"PNG": 10}
    assert "checking pictures: 10/10" in capsys.readouterr().err
    assert {f["kind"] for f in report["findings"]} <= {"unreadable_label", "moved_to_fill"}


@pytest.mark.parametrize("kind", KINDS)
def test_every_finding_has_words_for_one_and_for_several(kind: str) -> None:
    one, several = KINDS[kind].text(1), KINDS[kind].text(2)
    assert one != several
    assert not set("[]|") & set(one + several)
