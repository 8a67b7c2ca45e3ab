"""From labelled files to a data set: listed, inspected, decided about and written.

Everything streams through an index on disk, so memory does not grow with the number of pictures,
and a run that was killed goes on with what it has not yet inspected.
"""

import hashlib
import math
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pixloop.bundle import Task
from pixloop.config import DataConfig
from pixloop.data.annotation_lineage import Annotated, write_lineage
from pixloop.data.annotation_rules import annotated_entries
from pixloop.data.class_names import tidy
from pixloop.data.dataset import (
    MANIFEST,
    SPLITS,
    AnnotationsInfo,
    DatasetInfo,
    DatasetWriter,
    Objects,
    Row,
    SplitName,
)
from pixloop.data.findings import finding_lines, write_report
from pixloop.data.formats import read_samples
from pixloop.data.index import BY_HASH, Entry, Index, storable
from pixloop.data.inspection import (
    UPRIGHT,
    InspectAll,
    inspect_queued,
    open_index,
    queue_changed,
)
from pixloop.data.inspections_on_ray import RAY, inspect_on_ray
from pixloop.data.rules import apply_rules, kept_classes
from pixloop.data.shared_inspections import take_over
from pixloop.errors import DataError
from pixloop.in_order import read_each
from pixloop.progress import progress, track
from pixloop.records import Box, Finding

#: How many classes there must be to learn something.
_LEAST_CLASSES: dict[Task, int] = {"classification": 2, "detection": 1}

#: Findings of labels that are not written as their format is.
_MALFORMED = "FROM remarks WHERE kind IN ('unreadable_label', 'unreadable_box', 'pixel_box')"
_OF_SOURCE = "substr(s.name, 1, length(?1)) = ?1"

# What is read ahead while rows are written; files that are alone larger are read one by one.
_READERS = 16
_AHEAD_BYTES = 32_000_000


class _Kept(NamedTuple):
    """What the index says of a picture that is written."""

    id: int
    name: str
    path: str
    label: str
    source: str
    sha256: str
    width: int
    height: int
    orientation: int
    size: int  #: of the file, in bytes


def prepare(
    config: DataConfig,
    train: Path,
    test: Path | None,
    output: Path,
    work: Path,
    task: Task = "classification",
    inspections: Path | None = None,
    annotations: Annotated | None = None,
) -> DatasetInfo:
    """Make a data set of the labelled pictures at ``train`` and ``test``.

    Where PIXLOOP_RAY names a Ray cluster, its nodes check the pictures; the data set is the same.

    Args:
        config: the format, the classes, the shares, the largest picture, and whether warnings are
            errors.
        train: a folder or label file; it may hold test pictures too.
        test: a folder or label file all of whose pictures are for the test, or None.
        output: the data set's folder. It is complete when dataset.json is there.
        work: a folder that outlives a kill; the next run with it resumes.
        task: whether pictures have a class each, or boxes.
        inspections: a folder of what other machines have found in the pictures, if they have.
        annotations: what people have said of pictures, if they have; see ``annotation_rules``.

    Raises:
        DataError: there are no labels, too few classes have a usable picture (two are needed, in
            detection one), or ``config.strict`` is set and there are warnings. The data report is
            written anyway. Or most labels cannot be read, the Ray cluster or the index cannot be
            used, or a disk is full.
    """
    output.mkdir(parents=True, exist_ok=True)
    (output / MANIFEST).unlink(missing_ok=True)
    upright = work / UPRIGHT
    with open_index(work, config.max_pixels) as index:
        said = annotations.resolved() if annotations else []
        own = _entries(config, train, test, task)
        asked = annotated_entries(annotations.folder, said, task) if annotations else ()
        index.add_samples(track(chain(own, asked), "listing pictures"))
        for prefix, root, _ in _sources(train, test):
            _refuse_misread(index, prefix, root)
        queue_changed(index, upright)
        if inspections is not None:
            take_over(index, inspections, upright, config.max_pixels)
        inspect_queued(index, upright, config.max_pixels, _on_ray())
        apply_rules(index, config, task, work)
        report = write_report(index, output, task)
        warnings = finding_lines(report, least="warning")
        if len(report["classes"]) < _LEAST_CLASSES[task]:
            raise DataError(_nothing_to_learn(list(report["classes"]), train, warnings, task))
        if config.strict and warnings:
            raise DataError(
                "\n".join(["The data has warnings, and data.strict is set:", *warnings])
            )
        return _write(index, output, upright, task, write_lineage(index, said, output))


def _on_ray() -> InspectAll | None:
    """Who checks the pictures where PIXLOOP_RAY names a cluster.

    It is no setting of the project: the data set does not depend on it.
    """
    address = os.environ.get(RAY)
    return partial(inspect_on_ray, address=address) if address else None


def _entries(config: DataConfig, train: Path, test: Path | None, task: Task) -> Iterator[Entry]:
    for prefix, root, given in _sources(train, test):
        folder = root if root.is_dir() else root.parent
        for sample in read_samples(root, config.format, task):
            label = storable(tidy(sample.label or "")) or None
            boxed = task == "detection" and sample.boxes is not None
            yield Entry(
                storable(prefix + _name(sample.path, folder)),
                storable(os.path.abspath(sample.path)),  # noqa: PTH100 (resolves no links)
                label if task == "classification" else None,
                given or sample.split or "train",
                storable(sample.source),
                tuple(map(_tidy_box, sample.boxes or ())) if boxed else None,
                sample.size,
                sample.relative,
                tuple(map(_storable_finding, sample.findings)),
            )


