"""How accurate a model is on pictures without labels, by how sure it is of its answers."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from pixloop.monitoring.odds import Odds

FloatArray = NDArray[np.floating]


class Judged(Protocol):
    """What is known of held-out pictures with labels; ``Reference`` is one.

    ``scores`` and ``correct`` have shape (n,): a picture's score, NaN where it has none, and
    whether its answer was right (detection: the share of right boxes).
    """

    @property
    def scores(self) -> NDArray[np.float32]: ...

    @property
    def correct(self) -> NDArray[np.float32] | NDArray[np.bool_]: ...


class AccuracyEstimate(BaseModel):
    """The share of right answers (detection: of right boxes), estimated without labels."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    accuracy: float
    low: float  #: with ``high``, an interval of 90 %
    high: float
    reference_accuracy: float  #: measured with labels, on the reference's pictures
    pictures: int
    matters: bool  #: the whole interval lies below the reference's accuracy by more than a margin


def estimate_accuracy(reference: Judged, scores: FloatArray, odds: Odds | None) -> AccuracyEstimate:
    """Estimate the accuracy on pictures of which only the model's scores are known."""
    raise NotImplementedError
