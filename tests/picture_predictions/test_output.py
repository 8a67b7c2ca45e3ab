"""Answers as files: their formats, and what is left after an interruption."""

import csv
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixloop.errors import ConfigError, DataError
from pixloop.picture_predictions.journal import Journal
from pixloop.picture_predictions.output import check_output, journal_path, write_predictions
from pixloop.picture_predictions.record import PicturePrediction, Summary, file_name
from pixloop.records import Decision, DetectedBox

CAT = {"label": "cat", "score": 0.9, "decision": "accept"}
DOG = {"label": "dog", "score": 0.6, "decision": "refer"}


def classified(path: str, answer: dict[str, Any] = CAT) -> PicturePrediction:
    share = answer["score"]
    other = "dog" if answer["label"] == "cat" else "cat"
    return PicturePrediction(
        path=path, probabilities={answer["label"]: share, other: 1 - share}, **answer
    )


def boxed(path: str, *answers: dict[str, Any]) -> PicturePrediction:
    boxes = tuple(
        DetectedBox(each["label"], each["score"], (1, 2, 3, 4.5), Decision(each["decision"]))
        for each in answers
    )
    return PicturePrediction(path=path, boxes=boxes, width=8, height=6)


CLASSIFIED = (
    classified("a.jpg"),
    PicturePrediction(path="broken.jpg", error='no picture, \n it "seems"'),
    classified("ü/b.jpg", DOG),
)
BOXED = (
    PicturePrediction(path="broken.jpg", error="no picture"),
    boxed("two.jpg", CAT, DOG),
    boxed("none.jpg"),
)


def write(
    target: Path, answers: Iterable[PicturePrediction], asked: str = "m:1", places: Any = ()
) -> Summary:
    known = {answer.path: answer for answer in answers}
    return write_predictions(
        target,
        asked,
        lambda: map(Path, known),
        lambda paths: (known[file_name(path)] for path in paths),
        places,
    )


def rows_of(target: Path) -> list[dict[str, str]]:
    with target.open(encoding="utf-8", newline="") as file:
        return [{k: v for k, v in row.items() if v} for row in csv.DictReader(file)]


def test_json_lines_say_all_that_is_known(tmp_path: Path) -> None:
    target = tmp_path / "new" / "answers.jsonl"
    for answers in (CLASSIFIED, BOXED):  # the second replaces the first
        write(target, answers)
        lines = target.read_text(encoding="utf-8").splitlines()
        assert tuple(map(PicturePrediction.model_validate_json, lines)) == answers
        assert all(None not in json.loads(line).values() for line in lines)
    assert [path.name for path in target.parent.iterdir()] == ["answers.jsonl"]


