"""Every alteration is tried on the sample, and each model is asked what it makes of it."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from pixloop.evaluation.robustness.alterations import Alteration, Scene
from pixloop.evaluation.robustness.outcomes import Examiner, Outcome
from pixloop.evaluation.robustness.sample import Sample
from pixloop.progress import progress
from pixloop.serving.engines import usable_cores


@dataclass(frozen=True, slots=True)
class Trial:
    """An alteration at a strength, and what each model made of it, in the examiners' order."""

    kind: str
    strength: float
    outcomes: tuple[Outcome, ...]

    @property
    def outcome(self) -> Outcome:
        """What the model that is studied made of it."""
        return self.outcomes[0]


def try_alterations(
    sample: Sample, alterations: Sequence[Alteration], examiners: Sequence[Examiner], title: str
) -> list[Trial]:
    """Alter all pictures in each way, and ask each model.

    Args:
        sample: the pictures.
        alterations: what is done to them, one at a time.
        examiners: the models.
        title: for the progress display.
    """

    def attempt(alteration: Alteration) -> Trial:
        scenes = alter(sample, alteration)
        trial = Trial(
            alteration.kind, alteration.strength, tuple(examine(scenes) for examine in examiners)
        )
        advance(len(scenes), f"{alteration.kind.replace('_', ' ')} {alteration.strength:g}")
        return trial

    with (
        progress(title, len(alterations) * len(sample)) as advance,
        ThreadPoolExecutor(usable_cores(), thread_name_prefix="robustness") as threads,
    ):
        return list(threads.map(attempt, alterations))


def alter(sample: Sample, alteration: Alteration) -> list[Scene]:
    """All pictures, altered; each draws by its place among the test pictures."""
    pairs = zip(sample.indices, sample.scenes, strict=True)
    return [alteration.apply(scene, index) for index, scene in pairs]
