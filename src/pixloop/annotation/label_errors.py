"""Doubtful labels and boxes of a data set, as pictures that people may be asked about.

What is doubtful, and why, ``evaluation.trust`` says.
"""

from collections.abc import Iterator
from typing import Any, cast

from pixloop.annotation.items import Candidate, Reason
from pixloop.bundle import Bundle
from pixloop.data.dataset import Dataset, Row, SplitName
from pixloop.errors import AnnotationError
from pixloop.evaluation.detection.detections import detect_split
from pixloop.evaluation.trust.boxes import answer_of, doubt_boxes
from pixloop.evaluation.trust.label_errors import Source, doubt_labels
from pixloop.evaluation.trust.pictures import look_through
from pixloop.evaluation.trust.review import answer_with, doubt_words
from pixloop.serving.detector import Detector
from pixloop.serving.predictor import open_predictor


def find_label_errors(
    data: Dataset, bundle: Bundle, model: str, most: int, split: SplitName = "train"
) -> Iterator[Candidate]:
    """The pictures of a split whose labels are most doubtful, the most doubtful first.

    Args:
        data: the data set that the version learned from.
        bundle: the version's.
        model: what its answers call it.
        most: how many at most.
        split: of the data set.

    Raises:
        AnnotationError: the bundle's classes are not the data set's, or it has no embedding.
    """
    if tuple(bundle.manifest.classes) != tuple(data.info.classes):
        raise AnnotationError(
            f"{model} and the data set in {data.folder} have different classes; expected those of "
            "the version's own data set. Run 'pixloop run' again."
        )
    find = _in_boxes if data.info.task == "detection" else _in_labels
    return find(data, bundle, model, most, split)


def _in_labels(
    data: Dataset, bundle: Bundle, model: str, most: int, split: SplitName
) -> Iterator[Candidate]:
    record = bundle.manifest.reference
    if record is None or record.embedding is None:
        why = "an older pixloop exported it" if record is None else record.without_embedding
        raise AnnotationError(
            f"the bundle {bundle.path} has no embedding to tell doubtful labels by: {why}. Run "
            "'pixloop run' again, or leave --label-errors out."
        )
    classes, rows = bundle.manifest.classes, data.split(split)
    seen = look_through(data, bundle, len(rows), [split])
    doubts, _ = doubt_labels([Source(seen.indices, seen.labels, seen.projected)], len(classes))
    for doubt in doubts[:most]:
        yield candidate_of(
            rows.read(doubt.row),
            Reason("label_error", doubt_words(doubt, classes), doubt.sure),
            answer_with(doubt.shares, classes),
            model,
            split,
            label=classes[doubt.label],
            embedding=tuple(map(float, seen.projected[doubt.row])),
        )


def _in_boxes(
    data: Dataset, bundle: Bundle, model: str, most: int, split: SplitName
) -> Iterator[Candidate]:
    detector, rows = cast(Detector, open_predictor(bundle)), data.split(split)
    detections = detect_split(detector, rows, data.info.classes, "looking at boxes")
    for doubt in doubt_boxes(detections)[:most]:
        yield candidate_of(
            rows.read(doubt.picture),
            Reason("label_error", doubt.words, doubt.weight),
            answer_of(detections, doubt.picture),
            model,
            split,
        )


def candidate_of(
    row: Row,
    reason: Reason,
    answer: dict[str, Any],
    model: str,
    split: str,
    label: str = "",
    embedding: tuple[float, ...] = (),
) -> Candidate:
    """A picture of a data set that may be asked; ``label`` is the class that it has."""
    return Candidate(
        sha256=row.sha256,
        picture=row.image,
        reasons=(reason,),
        answer=answer,
        model=model,
        at="",
        embedding=embedding,
        origin={"dataset": split, "path": row.path, **({"label": label} if label else {})},
    )
