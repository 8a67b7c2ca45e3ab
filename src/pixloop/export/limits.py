"""How closely a graph must agree with the trained model: that depends on its precision."""

from dataclasses import dataclass

from pixloop.bundle import Precision
from pixloop.config import ExportConfig


@dataclass(frozen=True, slots=True)
class Limits:
    """What a graph may differ by, and the keys of pixloop.yaml that say so."""

    accuracy_loss: float  #: share of pictures with another top class, or of unmatched boxes
    difference: float  #: of any probability, or of a matched box's score
    difference_key: str
    box_iou: float  #: the least, of matched boxes


def limits_of(config: ExportConfig, precision: Precision = "float32") -> Limits:
    """The limits for graphs of a precision."""
    if precision == "float32":
        difference, key = config.max_probability_difference, "export.max_probability_difference"
        return Limits(config.max_accuracy_loss, difference, key, config.min_box_iou)
    difference, key = config.max_reduced_difference, "export.max_reduced_difference"
    return Limits(config.max_accuracy_loss, difference, key, config.min_reduced_box_iou)
