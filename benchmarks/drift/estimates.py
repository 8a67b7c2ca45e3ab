"""Accuracy as estimated without labels, beside what labels say."""

from types import SimpleNamespace

import numpy as np
from numpy.typing import NDArray
from pictures import CORRUPTED

from pixloop.data.corruptions import CORRUPTIONS, SEVERITIES
from pixloop.monitoring.accuracy import MARGIN, estimate_accuracy
from pixloop.monitoring.odds import Odds
from pixloop.monitoring.signals import Signal

REFERENCE = 540


def judge_estimates(arrays: dict[str, NDArray], odds: Odds) -> list[dict[str, object]]:
    """Each corruption and severity, estimated by what was learned from other corruptions."""
    clean = slice(len(arrays["clean"]) - CORRUPTED)
    chosen = slice(REFERENCE)
    reference = SimpleNamespace(
        signals=[Signal(*map(str, row)) for row in arrays["signals"]],
        values=arrays["clean"][clean][chosen],
        scores=arrays["clean_scores"][clean][chosen],
        correct=arrays["clean_right"][clean][chosen],
    )
    cases = [
        (name, severity, f"{name}:{severity}") for name in CORRUPTIONS for severity in SEVERITIES
    ]
    found = [_judge(arrays, reference, odds, *case) for case in cases]
    for part in range(8):
        picked = np.random.default_rng([3, part]).permutation(
            np.arange(*clean.indices(10**6))[REFERENCE:]
        )
        found.append(_judge_clean(arrays, reference, odds, picked[:400]))
    return found


def _judge(arrays, reference, odds: Odds, name: str, severity: int, key: str) -> dict[str, object]:
    others = [case for case in odds.corruptions if case.corruption != name]
    left = odds.model_copy(update={"corruptions": tuple(others)})
    true = float(arrays[f"{key}:right"].mean())
    estimate = estimate_accuracy(reference, arrays[f"{key}:scores"], left, arrays[key])
    return _row(name, severity, true, estimate)


def _judge_clean(arrays, reference, odds: Odds, picked: NDArray) -> dict[str, object]:
    values, scores = arrays["clean"][picked], arrays["clean_scores"][picked]
    true = float(arrays["clean_right"][picked].mean())
    return _row("clean", 0, true, estimate_accuracy(reference, scores, odds, values))


def _row(name: str, severity: int, true: float, estimate) -> dict[str, object]:
    return {
        "corruption": name,
        "severity": severity,
        "true": true,
        **estimate.model_dump(),
        "margin": MARGIN,
    }
