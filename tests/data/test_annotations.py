import hashlib
import json
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pixloop.data.agreement import resolve
from pixloop.data.annotations import AnnotatedBox, Annotation, AnnotationStore
from pixloop.errors import DataError

PICTURE = b"a picture"
SHA = hashlib.sha256(PICTURE).hexdigest()


def said(id_: str, label: str | None = None, by: str = "", at: str = "", **more: Any) -> Annotation:
    return Annotation(id=id_, sha256=SHA, label=label, annotator=by, at=at, **more)


def boxed(id_: str, by: str, *boxes: tuple[str, tuple[float, float, float, float]]) -> Annotation:
    drawn = tuple(AnnotatedBox(label=label, xyxy=xyxy) for label, xyxy in boxes)
    return Annotation(id=id_, sha256=SHA, boxes=drawn, annotator=by)


# ---- The store


def test_what_is_added_is_read_again_and_adding_it_again_changes_nothing(tmp_path: Path) -> None:
    store = AnnotationStore(tmp_path / "annotations")
    assert store.read() == []
    assert store.add(said("ls-1", "cat"), PICTURE)
    before = store.digest()
    assert not store.add(said("ls-1", "cat"), PICTURE)
    assert store.digest() == before
    assert store.read() == [said("ls-1", "cat")]
    picture = store.picture(SHA)
    assert picture is not None
    assert picture.read_bytes() == PICTURE


def test_the_digest_changes_with_what_is_said(tmp_path: Path) -> None:
    store = AnnotationStore(tmp_path)
    digests = {store.digest()}
    for annotation in (
        said("1", "cat"),
        said("1", "dog"),
        said("2", "dog"),
        said("2", deleted=True),
    ):
        assert store.add(annotation, None)
        digests.add(store.digest())
    assert len(digests) == 5


def test_a_picture_that_is_another_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="other bytes"):
        AnnotationStore(tmp_path).add(said("1", "cat"), b"another")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("id_", ["", "../x", "a/b", ".hidden", "none", "a" * 300, "a\n"])
def test_an_id_that_cannot_name_a_file_is_refused(tmp_path: Path, id_: str) -> None:
    with pytest.raises(DataError, match="names a file"):
        AnnotationStore(tmp_path).add(said(id_, "cat"), None)


def test_a_damaged_file_is_named_and_written_again(tmp_path: Path) -> None:
    store = AnnotationStore(tmp_path)
    (tmp_path / "1.json").write_text('{"id": "1"')
    with pytest.raises(DataError, match=r"1\.json"):
        store.read()
    assert store.add(said("1", "cat"), None)
    assert store.read() == [said("1", "cat")]


def test_the_word_that_there_are_none_is_no_annotation(tmp_path: Path) -> None:
    (tmp_path / "none.json").write_text("{}")
    assert AnnotationStore(tmp_path).read() == []


def test_several_may_add_at_once(tmp_path: Path) -> None:
    def add() -> None:
        for i in range(20):
            AnnotationStore(tmp_path).add(said(f"a-{i}", "cat"), PICTURE)

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(AnnotationStore(tmp_path).read()) == 20
    assert {f.suffix for f in tmp_path.iterdir() if f.is_file()} == {".json"}


def test_a_file_holds_plain_json(tmp_path: Path) -> None:
    AnnotationStore(tmp_path).add(said("1", "cat", "ann"), None)
    assert json.loads((tmp_path / "1.json").read_text())["annotator"] == "ann"


# ---- Agreement on classes


def test_the_newest_of_one_person_counts_and_skipped_and_deleted_do_not() -> None:
    answers = [
        said("1", "cat", "ann", "2026-01-01"),
        said("2", "dog", "ann", "2026-01-02"),
        said("3", "cow", "ann", "2026-01-03", skipped=True),
        said("4", "cow", "ann", "2026-01-04", deleted=True),
    ]
    (one,) = resolve(answers)
    assert (one.label, one.reason, one.source) == ("dog", "", "annotation:2")


def test_a_majority_decides_and_fewer_do_not() -> None:
    votes = [
        said(str(i), label, str(i)) for i, label in enumerate(["cat", "cat", "cat", "dog", "cow"])
    ]
    (one,) = resolve(votes, annotators=5, agreement=0.6)
    assert one.label == "cat"
    (one,) = resolve(votes, annotators=5, agreement=0.61)
    assert one.label is None
    assert "3 of 5 say 'cat'" in one.reason
    (one,) = resolve(votes, annotators=6)
    assert one.reason == "5 of 6 annotators have answered"


