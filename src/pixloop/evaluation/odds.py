"""The report's part about drift: what an alarm of this version is worth."""

from itertools import groupby
from math import log
from typing import Any

import numpy as np
from markupsafe import Markup

from pixloop.evaluation.plots import PERCENT_TICKS, Frame, Point, draw
from pixloop.monitoring.accuracy import corrupted_sets, left_out_drops
from pixloop.monitoring.odds import CorruptionOdds, Odds


def describe_odds(odds: Odds | None) -> dict[str, Any] | None:
    """What the template shows; None where nothing was measured."""
    if odds is None or (odds.clean is None and not odds.corruptions):
        return None
    cases = odds.corruptions
    return {
        "odds": odds,
        "rows": [
            {"name": name.replace("_", " "), "cells": [_cell(case, odds) for case in own]}
            for name, own in groupby(cases, key=lambda case: case.corruption)
        ],
        "severities": sorted({case.severity for case in cases}),
        "noticed": sum(case.pictures is not None for case in cases),
        "accuracy": _accuracy(odds),
    }


def _cell(case: CorruptionOdds, odds: Odds) -> dict[str, Any]:
    """The sooner an alarm comes, the stronger its shade, on a logarithmic scale."""
    share = 0.0
    if case.pictures is not None:
        share = 1 - log(case.pictures) / log(odds.most_pictures + 1)
    return {"pictures": case.pictures, "share": share, "title": _title(case)}


def _title(case: CorruptionOdds) -> str:
    words = [f"{case.corruption.replace('_', ' ')}, severity {case.severity}"]
    words.append(f"noticed in {case.noticed:.0%} of streams")
    if case.signal is not None:
        words.append(f"first by {case.signal}")
    if case.accuracy is not None:
        words.append(f"accuracy {case.accuracy:.0%}")
    return "; ".join(words)


def _accuracy(odds: Odds) -> dict[str, Any] | None:
    """How well accuracy is estimated without labels; None where that cannot be said."""
    names, causes, drops = corrupted_sets(odds)
    if len(set(names)) < 2 or odds.accuracy is None:
        return None
    true = odds.accuracy - drops
    both = left_out_drops(names, causes, drops)
    alone = left_out_drops(names, causes * [1.0, 0.0], drops)
    titles = [
        f"{case.corruption.replace('_', ' ')} {case.severity}"
        for case in odds.corruptions
        if case.accuracy is not None and case.score is not None
    ]
    points = [
        (title, (float(t), float(a)), (float(t), float(b)))
        for title, t, a, b in zip(
            titles, true, odds.accuracy - alone, odds.accuracy - both, strict=True
        )
    ]
    return {
        "plot": _plot(points),
        "error": float(np.abs(both - drops).mean()),
        "error_of_scores": float(np.abs(alone - drops).mean()),
    }


def _plot(points: list[tuple[str, Point, Point]]) -> Markup:
    frame = Frame((0, 1), (0, 1))
    parts = [
        frame.axes(PERCENT_TICKS, PERCENT_TICKS, "right, by the labels", "right, as estimated"),
        frame.line([(0, 0), (1, 1)], "ideal"),
    ]
    for css, which in (("before", 1), ("after", 2)):
        parts += [_dot(frame, point[0], point[which], css) for point in points]  # type: ignore[arg-type]
    return draw(
        parts,
        "Accuracy as estimated without labels",
        "Each dot is a corruption at one severity: how many answers were right, and the estimate.",
    )


def _dot(frame: Frame, title: str, point: Point, css: str) -> Markup:
    return frame.dot(point, 3.2, f"dot {css}", f"{title}: {point[0]:.0%}, estimated {point[1]:.0%}")
