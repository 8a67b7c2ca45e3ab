"""Everything that two models' answers to the same pictures say about which is better."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pixloop.bundle import CERTIFICATE, Bundle, graph_name
from pixloop.evaluation.comparison.by_slice import SlicePair, compare_slices
from pixloop.evaluation.comparison.measures import Difference, compare_measures
from pixloop.evaluation.comparison.paired import Floats, Paired, compare_paired, two_sided_p
from pixloop.evaluation.comparison.worsened import MOST_PICTURES, Worsened, compare_worsened
from pixloop.evaluation.predictions import Predictions
from pixloop.evaluation.section import Contender, Subject
from pixloop.evaluation.slices.section import slice_test_pictures, worth_of

#: Of every interval that is not of many things together.
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Latency:
    """How long each takes for a lone picture, as its certificate says."""

    champion_ms: float
    challenger_ms: float
    same_machine: bool


@dataclass(frozen=True, slots=True, eq=False)
class Findings:
    """The comparison.

    Attributes:
        task: classification or detection.
        same_model: whether both are one model, so that nothing can differ.
        paired: of all pictures; both bounds hold together with ``CONFIDENCE``.
        p: the chance of so large a difference in either direction, were both equally good.
        better: whether the challenger is shown better; False for worse, None where it is neither.
        slices: every slice; ``slice_confidence`` holds for all of them together.
        measures: everything the answers are measured by; the first is what ``paired`` is of, and
            its bounds are those of ``paired``.
        worsened: both on worsened pictures; None where that is turned off.
        latency: None where a certificate has none.
        gained: pictures that the challenger answers better, those it gains most on first.
        lost: pictures that it answers worse.
    """

    task: str
    same_model: bool
    paired: Paired
    p: float
    better: bool | None
    slices: Sequence[SlicePair]
    slice_confidence: float
    measures: Sequence[Difference]
    worsened: Worsened | None
    latency: Latency | None
    gained: Sequence[int]
    lost: Sequence[int]

    def measure(self, name: str) -> Difference:
        """One of ``measures``."""
        return next(each for each in self.measures if each.measure.name == name)


def find_differences(subject: Subject[Any], champion: Contender[Any]) -> Findings:
    """Hold the subject's model, as challenger, against the champion."""
    config, answers = subject.config, subject.answers
    ours, theirs = worth_of(answers), worth_of(champion.answers)
    paired = compare_paired(ours, theirs, (1 + CONFIDENCE) / 2)
    p = two_sided_p(ours, theirs)
    least = config.slices.least_pictures
    slices: Sequence[SlicePair] = ()
    if least:
        slicing = slice_test_pictures(subject.bundle, subject.data, least)
        slices = compare_slices(ours, theirs, slicing.slices, config.slices.confidence)
    worsened = None
    if config.robustness.pictures:
        both = (subject.bundle, answers), (champion.bundle, champion.answers)
        worsened = compare_worsened(*both, subject.data, MOST_PICTURES, CONFIDENCE)
    # bundle.json has the SHA-256 of every other file.
    same_model = subject.bundle.manifest == champion.bundle.manifest
    measures = compare_measures(answers, champion.answers, CONFIDENCE)
    return Findings(
        task=subject.data.info.task,
        same_model=same_model,
        paired=paired,
        p=p,
        better=judge(paired, p),
        slices=slices,
        slice_confidence=config.slices.confidence,
        measures=measures if same_model else _with_bounds_of(paired, measures),
        worsened=worsened,
        latency=_latency(subject.bundle, champion.bundle),
        gained=_changed(ours - theirs, champion.answers),
        lost=_changed(theirs - ours, answers),
    )


def judge(paired: Paired, p: float) -> bool | None:
    """Whether the challenger is better: both the exact test and the interval must show it."""
    if p > 1 - CONFIDENCE or paired.low <= 0 <= paired.high:
        return None
    return paired.low > 0


def _with_bounds_of(paired: Paired, measures: Sequence[Difference]) -> list[Difference]:
    """The measures, the first with the verdict's bounds: one difference has one interval."""
    first, *others = measures
    return [replace(first, low=paired.low, high=paired.high), *others]


def _changed(gain: Floats, wrong: Any) -> list[int]:
    """Pictures with a gain, the largest first; of equal ones that which ``wrong`` was surest of."""
    sure = wrong.scores if isinstance(wrong, Predictions) else np.zeros(len(gain))
    order = np.lexsort((-sure, -gain))
    return [int(i) for i in order if gain[i] > 0]


def _latency(challenger: Bundle, champion: Bundle) -> Latency | None:
    ours, theirs = _certified(challenger), _certified(champion)
    if ours is None or theirs is None:
        return None
    same = bool(ours[1]) and ours[1] == theirs[1]
    return Latency(champion_ms=theirs[0], challenger_ms=ours[0], same_machine=same)


def _certified(bundle: Bundle) -> tuple[float, Any] | None:
    """The latency of the chosen graph, and the machine that it was measured on."""
    try:
        content = json.loads((bundle.path / CERTIFICATE).read_text(encoding="utf-8"))
        for graph in content["graphs"]:
            name = graph_name(graph["format"], graph.get("precision", "float32"))
            if name == bundle.manifest.chosen_graph and graph.get("latency_ms") is not None:
                return float(graph["latency_ms"]), content.get("machine")
    except (OSError, ValueError, KeyError, TypeError):
        return None  # it only enriches the comparison
    return None
