import multiprocessing
import os
import signal
import time

import pytest
from tests.annotation.waiting import candidate

from pixloop.annotation.candidates import report_candidate
from pixloop.annotation.queue import ReviewQueue
from pixloop.errors import AnnotationError


@pytest.fixture
def queue(tmp_path):
    return ReviewQueue(tmp_path / "review")


def test_looking_makes_nothing(queue):
    assert list(queue.items()) == []
    assert set(queue.counts().values()) == {0}
    assert queue.choose(10, 0.2) == []
    assert queue.collected("pets:1") == 0
    assert not queue.folder.exists()


def test_what_is_offered_waits_with_all_that_is_known_of_it(queue):
    offered = candidate(1, weight=0.7, ticket=0.4)
    assert queue.offer([offered]) == 1
    (item,) = queue.items("waiting")
    for name in ("sha256", "reasons", "answer", "model", "at", "origin"):
        assert getattr(item, name) == getattr(offered, name)
    assert item.embedding == pytest.approx(offered.embedding, abs=1e-6)
    assert (item.status, item.drawn, item.weight, item.ticket) == ("waiting", None, 0.7, 0.4)
    assert queue.picture(item.sha256) == offered.picture


def test_offering_again_changes_nothing_and_new_reasons_are_added(queue):
    queue.offer([candidate(1, weight=0.5)])
    assert queue.offer([candidate(1, weight=0.5)]) == 0
    assert queue.offer([candidate(1, "drifted", 0.9), candidate(1, weight=0.2)]) == 0
    (item,) = queue.items()
    assert [(r.kind, r.weight) for r in item.reasons] == [("drifted", 0.9), ("unsure", 0.5)]


def test_what_was_asked_is_not_asked_again(queue):
    queue.offer([candidate(n) for n in range(3)])
    asked = queue.choose(3, 0.0)
    assert [item.status for item in asked] == ["asked"] * 3
    queue.mark(asked[0].sha256, "answered")
    queue.mark(asked[1].sha256, "skipped")
    assert queue.offer([candidate(n, "drifted", 1.0) for n in range(3)]) == 0
    assert queue.choose(3, 0.0) == []
    assert queue.counts() == {"waiting": 0, "asked": 1, "answered": 1, "skipped": 1}


def test_a_doubtful_label_is_asked_again_but_once(queue):
    queue.offer([candidate(1, ticket=0.9)])
    (item,) = queue.choose(1, 1.0)
    queue.mark(item.sha256, "answered")
    doubted = candidate(1, "label_error", 0.8, origin={"dataset": "train", "path": "a.png"})
    assert queue.offer([doubted]) == 1
    (again,) = queue.choose(1, 0.0)
    # It was drawn at random once, and its answer may still judge.
    assert (again.drawn, again.origin["path"]) == ("random", "a.png")
    queue.mark(again.sha256, "answered")
    assert queue.offer([doubted]) == 0


def test_chance_decides_alone_who_is_drawn(queue):
    queue.offer(candidate(n, weight=n / 20, ticket=((n * 7) % 20) / 20) for n in range(20))
    drawn = queue.choose(5, 1.0)
    lots = [next(r.weight for r in item.reasons if r.kind == "random") for item in drawn]
    assert lots == [0.95, 0.9, 0.85, 0.8, 0.75]
    assert {item.drawn for item in drawn} == {"random"}


def test_equal_queues_choose_equally(tmp_path):
    def choose(name, seed):
        queue = ReviewQueue(tmp_path / name)
        order = list(range(60)) if name == "a" else list(range(60))[::-1]
        queue.offer(candidate(n, weight=0.5 + n / 200, ticket=None) for n in order)
        return [item.sha256 for item in queue.choose(12, 0.0, seed)]

    assert choose("a", 1) == choose("b", 1)


def test_a_picture_is_found_by_its_first_digits(queue):
    queue.offer([candidate(n) for n in range(40)])
    first = next(queue.items()).sha256
    assert queue.get(first[:16]).sha256 == first
    with pytest.raises(AnnotationError, match="several"):
        [queue.get(digit) for digit in "0123456789abcdef"]
    for unknown in ("", "zz", "0" * 64):
        with pytest.raises(AnnotationError, match="has no picture"):
            queue.get(unknown)


def test_names_that_are_no_hash_reach_no_file(queue):
    with pytest.raises(AnnotationError):
        queue.picture("../review.db")
    with pytest.raises(AnnotationError, match="SHA-256"):
        queue.offer([candidate(1, sha256="../x")])
    with pytest.raises(AnnotationError, match="has no picture"):
        queue.mark("0" * 64, "answered")


def test_a_damaged_database_is_named(queue):
    queue.offer([candidate(1)])
    (queue.folder / "review.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(AnnotationError, match=r"review\.db cannot be used"):
        queue.counts()


def test_how_far_a_source_was_read_is_kept(queue):
    queue.set_collected("pets:1", 7)
    queue.set_collected("pets:1", 9)
    assert (queue.collected("pets:1"), queue.collected("pets:2")) == (9, 0)


def _offer_all(folder, numbers):
    queue = ReviewQueue(folder)
    for number in numbers:
        queue.offer([candidate(number)])


def test_processes_share_a_queue(tmp_path):
    context = multiprocessing.get_context("fork")
    ranges = (range(30), range(15, 45))
    workers = [context.Process(target=_offer_all, args=(tmp_path, r)) for r in ranges]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    assert ReviewQueue(tmp_path).counts()["waiting"] == 45


def test_a_kill_leaves_whole_pictures_only(tmp_path):
    context = multiprocessing.get_context("fork")
    for _ in range(3):
        worker = context.Process(target=_offer_all, args=(tmp_path, range(400)))
        worker.start()
        time.sleep(0.1)
        os.kill(worker.pid, signal.SIGKILL)
        worker.join()
    queue = ReviewQueue(tmp_path)
    for item in queue.items():
        assert item.reasons
        assert queue.picture(item.sha256)
    before = queue.counts()["waiting"]
    assert queue.offer(candidate(n) for n in range(50)) == max(0, 50 - before)


def test_what_is_known_of_a_pictures_origin_grows(tmp_path):
    queue = ReviewQueue(tmp_path)
    picture = report_candidate(b"a picture", "odd", {}, "")
    queue.offer([picture])
    queue.note(picture.sha256, {"said": "bus"})
    queue.note(picture.sha256, {"said": "van"})
    assert queue.get(picture.sha256).origin == {"reported": "odd", "said": "van"}
    with pytest.raises(AnnotationError, match="no picture"):
        queue.note("0" * 64, {})
