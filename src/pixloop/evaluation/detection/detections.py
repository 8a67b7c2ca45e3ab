"""A detector's answers to every picture of a split, beside the truth."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pixloop.bundle import BoxScores, Threshold
from pixloop.data.dataset import Objects
from pixloop.errors import DataError
from pixloop.evaluation.batches import PicturesWithObjects, ask_in_batches
from pixloop.evaluation.detection.causes import Mistake, confusion_with_background, find_mistakes
from pixloop.evaluation.detection.matching import Bools, Floats, Matches, match_boxes
from pixloop.evaluation.metrics import Counts
from pixloop.files import atomic_path
from pixloop.records import Decision
from pixloop.serving.detector import Detector, Found, read_scores

_BOX = [(name, pa.float64()) for name in ("x1", "y1", "x2", "y2")]
_SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("sha256", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        (
            "boxes",
            pa.list_(
                pa.struct(
                    [
                        ("label", pa.string()),
                        ("score", pa.float64()),
                        *_BOX,
                        ("decision", pa.string()),
                        ("correct", pa.bool_()),
                        ("iou", pa.float64()),
                    ]
                )
            ),
        ),
        (
            "true_boxes",
            pa.list_(
                pa.struct(
                    [("label", pa.string()), *_BOX, ("crowd", pa.bool_()), ("found", pa.bool_())]
                )
            ),
        ),
    ]
)


@dataclass(frozen=True)
class Detections:
    """What a detector found in N pictures, and what is in them. Labels count ``classes``."""

    classes: tuple[str, ...]
    paths: tuple[str, ...]
    sha256: tuple[str, ...]
    found: tuple[Found, ...]  #: everything, with raw scores
    truth: tuple[Objects, ...]
    box_scores: BoxScores
    threshold: Threshold

    def __len__(self) -> int:
        return len(self.paths)

    @cached_property
    def matches(self) -> Matches:
        """Which found box is which true one, at IoU 0.5; B boxes in all."""
        return match_boxes(self.found, self.truth, len(self.classes))

    @cached_property
    def scores(self) -> Floats:
        """Calibrated scores, (B,)."""
        return read_scores(self.matches.score, self.box_scores)

    @cached_property
    def shown(self) -> Bools:
        """Which boxes are answered, (B,)."""
        enough: Bools = self.scores >= self.box_scores.minimum
        return enough

    @cached_property
    def accepted(self) -> Bools:
        """Which boxes are accepted without a person, (B,)."""
        acceptance = self.threshold.acceptance
        sure = [
            acceptance.accepts(self.classes[label], score)
            for label, score in zip(self.matches.label, self.scores, strict=True)
        ]
        return self.shown & np.array(sure, np.bool_)

    @cached_property
    def mistakes(self) -> list[Mistake]:
        """Wrong boxes among the answered ones, and true boxes that are missed."""
        return find_mistakes(self.matches, self.shown, self.found, self.truth)

    @cached_property
    def confusion(self) -> Counts:
        """(K + 1, K + 1): the background is last."""
        return confusion_with_background(self.matches, self.shown, self.found, self.truth)

    @cached_property
    def picture_f1(self) -> Floats:
        """F1 of each picture's answered boxes, (N,); 1 where nothing is there and none answered."""
        judged = self.shown & ~self.matches.ignored
        pictures = self.matches.pictures
        answered = np.bincount(self.matches.picture[judged], minlength=pictures)
        right = np.bincount(self.matches.picture[judged & self.matches.right], minlength=pictures)
        both = answered + self.matches.true_boxes.sum(axis=1)
        return np.where(both == 0, 1.0, 2 * right / np.maximum(both, 1))

    @cached_property
    def hits(self) -> list[set[int]]:
        """Of each picture, the indices of the true boxes that an answered box is."""
        right = self.shown & self.matches.right
        return [
            set(self.matches.truth[rows[right[rows]]].tolist())
            for rows in self.matches.rows_of_pictures()
        ]


def detect_split(
    detector: Detector, split: PicturesWithObjects, classes: tuple[str, ...], description: str
) -> Detections:
    """Search every picture of a split, holding one batch of pictures in memory.

    Args:
        detector: the model, as it is served.
        split: the pictures.
        classes: of the data set. Boxes of a class that it does not know are left out.
        description: for the progress display.

    Raises:
        DataError: there is no box to find, or a picture cannot be read.
    """
    truth = split.objects
    if all(objects.crowd.all() for objects in truth):
        raise DataError(
            f"there is nothing to find in the {len(truth)} test pictures: none has a box. "
            "Add pictures with boxes, or raise data.test_share."
        )
    known = detector.manifest.classes
    index = np.array([classes.index(k) if k in classes else -1 for k in known], np.int64)
    paths: list[str] = []
    hashes: list[str] = []
    found: list[Found] = []
    for rows, answered in ask_in_batches(detector.find, split, description):
        found += [_rename(each, index) for each in answered]
        paths += [row.path for row in rows]
        hashes += [row.sha256 for row in rows]
    return Detections(
        classes=classes,
        paths=tuple(paths),
        sha256=tuple(hashes),
        found=tuple(found),
        truth=tuple(truth),
        box_scores=detector.manifest.box_scores or BoxScores(),
        threshold=detector.manifest.threshold,
    )


def write_detections(path: Path, detections: Detections) -> None:
    """Write a row a picture as Parquet: its answered boxes, and its true ones."""
    table = pa.Table.from_pylist(list(_records(detections)), _SCHEMA)
    table = table.replace_schema_metadata({"classes": json.dumps(detections.classes)})
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def _records(d: Detections) -> Iterator[dict[str, Any]]:
    each = zip(d.matches.rows_of_pictures(), d.found, d.truth, strict=True)
    for i, (rows, found, objects) in enumerate(each):
        hits = d.hits[i]
        yield {
            "path": d.paths[i],
            "sha256": d.sha256[i],
            "width": found.width,
            "height": found.height,
            "boxes": [_answered(d, found, int(row)) for row in rows[d.shown[rows]]],
            "true_boxes": [
                {
                    "label": d.classes[label],
                    **_edges(box),
                    "crowd": crowd,
                    "found": None if crowd else index in hits,
                }
                for index, (box, label, crowd) in enumerate(
                    zip(
                        objects.boxes.tolist(),
                        objects.labels.tolist(),
                        objects.crowd.tolist(),
                        strict=True,
                    )
                )
            ],
        }


def _answered(d: Detections, found: Found, row: int) -> dict[str, Any]:
    """An answered box. One in a crowd region is neither correct nor not."""
    matches = d.matches
    return {
        "label": d.classes[matches.label[row]],
        "score": float(d.scores[row]),
        **_edges(found.boxes[matches.box[row]].tolist()),
        "decision": str(Decision.ACCEPT if d.accepted[row] else Decision.REFER),
        "correct": None if matches.ignored[row] else bool(matches.right[row]),
        "iou": float(matches.iou[row]),
    }


def _edges(xyxy: Sequence[float]) -> dict[str, float]:
    return dict(zip(("x1", "y1", "x2", "y2"), xyxy, strict=True))


def _rename(found: Found, index: np.ndarray[Any, np.dtype[np.int64]]) -> Found:
    """The same boxes with the data set's labels, without those that it does not know."""
    labels = index[found.labels]
    kept = labels >= 0
    return Found(found.boxes[kept], found.scores[kept], labels[kept], found.width, found.height)
