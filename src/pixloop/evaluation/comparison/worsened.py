"""Both models on the same test pictures, made worse: which keeps more of its skill.

Each picture is worsened once, in one of ImageNet-C's 15 ways in turn, at the middle severity. So
many pictures count once, and stay independent of one another: the paired test holds for them.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pixloop.bundle import Bundle
from pixloop.data.corruptions import CORRUPTIONS
from pixloop.data.dataset import Dataset, Objects, Row, Split
from pixloop.errors import DataError, ImageError
from pixloop.evaluation.comparison.measures import Difference, Measure, compare_values, ratio
from pixloop.evaluation.comparison.paired import Floats, Paired, compare_paired
from pixloop.evaluation.detection.detections import detect_split
from pixloop.evaluation.predictions import predict_split
from pixloop.evaluation.slices.section import worth_of
from pixloop.monitoring.corrupted import Original, open_original
from pixloop.progress import progress
from pixloop.serving.classifier import Classifier
from pixloop.serving.detector import Detector
from pixloop.serving.predictor import open_predictor

SEVERITY = 3
MOST_PICTURES = 300


@dataclass(frozen=True, slots=True)
class Worsened:
    """Both models on worsened pictures.

    Attributes:
        paired: their worth on them.
        kept: the share of their worth on the same pictures as they are that is left.
    """

    paired: Paired
    kept: Difference


class WorsenedPictures:
    """Some pictures of a split, each with a corruption; ``rows`` are theirs, rising."""

    def __init__(self, split: Split, most: int, seed: int = 0) -> None:
        """Choose up to ``most`` pictures, and make them worse."""
        chosen = np.random.default_rng(seed).permutation(len(split))[:most]
        self.rows = np.sort(chosen)
        self._split = split
        self._rows: list[Row] = []
        self._scales: list[float] = []
        with progress("worsening test pictures", len(self.rows)) as advance:
            for place, index in enumerate(self.rows.tolist()):
                row = split.read(index)
                original = _open(row)
                name = CORRUPTIONS[place % len(CORRUPTIONS)]
                self._rows.append(
                    replace(row, image=original.corrupted(name, SEVERITY, seed=index))
                )
                self._scales.append(original.scale)
                advance(1)

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows)

    @property
    def objects(self) -> list[Objects]:
        """What is in each, where it is in the picture that was made smaller."""
        truth = self._split.objects
        return [
            replace(truth[i], boxes=truth[i].boxes / scale)
            for i, scale in zip(self.rows.tolist(), self._scales, strict=True)
        ]


def compare_worsened(
    challenger: tuple[Bundle, Any],
    champion: tuple[Bundle, Any],
    data: Dataset,
    most: int,
    confidence: float,
) -> Worsened | None:
    """Ask both models about the same worsened pictures.

    Args:
        challenger: a bundle, and its answers to the test pictures as they are.
        champion: the same.
        data: the data set.
        most: pictures at most.
        confidence: of the bounds together.

    Returns:
        What was found; None where in detection none of the chosen pictures shows an object.

    Raises:
        DataError: a picture cannot be read.
    """
    pictures = WorsenedPictures(data.split("test"), most)
    if data.info.task == "detection" and all(each.crowd.all() for each in pictures.objects):
        return None
    ours, theirs = (
        worth_of(_answer(bundle, pictures, data)) for bundle, _ in (challenger, champion)
    )
    before, before_theirs = (
        worth_of(answers)[pictures.rows] for _, answers in (challenger, champion)
    )
    kept = compare_values(
        [_kept(ours, before)], [_kept(theirs, before_theirs)], len(pictures), confidence
    )
    paired = compare_paired(ours, theirs, (1 + confidence) / 2)
    return Worsened(paired, kept[0])


def _kept(worsened: Floats, before: Floats) -> Measure:
    return Measure("kept", "kept when pictures are worse", True, True, ratio(worsened, before))


def _answer(bundle: Bundle, pictures: WorsenedPictures, data: Dataset) -> Any:
    predictor, words = open_predictor(bundle), "scoring worsened pictures"
    if isinstance(predictor, Classifier):
        return predict_split(predictor, pictures, data.info.classes, words)
    assert isinstance(predictor, Detector)  # noqa: S101
    return detect_split(predictor, pictures, data.info.classes, words)


def _open(row: Row) -> Original:
    try:
        return open_original(row.image)
    except ImageError as e:
        raise DataError(f"the picture {row.path} cannot be read: {e}") from e
