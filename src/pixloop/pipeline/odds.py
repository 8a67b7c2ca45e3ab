"""What the drift alarm of a draft notices, measured on pictures that chose its epoch."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pixloop.config_loop import MonitoringConfig
from pixloop.data.dataset import Dataset
from pixloop.export.export import Draft
from pixloop.export.stored_pictures import spread_evenly
from pixloop.monitoring.odds import Watched, measure_odds
from pixloop.monitoring.reference import FOLDER, write_odds
from pixloop.monitoring.signals import Answer, score_of
from pixloop.pipeline.reference import (
    AddedReference,
    Chosen,
    ask_all,
    judge,
    measure_pictures,
    reference_split,
)

Floats = NDArray[np.float32]

#: Further clean pictures, to be mixed with the reference's.
_MOST_OTHERS = 2000


def add_odds(config: MonitoringConfig, draft: Draft, data: Dataset, added: AddedReference) -> None:
    """Measure the odds of a calibrated draft's alarm, and write them beside its reference.

    Args:
        config: how many pictures are corrupted, and the chance of a false alarm.
        draft: complete but for its seal.
        data: its validation pictures are corrupted; where it has none, the reference's own.
        added: the reference.

    Raises:
        DataError: a picture cannot be read.
    """
    extractor, classes = added.extractor, draft.manifest.classes
    predictor = draft.predictor()
    split = data.split("validation")
    apart = len(data.split("calibration")) > 0  # else the reference is of the validation pictures
    others = Chosen(split, spread_evenly(_MOST_OTHERS, len(split) if apart else 0))
    more = np.empty((0, len(extractor.signals)), np.float32)
    if len(others):
        more = measure_pictures(extractor, others, ask_all(predictor.predict, others)).values
    held_out = split if len(split) else reference_split(data)
    corrupted = Chosen(held_out, spread_evenly(config.odds_pictures, len(held_out)))

    def measure(pictures: Sequence[bytes], answers: Sequence[Answer]) -> Floats:
        return extractor.measure(pictures, answers).values

    def judge_corrupted(answers: Sequence[Answer]) -> tuple[Floats, Floats]:
        scores = np.array([score_of(answer) for answer in answers], np.float32)
        return scores, judge(answers, corrupted, classes)

    odds = measure_odds(
        Watched(extractor.signals, predictor.predict, measure, judge_corrupted),
        added.reference.values,
        more,
        [row.image for row in corrupted],
        config.false_alarm,
    )
    write_odds(draft.folder / FOLDER, odds)
