"""How labels are written. A new format is a module here and its name in ``FORMATS``."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol, runtime_checkable

from pixloop.bundle import Task
from pixloop.data.formats import class_folders, coco, csv, label_studio, manifest, voc, yolo
from pixloop.data.formats.layout import LABEL_SUFFIXES, unwrap
from pixloop.errors import DataError
from pixloop.records import Sample


class Format(Protocol):
    """What a format's module has."""

    NAME: str
    TASKS: tuple[Task, ...]

    def matches(self, root: Path) -> bool:
        """Whether ``root``, a folder or a label file, is written in this format."""

    def read(self, root: Path) -> Iterator[Sample]:
        """Every sample at ``root``, streaming, in no particular order."""


@runtime_checkable
class WritableFormat(Format, Protocol):
    """A format for detection, which can be written too."""

    def write(self, samples: Iterable[Sample], folder: Path) -> None:
        """Write what ``read(folder)`` gives back: boxes, crowds, splits, sizes and pictures."""


FORMATS: tuple[Format, ...] = (class_folders, csv, manifest, coco, voc, yolo, label_studio)

_EXPECTED: dict[Task, str] = {
    "classification": (
        "Expected at least two class folders (cat/1.jpg, dog/2.jpg;"
        " or below train/ and test/), a .csv with a header such as filename,label, a .jsonl with"
        ' lines such as {"image": "1.jpg", "label": "cat"}, or Label Studio\'s JSON with choices.'
    ),
    "detection": (
        "Expected COCO (a .json with images and annotations), Pascal VOC"
        " (Annotations/1.xml, JPEGImages/1.jpg), YOLO (data.yaml, images/1.jpg, labels/1.txt),"
        " Ground Truth's .manifest of a bounding-box job, or Label Studio's JSON with rectangles."
    ),
}
_LABELS: dict[Task, str] = {"classification": "of two or more classes", "detection": "with boxes"}
_OTHER: dict[Task, Task] = {"classification": "detection", "detection": "classification"}


def read_samples(
    root: Path,
    format: str = "auto",  # noqa: A002 (the config's word)
    task: Task = "classification",
) -> Iterator[Sample]:
    """Read the labels at ``root``, a folder or a label file.

    A label that cannot be read stops nothing: in its place comes a box, or a sample, whose findings
    say why (``unreadable_box``, ``unreadable_label``).

    Args:
        root: a folder, also one that holds nothing but that folder; or a label file.
        format: a format's ``NAME``, or ``auto``.
        task: in detection only formats that carry boxes are read, in classification only those
            that carry classes of whole pictures.

    Raises:
        DataError: there is nothing there, no format of the task fits, or several do; or a label
            file is broken as a whole, or labels the pictures for the other task.
    """
    if not root.exists():
        raise DataError(f"{root} does not exist.")
    if root.is_dir():
        root = unwrap(root, (*LABEL_SUFFIXES, ".xml"))
    chosen = _choose(root, format, task)
    return _of_task(chosen.read(root), f"{root} is labelled in {chosen.NAME}", task)


def write_samples(samples: Iterable[Sample], folder: Path, format: str) -> None:  # noqa: A002
    """Write boxes in a format, so that ``read_samples(folder, format, "detection")`` gives them.

    Labels, coordinates (to 1e-6 pixels), crowds, splits and sizes come back, and so do pictures
    without objects and pictures that are not labelled. A size of (1, 1) comes back as that of the
    upright picture, or the other way round, with the boxes to match; see each format's module.

    Args:
        samples: of a detection source; may stream.
        folder: a new one, or one without labels in this format.
        format: ``coco``, ``voc``, ``yolo``, ``label_studio`` or ``manifest``.

    Raises:
        DataError: the format cannot be written or the folder holds labels in it already; a sample
            has a class of its own, a split that is none, or labels that could not be read; or a
            picture cannot be used.
    """
    found = next((f for f in FORMATS if format == f.NAME), None)
    if not isinstance(found, WritableFormat):
        known = ", ".join(f.NAME for f in FORMATS if isinstance(f, WritableFormat))
        raise DataError(f"boxes cannot be written in the format {format!r}; there are {known}.")
    if folder.is_dir() and found.matches(folder):
        raise DataError(f"{folder} holds labels in the format {format} already. Choose another.")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        found.write(_checked(samples), folder)
    except UnicodeEncodeError as e:
        raise DataError(f"a picture's name or a class is no Unicode text: {e}") from e


def _choose(root: Path, name: str, task: Task) -> Format:
    named = [f for f in FORMATS if name in ("auto", f.NAME)]
    if not named:
        known = ", ".join(f.NAME for f in FORMATS)
        raise DataError(f"there is no data format {name!r}; there are {known}.")
    fitting = [f for f in named if f.matches(root)]
    other = _OTHER[task]
    of_other = [f for f in fitting if task not in f.TASKS]
    if task == "detection" and len(of_other) < len(fitting):
        # Folders of pictures beside labels with boxes look like class folders.
        fitting = [f for f in fitting if f not in of_other]
    elif fitting == of_other and of_other:
        names = " or ".join(f.NAME for f in of_other)
        raise DataError(f"{root} looks like {names}, which is for {other}; set task: {other}.")
    if not fitting:
        which = _LABELS[task] if name == "auto" else f"in the format {name!r}"
        expected = _EXPECTED[task if any(task in f.TASKS for f in named) else other]
        raise DataError(f"{root} holds no labels {which}. {expected}")
    if len(fitting) > 1:
        names = " and ".join(f.NAME for f in fitting)
        hint = f", or set task: {other}" if of_other else ""
        raise DataError(f"{root} can be read as {names}. Say which with data.format{hint}.")
    return fitting[0]


def _of_task(samples: Iterator[Sample], read_as: str, task: Task) -> Iterator[Sample]:
    """The samples; an error at their end where all that is labelled is so for the other task."""
    labels = boxes = False
    for sample in samples:
        labels = labels or sample.label is not None
        boxes = boxes or sample.boxes is not None
        yield sample
    this, that = (boxes, labels) if task == "detection" else (labels, boxes)
    if that and not this:
        other = _OTHER[task]
        raise DataError(f"{read_as}, for {other} and not for {task}; set task: {other}.")


def _checked(samples: Iterable[Sample]) -> Iterator[Sample]:
    for sample in samples:
        if sample.label is not None:
            raise DataError(
                f"{sample.path} has the class {sample.label!r}; formats with boxes have no place"
                " for the class of a whole picture."
            )
        if sample.split not in (None, "train", "test"):
            raise DataError(f"{sample.path}: split {sample.split!r} is not train or test.")
        for found in (*sample.findings, *(f for box in sample.boxes or () for f in box.findings)):
            if found.kind in ("unreadable_label", "unreadable_box"):
                raise DataError(
                    f"{found.detail} What cannot be read cannot be written: correct it, or take it"
                    " out."
                )
        yield sample