def _sources(train: Path, test: Path | None) -> list[tuple[str, Path, str | None]]:
    """Of each source how its pictures' names begin, where it is, and the split it is, if it is."""
    if test is None:
        return [("", train, None)]
    return [("train/", train, None), ("test/", test, "test")]


def _tidy_box(box: Box) -> Box:
    findings = tuple(map(_storable_finding, box.findings))
    return replace(box, label=storable(tidy(box.label)), findings=findings)


def _storable_finding(found: Finding) -> Finding:
    return replace(found, detail=storable(found.detail))


def _name(path: Path, folder: Path) -> str:
    """The picture's name below its source; a file elsewhere goes by its own name alone."""
    name = os.path.relpath(path, folder)
    return path.name if name.startswith("..") else Path(name).as_posix()


def _refuse_misread(index: Index, prefix: str, root: Path) -> None:
    """Stop where most labels cannot be read: it is the format that is wrong, and not some labels.

    Every picture counts alike, with the share of its boxes that cannot be read.

    Args:
        index: of all samples.
        prefix: how the names of the source's pictures begin.
        root: the source.

    Raises:
        DataError: it is more than half of them; the message has the first.
    """
    unreadable, labelled = index.db.execute(
        "SELECT TOTAL(MIN(1.0, COALESCE(bad, 0) / MAX(1.0, COALESCE(box_count, 1)))), COUNT(*)"  # noqa: S608
        f" FROM samples s LEFT JOIN (SELECT sample, COUNT(*) AS bad {_MALFORMED} GROUP BY sample) m"
        f" ON m.sample = s.id WHERE {_OF_SOURCE}"
        " AND (label IS NOT NULL OR box_count IS NOT NULL OR bad IS NOT NULL)",
        (prefix,),
    ).fetchone()
    if 2 * unreadable > labelled:
        some = index.db.execute(
            f"SELECT m.detail FROM (SELECT * {_MALFORMED}) m JOIN samples s ON s.id = m.sample"  # noqa: S608
            f" WHERE {_OF_SOURCE} ORDER BY m.detail LIMIT 3",
            (prefix,),
        )
        raise DataError(
            f"{root}: the labels of {math.ceil(unreadable)} in {labelled} pictures cannot be read."
            " Perhaps the format was misread: see data.format, or mend the labels. The first are:\n"
            + "\n".join(detail for (detail,) in some)
        )


def _nothing_to_learn(classes: list[str], train: Path, warnings: list[str], task: Task) -> str:
    found = f"only the class {classes[0]!r}" if classes else "no class"
    first = f"{train} has {found} with usable pictures; a classifier needs at least two classes."
    if task == "detection":
        first = f"{train} has no usable box; a detector needs boxes of at least one class."
    return "\n".join([first, *warnings])


def _write(
    index: Index, output: Path, upright: Path, task: Task, annotations: AnnotationsInfo | None
) -> DatasetInfo:
    classes = kept_classes(index)
    writer = DatasetWriter(output, tuple(classes), task)
    total = index.db.execute("SELECT COUNT(*) FROM kept").fetchone()[0]
    with progress("writing the data set", total) as advance:
        for split in SPLITS:
            for row, source in _rows(index, split, upright, classes, task):
                writer.add(split, row, source)
                advance()
    mean, std = index.colours() or (None, None)
    return writer.finish(mean, std, annotations)


def _rows(
    index: Index, split: SplitName, upright: Path, classes: list[str], task: Task
) -> Iterator[tuple[Row, str]]:
    """The rows of a split in the order of their hashes, which mixes the classes."""
    labels = {name: number for number, name in enumerate(classes)}
    rows = index.db.execute(
        f"SELECT {', '.join(_Kept._fields)} FROM kept WHERE split = ? {BY_HASH}",  # noqa: S608
        (split,),
    )
    sized = ((kept, kept.size) for kept in map(_Kept._make, rows))
    with ThreadPoolExecutor(_READERS) as pool:
        # Hashes come in no order on the disk: on one that is far, each file is a wait of its own.
        read = read_each(pool, partial(_read, upright), sized, _AHEAD_BYTES, 2 * _READERS)
        for kept, image in read:
            size = kept.width, kept.height
            if task == "classification":
                row = Row(image, kept.name, labels[kept.label], *size, kept.sha256)
            else:
                objects = _objects(index, kept.id, labels)
                row = Row(image, kept.name, -1, *size, kept.sha256, objects)
            yield row, kept.source


def _read(upright: Path, kept: _Kept) -> tuple[_Kept, bytes]:
    """A picture as it is written: upright, and the one that was checked."""
    try:
        image = Path(kept.path).read_bytes()
    except OSError as e:
        raise DataError(f"{kept.path} is gone since it was checked. Run again.") from e
    if hashlib.sha256(image).hexdigest() != kept.sha256:
        raise DataError(f"{kept.path} has changed since it was checked. Run again.")
    if kept.orientation != 1:
        image = (upright / kept.sha256).read_bytes()
    return kept, image


def _objects(index: Index, sample: int, labels: dict[str, int]) -> Objects:
    rows = index.db.execute(
        "SELECT label, x1, y1, x2, y2, crowd FROM boxes WHERE sample = ? AND reason IS NULL"
        " ORDER BY number",
        (sample,),
    ).fetchall()
    return Objects(
        boxes=np.array([edges for _, *edges, _ in rows], np.float64).reshape(-1, 4),
        labels=np.array([labels[label] for label, *_ in rows], np.int64),
        crowd=np.array([crowd for *_, crowd in rows], np.bool_),
    )
