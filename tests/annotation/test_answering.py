import csv
import io

import pytest
from rich.console import Console
from tests.annotation.waiting import CLASSES, candidate

from pixloop.annotation.answering import Answering
from pixloop.annotation.asking import ask_in_terminal
from pixloop.annotation.exchange import export_items, import_labels
from pixloop.annotation.queue import ReviewQueue
from pixloop.data.annotations import AnnotatedBox, AnnotationStore
from pixloop.errors import AnnotationError


@pytest.fixture
def store(tmp_path):
    return AnnotationStore(tmp_path / "annotations")


@pytest.fixture
def answering(tmp_path, store):
    queue = ReviewQueue(tmp_path / "review")
    queue.offer(candidate(n, weight=0.9 - n / 10) for n in range(4))
    queue.offer([candidate(10, ticket=0.5)])
    queue.choose(5, 0.2)
    return Answering(queue, store, "classification", CLASSES, "Ada L.")


def test_an_answer_says_who_when_why_and_whence(answering, store):
    item = answering.open_items()[0]
    answering.label(item.sha256, "dog")
    (kept,) = store.read()
    assert (kept.label, kept.annotator, kept.sha256) == ("dog", "Ada L.", item.sha256)
    assert (kept.drawn, set(kept.reasons)) == ("random", {"random", "unsure"})
    assert kept.origin == {"event": "e10:0", "model": "pets:1"}
    assert store.picture(item.sha256).read_bytes() == answering.queue.picture(item.sha256)
    assert answering.queue.get(item.sha256).status == "answered"


def test_answering_again_replaces_and_two_people_stand_side_by_side(answering, store):
    sha256 = answering.open_items()[0].sha256
    answering.label(sha256, "dog")
    answering.label(sha256, "cat")
    assert [each.label for each in store.read()] == ["cat"]
    other = Answering(answering.queue, store, "classification", CLASSES, "Ada L")
    other.label(sha256, "fox")
    assert sorted(each.label for each in store.read()) == ["cat", "fox"]


def test_an_answer_is_taken_back_as_if_it_had_not_been(answering, store):
    sha256 = answering.open_items()[0].sha256
    answering.label(sha256, "dog")
    answering.undo(sha256)
    assert [each.deleted for each in store.read()] == [True]
    assert store.resolved() == [] or not any(r.label for r in store.resolved())
    assert answering.queue.get(sha256).status == "asked"
    with pytest.raises(AnnotationError, match="take back"):
        answering.undo(sha256)
    answering.label(sha256, "cat")
    assert [(each.label, each.deleted) for each in store.read()] == [("cat", False)]


def test_what_is_no_answer_changes_nothing(answering, store):
    sha256 = answering.open_items()[0].sha256
    with pytest.raises(AnnotationError, match="no class 'wolf'"):
        answering.label(sha256, "wolf")
    with pytest.raises(AnnotationError, match="by a class"):
        answering.boxes(sha256, ())
    with pytest.raises(AnnotationError, match="has no picture"):
        answering.label("0" * 64, "cat")
    assert store.read() == []


def test_boxes_must_have_an_area(answering, store):
    boxes = Answering(answering.queue, store, "detection", CLASSES)
    sha256 = boxes.open_items()[0].sha256
    with pytest.raises(AnnotationError, match="0 × 5 pixels"):
        boxes.boxes(sha256, [AnnotatedBox(label="cat", xyxy=(3, 0, 3, 5))])
    boxes.boxes(sha256, [])
    assert [each.boxes for each in store.read()] == [()]


def test_a_picture_of_the_data_set_brings_no_bytes_home(answering, store):
    origin = {"dataset": "train", "path": "a.png", "label": "cat"}
    answering.queue.offer([candidate(50, "label_error", 0.9, origin=origin)])
    (item,) = answering.queue.choose(1, 0.0)
    answering.label(item.sha256, "dog")
    assert store.picture(item.sha256) is None


def terminal(answering, *keys):
    lines = iter(keys)

    def read(prompt):
        try:
            return next(lines)
        except StopIteration:
            raise EOFError from None

    return ask_in_terminal(answering, Console(file=io.StringIO()), read)


def test_numbers_names_skips_and_undo_in_the_terminal(answering, store):
    items = answering.open_items()
    tally = terminal(answering, "2", "fox", "wolf", "s", "u", "1", "q")
    assert (tally.answered, tally.skipped) == (3, 0)
    said = {each.sha256: each.label for each in store.read()}
    assert [said[item.sha256] for item in items[:3]] == ["dog", "fox", "cat"]
    assert answering.queue.counts()["asked"] == 2


def test_a_table_goes_out_and_comes_back(answering, store, tmp_path):
    folder = tmp_path / "out"
    assert export_items(answering.queue, answering.open_items(), folder) == 5
    table = folder / "review.csv"
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert all((folder / row["picture"]).is_file() for row in rows)
    rows[0]["label"], rows[1]["label"] = "dog", "?"

    def write():
        with table.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)

    write()
    assert import_labels(answering, table) == import_labels(answering, table) == 2
    assert sorted((each.label, each.skipped) for each in store.read() if each.label) == [
        ("dog", False)
    ]
    rows[2]["label"], rows[3]["label"] = "cat", "wolf"
    write()
    with pytest.raises(AnnotationError, match="line 5: there is no class 'wolf'"):
        import_labels(answering, table)
    assert len(store.read()) == 2


def test_another_table_is_no_export(tmp_path, answering):
    table = tmp_path / "other.csv"
    table.write_text("name,label\na,cat\n")
    with pytest.raises(AnnotationError, match="has no column 'sha256'"):
        import_labels(answering, table)
