"""A detector's own plots: precision-recall curves, the overlap of right boxes, accepted boxes."""

from collections.abc import Mapping, Sequence

import numpy as np
from markupsafe import Markup

from pixloop.evaluation.detection.matching import Floats, Ints
from pixloop.evaluation.detection.precision import PrecisionRecall
from pixloop.evaluation.plots import PERCENT_TICKS, Frame, draw, round_ticks
from pixloop.evaluation.risk import thin

#: So many classes have their own colour.
MOST_LINES = 6


def precision_recall_plot(curves: Mapping[str, PrecisionRecall], minimum: float) -> Markup:
    """A line a class, with a dot where boxes stop being answered.

    Args:
        curves: of each class that is drawn, at most ``MOST_LINES``; the order gives the colours.
        minimum: the raw score from which on boxes are answered.
    """
    frame = Frame((0, 1), (0, 1))
    parts = [frame.axes(PERCENT_TICKS, PERCENT_TICKS, "recall", "precision")]
    for i, (name, curve) in enumerate(curves.items()):
        points = list(zip(curve.recall.tolist(), curve.precision.tolist(), strict=True))
        if not points:
            continue
        drawn = [points[j] for j in thin(_corners(curve.recall))]
        parts.append(frame.line([(0.0, drawn[0][1]), *drawn], f"line c{i}"))
        last = int(np.searchsorted(-curve.scores, -minimum, side="right")) - 1
        if last >= 0:
            recall, precision = points[last]
            title = f"{name}: precision {precision:.1%}, recall {recall:.1%} as answered"
            parts.append(frame.dot(points[last], 4.5, f"dot c{i}", title))
    return draw(
        parts,
        "Precision and recall",
        "The more boxes of a class are found, the more of the answers are wrong. "
        "A dot is where boxes are answered.",
    )


def iou_histogram(edges: Sequence[float], boxes: Sequence[int], mean: float | None) -> Markup:
    """How many right boxes overlap their true one how much, and the mean."""
    highest = max(*boxes, 1) * 1.08
    frame = Frame((edges[0], edges[-1]), (0, highest))
    y_ticks = {v: label for v, label in round_ticks(0, highest).items() if v == int(v)}
    x_ticks = {edge: f"{edge:.1f}" for edge in edges[::2]}
    parts = [frame.axes(x_ticks, y_ticks, "IoU with the true box", "right boxes")]
    gap = (edges[1] - edges[0]) * 0.06
    for low, high, count in zip(edges, edges[1:], boxes, strict=False):
        corners = [(low + gap, 0), (low + gap, count), (high - gap, count), (high - gap, 0)]
        bar = frame.area(corners, "column")
        title = Markup("<title>{}</title>").format(f"IoU {low:.2f} to {high:.2f}: {count} boxes")
        parts.append(Markup("<g>{}{}</g>").format(bar, title))
    if mean is not None:
        parts.append(frame.line([(mean, 0), (mean, highest)], "mean"))
    return draw(
        parts,
        "Overlap of the right boxes",
        f"Mean {mean:.3f}" if mean is not None else "There is no right box",
    )


def _corners(recall: Floats) -> Ints:
    """Where the recall rises, and just before: what lies between is a straight line down."""
    rises = np.flatnonzero(np.diff(recall, prepend=0.0) > 0)
    chosen: Ints = np.unique(np.concatenate([[0], rises - 1, rises, [len(recall) - 1]]))
    return chosen[chosen >= 0]