def test_a_tie_is_no_answer_however_low_the_share() -> None:
    (one,) = resolve([said("1", "cat", "a"), said("2", "dog", "b")], 2, 0.5)
    assert not one.counts
    assert "equally often" in one.reason


def test_what_was_asked_later_does_not_change_how_it_was_drawn() -> None:
    answers = [
        said("1", "cat", "a", "2026-01-01", drawn="chosen", deleted=True),
        said("2", "cat", "b", "2026-01-02", drawn="random"),
    ]
    (one,) = resolve(answers)
    assert one.drawn == "chosen"
    assert resolve([answers[0]]) == []


def test_who_skips_leaves_it_unresolved() -> None:
    (one,) = resolve([said("1", None, "a", skipped=True)])
    assert one.reason == "0 of 1 annotators have answered, 1 skipped it"


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["x", "y"])), max_size=12),
    st.randoms(),
)
def test_the_order_of_answers_does_not_matter(votes: list[tuple[str, str]], random) -> None:
    answers = [said(str(i), label, by, f"{i:03}") for i, (by, label) in enumerate(votes)]
    shuffled = random.sample(answers, len(answers))
    assert resolve(answers, 2, 0.6) == resolve(shuffled, 2, 0.6)


# ---- Agreement on boxes


def test_one_persons_boxes_are_taken_as_they_are() -> None:
    (one,) = resolve([boxed("1", "a", ("RBC", (0, 0, 10, 10)), ("RBC", (0, 0, 10, 11)))])
    assert one.boxes is not None
    assert len(one.boxes) == 2


def test_boxes_of_several_are_matched_and_averaged() -> None:
    (one,) = resolve(
        [
            boxed("1", "a", ("RBC", (0, 0, 10, 10)), ("WBC", (50, 50, 70, 70))),
            boxed("2", "b", ("WBC", (52, 50, 72, 70)), ("RBC", (0, 0, 10, 12))),
            boxed("3", "c", ("RBC", (0, 0, 10, 11)), ("WBC", (51, 50, 71, 70))),
        ],
        3,
        0.6,
    )
    assert one.boxes == (
        AnnotatedBox(label="RBC", xyxy=(0, 0, 10, 11)),
        AnnotatedBox(label="WBC", xyxy=(51, 50, 71, 70)),
    )


def test_a_box_that_few_have_drawn_is_left_out_and_too_many_such_leave_nothing() -> None:
    same = [("RBC", (float(x), 0.0, x + 10.0, 10.0)) for x in (0, 20, 40)]
    (one,) = resolve([boxed("1", "a", *same), boxed("2", "b", *same, ("RBC", (80, 0, 90, 10)))], 2)
    assert one.boxes is not None
    assert len(one.boxes) == 3
    (one,) = resolve([boxed("1", "a", same[0]), boxed("2", "b", same[1])], 2)
    assert one.boxes is None
    assert "0 of 2 boxes are agreed on" in one.reason


def test_the_class_of_a_box_needs_the_share_too() -> None:
    place = (0.0, 0.0, 10.0, 10.0)
    people = [
        boxed(str(i), str(i), (label, place)) for i, label in enumerate(["RBC", "RBC", "WBC"])
    ]
    (one,) = resolve(people, 3, 0.6)
    assert one.boxes == (AnnotatedBox(label="RBC", xyxy=place),)
    assert not resolve(people, 3, 0.7)[0].counts


def test_that_nothing_is_there_can_be_agreed_on() -> None:
    (one,) = resolve([boxed("1", "a"), boxed("2", "b")], 2)
    assert one.boxes == ()
    assert one.counts


def test_boxes_one_above_the_other_are_told_apart_by_class() -> None:
    above = [("cup", (0.0, 0.0, 10.0, 10.0)), ("lid", (0.0, 0.0, 10.0, 9.0))]
    (one,) = resolve([boxed("1", "a", *above), boxed("2", "b", *above[::-1])], 2)
    assert one.boxes is not None
    assert sorted(b.label for b in one.boxes) == ["cup", "lid"]


EDGE = st.floats(0, 90)


@settings(max_examples=50)
@given(st.lists(st.tuples(EDGE, EDGE), max_size=6, unique=True), st.integers(1, 4))
def test_people_who_say_the_same_agree(corners: list[tuple[float, float]], people: int) -> None:
    boxes = [(f"c{i}", (x, y, x + 8, y + 8)) for i, (x, y) in enumerate(corners)]
    (one,) = resolve([boxed(str(i), str(i), *boxes) for i in range(people)], people, 1.0)
    assert one.boxes is not None
    assert sorted(b.label for b in one.boxes) == sorted(label for label, _ in boxes)
