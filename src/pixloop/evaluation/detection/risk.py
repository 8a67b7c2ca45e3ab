"""The accepted share of a detector's boxes against the error among them, over all thresholds."""

import numpy as np

from pixloop.evaluation.detection.detections import Detections
from pixloop.evaluation.detection.matching import Bools
from pixloop.evaluation.detection.thresholds import BoxCurve, accept_boxes
from pixloop.evaluation.risk import MOST_POINTS, RiskPoint


def risk_of_boxes(detections: Detections, boxes: Bools) -> list[RiskPoint]:
    """What thresholds do to some of the boxes, (B,)."""
    scores = detections.scores[boxes]
    falling = np.unique(scores)[::-1]
    picks = np.unique(np.linspace(0, len(falling) - 1, MOST_POINTS).astype(np.int64))
    curve = accept_boxes(
        detections.matches.picture[boxes],
        scores,
        detections.matches.right[boxes],
        falling[picks] if len(falling) else falling,
    )
    return box_risk_points(curve, len(scores))


def box_risk_points(curve: BoxCurve, answered: int) -> list[RiskPoint]:
    """A detector's, from the threshold on that accepts boxes in a twentieth of the pictures."""
    most = int(curve.pictures[-1]) if len(curve.pictures) else 0
    picks = np.flatnonzero(curve.pictures >= max(1, most // 20))
    return [
        RiskPoint(
            int(curve.boxes[i]) / max(answered, 1), float(curve.error[i]), curve.interval(int(i))
        )
        for i in picks
    ]