def test_a_classifiers_csv_has_a_row_a_picture(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", CLASSIFIED)
    cat, broken, dog = rows_of(tmp_path / "a.csv")
    shares = {"probability of cat": "0.9", "probability of dog": str(1 - 0.9)}
    assert cat == {"path": "a.jpg", "label": "cat", "score": "0.9", "decision": "accept"} | shares
    assert broken == {"path": "broken.jpg", "error": CLASSIFIED[1].error}
    assert (dog["path"], dog["probability of dog"]) == ("ü/b.jpg", "0.6")


def test_a_detectors_csv_has_a_row_a_box(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", BOXED)
    broken, cat, dog, none = rows_of(tmp_path / "a.csv")
    size = {"width": "8", "height": "6"}
    edges = {"x1": "1.0", "y1": "2.0", "x2": "3.0", "y2": "4.5"}
    assert broken == {"path": "broken.jpg", "error": "no picture"}
    assert cat == {"path": "two.jpg", **CAT, "score": "0.9", **edges, **size}
    assert (dog["path"], dog["label"]) == ("two.jpg", "dog")
    assert none == {"path": "none.jpg"} | size


@pytest.mark.parametrize("answers", [CLASSIFIED, BOXED])
def test_parquet_holds_the_same(tmp_path: Path, answers: tuple[PicturePrediction, ...]) -> None:
    write(tmp_path / "a.parquet", answers)
    rows = pq.read_table(tmp_path / "a.parquet").to_pylist(maps_as_pydicts="strict")
    assert tuple(PicturePrediction.model_validate(row) for row in rows) == answers


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_a_file_may_hold_errors_alone(tmp_path: Path, suffix: str) -> None:
    summary = write(tmp_path / f"a{suffix}", [PicturePrediction(path="a", error="bad")])
    assert (summary.pictures, summary.unreadable) == (1, 1)
    assert (tmp_path / f"a{suffix}").exists()


def test_the_summary_counts_predictions_or_boxes(tmp_path: Path) -> None:
    target = tmp_path / "a.jsonl"
    counts = {"pictures": 3, "unreadable": 1, "accepted": 1, "referred": 1, "earlier": 0}
    for answers in (CLASSIFIED, BOXED):
        summary = write(target, answers)
        assert summary.model_dump() == counts | {
            "classes": {"cat": 1, "dog": 1},
            "output": str(target),
        }


class Killed(Exception):
    """Stands for a kill: nothing of ours runs after it but the closing of files."""


def interrupted(
    target: Path, answers: Iterable[PicturePrediction], asked: str = "m:1", places: Any = ()
) -> None:
    known = {answer.path: answer for answer in answers}

    def predict(paths: Iterable[Path]) -> Iterator[PicturePrediction]:
        for path in paths:
            yield known[path.as_posix()]
        raise Killed

    with pytest.raises(Killed):
        write_predictions(target, asked, lambda: map(Path, known), predict, places)


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_the_same_command_goes_on_after_an_interruption(tmp_path: Path, suffix: str) -> None:
    target = tmp_path / f"a{suffix}"
    interrupted(target, CLASSIFIED[:2])
    assert not target.exists()
    asked_for: list[str] = []

    def predict(paths: Iterable[Path]) -> Iterator[PicturePrediction]:
        for path in paths:
            asked_for.append(path.as_posix())
            yield CLASSIFIED[2]

    summary = write_predictions(
        target, "m:1", lambda: [Path(answer.path) for answer in CLASSIFIED], predict
    )
    assert asked_for == ["ü/b.jpg"]
    assert (summary.pictures, summary.earlier, summary.classes) == (3, 2, {"cat": 1, "dog": 1})
    whole = tmp_path / f"whole{suffix}"
    write(whole, CLASSIFIED)
    assert target.read_bytes() == whole.read_bytes()
    assert not journal_path(target).exists()


def test_another_models_answers_are_not_gone_on_with(tmp_path: Path) -> None:
    target = tmp_path / "a.jsonl"
    interrupted(target, [classified("a.jpg", DOG)], asked="m:1")
    assert write(target, [classified("a.jpg", CAT)], asked="m:2").earlier == 0
    assert json.loads(target.read_text())["label"] == "cat"


def test_answers_for_other_places_are_not_gone_on_with(tmp_path: Path) -> None:
    target = tmp_path / "a.jsonl"
    interrupted(target, [classified("a.jpg")], places=["/a"])
    assert write(target, [classified("b.jpg")], places=["/b"]).pictures == 1
    assert [json.loads(line)["path"] for line in target.read_text().splitlines()] == ["b.jpg"]


def test_only_pictures_that_are_as_they_were_keep_their_answers(tmp_path: Path) -> None:
    target = tmp_path / "a.jsonl"
    kept, changed, gone = (str(tmp_path / f"{name}.jpg") for name in ("kept", "changed", "gone"))
    for path in (kept, changed, gone):
        Path(path).write_bytes(b"before")
    interrupted(target, [classified(path, DOG) for path in (kept, changed, gone)])
    Path(changed).write_bytes(b"another one")
    Path(gone).unlink()
    # Twice: the journal holds two lines for what has changed then.
    interrupted(target, [classified(path, CAT) for path in (kept, changed)])
    summary = write(target, [classified(path, CAT) for path in (kept, changed)])
    answers = [json.loads(line) for line in target.read_text().splitlines()]
    assert [(answer["path"], answer["label"]) for answer in answers] == [
        (kept, "dog"),
        (changed, "cat"),
    ]
    assert (summary.pictures, summary.earlier, summary.classes) == (2, 2, {"dog": 1, "cat": 1})


def test_a_picture_that_is_overwritten_while_it_is_read_is_asked_for_again(tmp_path: Path) -> None:
    target, picture = tmp_path / "a.jsonl", tmp_path / "a.jpg"
    picture.write_bytes(b"before")

    def predict(paths: Iterable[Path]) -> Iterator[PicturePrediction]:
        for path in paths:
            path.write_bytes(b"meanwhile")
            yield classified(str(path), DOG)
        raise Killed

    with pytest.raises(Killed):
        write_predictions(target, "m:1", lambda: [picture], predict)
    assert write(target, [classified(str(picture), CAT)]).earlier == 0
    assert json.loads(target.read_text())["label"] == "cat"


def test_a_journal_of_an_earlier_pixloop_is_begun_anew(tmp_path: Path) -> None:
    target = tmp_path / "a.jsonl"
    old = classified("a.jpg", DOG).model_dump_json(exclude_none=True)
    journal_path(target).write_text(f'{{"asked": "m:1"}}\n{old}\n')
    assert write(target, [classified("a.jpg", CAT)]).earlier == 0
    assert json.loads(target.read_text())["label"] == "cat"


@given(
    st.lists(st.text(st.characters(codec="utf-8"), min_size=1), unique=True, max_size=5),
    st.integers(0, 10_000),
)
def test_wherever_a_journal_is_cut_it_goes_on_with_its_whole_lines(
    tmp_path_factory: pytest.TempPathFactory, paths: list[str], cut: int
) -> None:
    file = tmp_path_factory.mktemp("journal") / "a.part"
    answers = [classified(path) for path in paths]
    with Journal(file, "m:1") as journal:
        start = file.stat().st_size
        ends = []
        for answer in answers:
            journal.add(answer)
            ends.append(file.stat().st_size)
    content = file.read_bytes()
    cut = start + cut % (len(content) - start + 1)
    file.write_bytes(content[:cut])

    whole = sum(end <= cut for end in ends)
    with Journal(file, "m:1") as journal:
        assert set(journal.done) == set(paths[:whole])
        journal.keep(dict(journal.done))
        assert journal.summary.pictures == journal.summary.earlier == whole
        for answer in answers[whole:]:
            journal.add(answer)
        assert list(journal) == answers
    assert file.read_bytes() == content


def test_a_file_that_is_no_journal_stays_as_it_is(tmp_path: Path) -> None:
    target = tmp_path / "a.jsonl"
    journal_path(target).write_text('{"my": "own"}\n')
    with pytest.raises(DataError, match=r"a\.jsonl\.part is in the way"):
        write(target, CLASSIFIED)
    assert journal_path(target).read_text() == '{"my": "own"}\n'


def test_two_runs_do_not_write_one_file(tmp_path: Path) -> None:
    target = tmp_path / "a.jsonl"
    with Journal(journal_path(target), "m:1"), pytest.raises(DataError, match="another process"):
        write(target, CLASSIFIED)


def test_an_output_that_cannot_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"a\.xlsx: .*\.jsonl, \.csv, \.parquet"):
        check_output(Path("a.xlsx"))
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(ConfigError, match="is a folder"):
        check_output(tmp_path / "folder.csv")
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be written"):
        write(tmp_path / "file" / "a.csv", CLASSIFIED)


def test_names_that_are_no_text_can_be_written(tmp_path: Path) -> None:
    path = Path("caf\udce9.jpg")  # as Latin-1 has it, on a disk of a system that is all UTF-8
    write(tmp_path / "a.csv", [PicturePrediction(path=file_name(path), error="bad")])
    assert rows_of(tmp_path / "a.csv")[0]["path"] == r"caf\xe9.jpg"
