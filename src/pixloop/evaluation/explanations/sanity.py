"""Whether a method explains this model at all; one that fails is not shown.

1. The map depends on what was learned: with shuffled weights another map comes out (Adebayo et al.
   2018). Many a fine map is an edge detector.
2. What the map points at matters to the answer: deletion and insertion (Petsiuk et al. 2018) in
   its order change the answer more than in the order of the same map elsewhere.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from scipy.stats import spearmanr, t
from torch import nn

from pixloop.evaluation.explanations.curves import (
    Floats,
    cell_means,
    measure_areas,
    move_map,
)
from pixloop.evaluation.explanations.methods import Method
from pixloop.evaluation.explanations.questions import Question
from pixloop.evaluation.explanations.randomised import randomise
from pixloop.progress import progress

#: Of absolute maps with and without what was learned, the mean rank correlation: from here on, a
#: quarter of the variance of the ranks and more has nothing to do with it.
MOST_SIMILARITY = 0.5
#: By how much of the answer, at least, both curves must be better than chance.
LEAST_GAIN = 0.01
CONFIDENCE = 0.95

_CHANCES = 3  #: places a map is moved to
_RANDOMISED = 4  #: pictures, at most, whose map is made with shuffled weights too
_SEED = 0


class Gain(BaseModel):
    """How much better a curve is than chance, in portions of the answer, over the pictures."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mean: float
    low: float  #: the lower limit of the mean, one-sided with ``CONFIDENCE``


class Check(BaseModel):
    """What the checks found of one method; ``failures`` is empty where it is to be shown."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: str
    title: str
    pictures: int
    similarity: float | None = None  #: mean rank correlation; 1 is the same map
    deletion: Gain | None = None
    insertion: Gain | None = None
    failures: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether the method may be shown."""
        return not self.failures

    @property
    def merit(self) -> float:
        """By what methods are compared: what both curves gain at least."""
        if self.deletion is None or self.insertion is None:
            return float("-inf")
        return self.deletion.low + self.insertion.low


def check_methods(questions: Sequence[Question], methods: Sequence[Method]) -> tuple[Check, ...]:
    """Check each method, and put the best first.

    Args:
        questions: of held-out pictures and one network; three or more.
        methods: to be checked.
    """
    images = torch.stack([question.image for question in questions])
    random = randomise(questions[0].network, images)
    checks = []
    with progress("checking explanations", len(methods), after_s=2) as advance:
        for method in methods:
            checks.append(check_method(method, questions, random))
            advance()
    return tuple(sorted(checks, key=lambda check: (not check.passed, -check.merit)))


def check_method(method: Method, questions: Sequence[Question], random: nn.Module) -> Check:
    """Check one method; ``random`` is the questions' network with shuffled weights."""
    named = {"method": method.name, "title": method.title, "pictures": len(questions)}
    try:
        maps = [cell_means(method.explain(question)) for question in questions]
    except ValueError as e:
        return Check(**named, failures=(f"it cannot be used: {e}",))
    few = list(zip(maps, questions, strict=True))[:_RANDOMISED]
    similarity = float(
        np.mean([_alike(own, method.explain(replace(q, network=random))) for own, q in few])
    )
    gains = _measure_gains(maps, questions)
    found = {"similarity": similarity, "deletion": gains[0], "insertion": gains[1]}
    return Check(**named, **found, failures=tuple(_failures(similarity, *gains)))


def _alike(own: Floats, other: NDArray[np.floating]) -> float:
    """The rank correlation of two absolute maps; one that is the same everywhere says nothing."""
    ranks = np.abs(own), np.abs(cell_means(other))
    if any(np.ptp(each) <= 1e-6 * np.max(each) for each in ranks):
        return 1.0
    return float(spearmanr(*ranks).statistic)


def _measure_gains(maps: Sequence[Floats], questions: Sequence[Question]) -> tuple[Gain, Gain]:
    """What deletion and insertion gain over chance, paired over the pictures."""
    rng = np.random.default_rng(_SEED)
    deletion, insertion = [], []
    for ranks, question in zip(maps, questions, strict=True):
        own = measure_areas(question, ranks)
        chance = [measure_areas(question, move_map(ranks, rng)) for _ in range(_CHANCES)]
        deletion.append(np.mean([areas.deletion for areas in chance]) - own.deletion)
        insertion.append(own.insertion - np.mean([areas.insertion for areas in chance]))
    return _gain(np.array(deletion)), _gain(np.array(insertion))


def _gain(differences: Floats) -> Gain:
    """The mean and the lower limit of Student's t interval."""
    count, mean = len(differences), float(differences.mean())
    margin = t.ppf(CONFIDENCE, count - 1) * differences.std(ddof=1) / count**0.5
    return Gain(mean=mean, low=mean - float(margin))


def _failures(similarity: float, deletion: Gain, insertion: Gain) -> Iterator[str]:
    if not similarity < MOST_SIMILARITY:
        yield (
            "its maps hardly change when all weights are shuffled (rank correlation "
            f"{similarity:.2f}, at most {MOST_SIMILARITY:g} is allowed)"
        )
    for gain, curve in ((deletion, "taking away"), (insertion, "putting back")):
        if not gain.low > LEAST_GAIN:
            yield (
                f"{curve} what it points at is not shown to matter more than chance (gain "
                f"{gain.mean:+.3f}, with {CONFIDENCE:.0%} confidence over {gain.low:+.3f}; over "
                f"{LEAST_GAIN:+g} is asked for)"
            )
