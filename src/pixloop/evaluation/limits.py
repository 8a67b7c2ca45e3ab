"""Where what is known of a model ends: said from what was measured, and from what was not."""

from collections.abc import Iterator, Mapping
from typing import Any

from pixloop.evaluation.formats import count, percent, target
from pixloop.evaluation.page import Answers, Evidence
from pixloop.evaluation.verdict import weakest_class

#: With fewer test pictures or boxes, a class's numbers say little: half a 95 % interval of a share
#: is up to 18 points wide.
_FEW = 30
_OFF = 0.05  #: a calibration error from which on scores are not to be taken as probabilities

#: Studies by their key, and what is not known without them.
_UNKNOWN = {
    "robustness": "how it answers noisy, blurred, dark or compressed pictures",
    "slices": "whether it is weaker on some kinds of pictures",
    "trust": "how many labels are wrong, and whether test pictures leaked into training",
    "explanations": "which pixels its answers rest on",
}


def name_limits(summary: Mapping[str, Any], evidence: Evidence[Answers]) -> list[str]:
    """The limits, in sentences."""
    return [
        *_tested(summary),
        *_decided(summary),
        *(f"{s.title}: {s.verdict}" for s in evidence.sections if s.good is False),
        *(
            f"Not measured: {words}."
            for key, words in _UNKNOWN.items()
            if key not in {section.key for section in evidence.sections}
        ),
        "One training run was measured, with one seed; another would differ a little.",
        "What groups of people a picture shows is not recorded, so nothing was measured of "
        "fairness between them.",
    ]


def _tested(summary: Mapping[str, Any]) -> Iterator[str]:
    yield (
        f"The {count(summary['pictures'])} test pictures stand for those to come only where these "
        "come from the same cameras and places; others were not tested."
    )
    weakest = weakest_class(summary)
    if weakest:
        name, metric, value, tested = weakest
        yield f"Its weakest class is {name}, with {metric} {value:.3f} on {tested}."
    tested_by = "boxes" if summary.get("task") == "detection" else "pictures"
    few = [name for name, row in summary["classes"].items() if row[tested_by] < _FEW]
    if few:
        shown = ", ".join(few[:5]) + (f" and {len(few) - 5} more" if len(few) > 5 else "")
        yield f"Fewer than {_FEW} test {tested_by} stand behind what is said of {shown}."


def _decided(summary: Mapping[str, Any]) -> Iterator[str]:
    threshold, off = summary["threshold"], summary["metrics"]["ece_after"]
    if not threshold["accepted"]:
        yield (
            f"It decides nothing alone: at most {target(threshold['max_error'])} wrong cannot be "
            f"promised from {count(threshold['calibration_pictures'])} calibration pictures."
        )
    else:
        yield (
            "The promise holds for pictures like the calibration ones; after a drift alarm it is "
            "not to be relied upon."
        )
    if off > _OFF:
        yield f"Scores are off by {percent(off)} on average: they are no probabilities."
