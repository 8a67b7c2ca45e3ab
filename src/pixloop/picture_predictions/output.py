"""Answers as a file, for whatever comes next: JSON lines, CSV or Parquet.

========== ====================================================================================
suffix     what it holds
========== ====================================================================================
.jsonl     a JSON object a picture: ``PicturePrediction`` without what is null
.csv       a classifier's: a row a picture, with a column a class for its probability;
           a detector's: a row a box, and one without a box for a picture that has none
.parquet   a row a picture; ``probabilities`` is a map, ``boxes`` a list of structs
========== ====================================================================================

The file appears whole, at the end. Until then the answers are in a journal beside it, from which
the same command goes on.
"""

import csv
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from pixloop.errors import ConfigError, DataError
from pixloop.files import atomic_path
from pixloop.picture_predictions.journal import Journal
from pixloop.picture_predictions.record import PicturePrediction, Summary, file_name
from pixloop.progress import progress

#: Rows of Parquet that are held at once.
_ROWS = 10_000
#: What a class's column in CSV is called; a class may have the name of another column.
_PROBABILITY = "probability of "


def check_output(target: Path) -> None:
    """Raises ``ConfigError`` where no answers can be written to a file of that name."""
    if target.suffix.lower() not in _WRITERS:
        raise ConfigError(
            f"{target}: the output's name must end in {', '.join(_WRITERS)}, which says its "
            "format, or in /, which names a folder of many files."
        )
    if target.is_dir():
        raise ConfigError(f"{target} is a folder; name a file in it.")


def journal_path(target: Path) -> Path:
    """Where the answers are until the file is complete."""
    return target.with_name(f"{target.name}.part")


def write_predictions(
    target: Path,
    asked: str,
    find: Callable[[], Iterable[Path]],
    predict: Callable[[Iterable[Path]], Iterable[PicturePrediction]],
    places: Sequence[str] = (),
    resume: bool = True,
) -> Summary:
    """Predict picture files into a file, with a progress bar.

    Args:
        target: see ``check_output``; it is replaced.
        asked: which model answers; what an interrupted run got of another one is dropped.
        find: the pictures. It is called again and again: what is to be done is counted first.
        predict: an answer for each picture, in their order.
        places: absolute paths of what ``find`` looks at; what an interrupted run got of others is
            dropped.
        resume: whether to go on where an interrupted run ended.

    Raises:
        DataError: the file cannot be written.
    """
    total = sum(1 for _ in find())
    with Journal(journal_path(target), asked, places, resume) as journal:
        if journal.done:
            found = ((file_name(path), path) for path in find())
            journal.keep({name: _stamp(path) for name, path in found if name in journal.done})
        # Of what is being read; a file that is overwritten meanwhile is asked for again.
        stamps: deque[str] = deque()
        with progress("predicting", total, after_s=2.0) as advance:
            advance(journal.summary.earlier)
            for answer in predict(_stamped(find(), journal.done, stamps)):
                journal.add(answer, stamps.popleft())
                advance()
        try:
            with atomic_path(target) as temporary:
                _WRITERS[target.suffix.lower()](journal, temporary)
        except OSError as e:
            raise DataError(f"{target} cannot be written: {e.strerror}.") from e
        journal.remove()
        journal.summary.output = str(target)
        return journal.summary


def _stamped(paths: Iterable[Path], done: Mapping[str, str], stamps: deque[str]) -> Iterator[Path]:
    """Those that are not done, the stamp of each put into ``stamps`` before anybody reads it."""
    for path in paths:
        if file_name(path) not in done:
            stamps.append(_stamp(path))
            yield path


def _stamp(path: Path) -> str:
    """What changes when a file's content does; empty where there is none."""
    try:
        status = path.stat()
    except OSError:
        return ""
    return f"{status.st_size}-{status.st_mtime_ns}"


def _write_json_lines(answers: Iterable[PicturePrediction], target: Path) -> None:
    with target.open("w", encoding="utf-8") as file:
        for answer in answers:
            file.write(answer.model_dump_json(exclude_none=True) + "\n")


def _write_csv(answers: Iterable[PicturePrediction], target: Path) -> None:
    first = next((answer for answer in answers if answer.error is None), None)
    classes = tuple(first.probabilities or ()) if first else ()
    boxed = first is not None and first.boxes is not None
    columns = ["path", "label", "score", "decision"]
    columns += ["x1", "y1", "x2", "y2", "width", "height"] if boxed else []
    columns += [_PROBABILITY + name for name in classes]
    with target.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [*columns, "drawing", "error"], extrasaction="ignore")
        writer.writeheader()
        for answer in answers:
            writer.writerows(_box_rows(answer) if boxed else [_row(answer)])


def _row(answer: PicturePrediction) -> dict[str, Any]:
    probabilities = answer.probabilities or {}
    return answer.model_dump() | {_PROBABILITY + k: v for k, v in probabilities.items()}


def _box_rows(answer: PicturePrediction) -> Iterator[dict[str, Any]]:
    picture = answer.model_dump(exclude={"label", "score", "decision", "boxes"})
    for box in answer.boxes or ():
        edges = dict(zip(("x1", "y1", "x2", "y2"), box.xyxy, strict=True))
        found = {"label": box.label, "score": box.score, "decision": box.decision.value}
        yield picture | found | edges
    if not answer.boxes:
        yield picture


def _write_parquet(answers: Iterable[PicturePrediction], target: Path) -> None:
    # It takes a while to import, and other formats do without.
    import pyarrow as pa
    import pyarrow.parquet as pq

    from pixloop.picture_predictions.columns import ANSWERS, row_of

    schema = pa.schema(ANSWERS)
    rows = map(row_of, answers)
    with pq.ParquetWriter(target, schema) as writer:
        while batch := list(islice(rows, _ROWS)):
            writer.write_table(pa.Table.from_pylist(batch, schema))


_WRITERS: Mapping[str, Callable[[Iterable[PicturePrediction], Path], None]] = {
    ".jsonl": _write_json_lines,
    ".csv": _write_csv,
    ".parquet": _write_parquet,
}

#: What the name of a file of answers may end in.
SUFFIXES = tuple(_WRITERS)
