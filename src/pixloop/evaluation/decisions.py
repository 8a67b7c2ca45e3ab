"""What the thresholds do on the test pictures, group by group and class by class.

What is promised is promised of a group: a class with its own threshold, or the pool of the others.
What is measured of a class in the pool is no promise, and shows what the pool may hide.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from pixloop.bundle import Threshold, ThresholdGroup
from pixloop.evaluation.class_thresholds import least_pictures
from pixloop.evaluation.plots import PERCENT_TICKS, Frame, Point, draw, percent_ticks, text
from pixloop.evaluation.risk import RiskPoint

Json = dict[str, Any]
#: The classes of some predictions → what is accepted of them: ``answered``, ``accepted``,
#: ``wrong``, ``accepted_share``, ``error``, ``error_interval``, and what else a task has.
Measure = Callable[[Sequence[str]], Json]

#: So many lines have their own colour.
MOST_COLOURS = 6
_MOST_MARKS = 12  # of a line, to point at


def describe_threshold(threshold: Threshold, classes: Sequence[str], measure: Measure) -> Json:
    """The ``threshold`` part of evaluation.json.

    Returns:
        What all predictions share beside ``groups``, each with its own promise, and ``classes``.
        ``met`` says whether the promise can be kept by anything: of all, of a group.
        ``least_pictures`` is how many calibration pictures a group needs in the best case.
    """
    acceptance = threshold.acceptance
    groups = threshold.groups or (
        ThresholdGroup(
            classes=tuple(classes),
            **threshold.model_dump(include={"score", "accepted_share", "error", "pictures"}),
        ),
    )
    return {
        "score": threshold.score,
        "max_error": threshold.max_error,
        "confidence": threshold.confidence,
        "calibration_pictures": threshold.pictures,
        "by": "class" if threshold.groups else "all",
        "met": any(group.score is not None for group in groups),
        "least_pictures": least_pictures(threshold.max_error, threshold.confidence),
        **measure(classes),
        "groups": [
            {
                "classes": list(group.classes),
                "score": group.score,
                "met": group.score is not None,
                "calibration_pictures": group.pictures,
                **measure(group.classes),
            }
            for group in groups
        ],
        "classes": {
            label: {"score": acceptance.least(label), **measure([label])} for label in classes
        },
    }


@dataclass(frozen=True, slots=True)
class RiskLine:
    """What is accepted of one class's predictions, and how much of it is wrong."""

    label: str
    points: Sequence[RiskPoint]  #: over all thresholds, the strictest first
    chosen: Point | None  #: at the bundle's threshold, where it accepts anything


def decisions_part(
    threshold: Mapping[str, Any], points: Callable[[str], Sequence[RiskPoint]], what: str
) -> dict[str, Any]:
    """What ``templates/decisions.html`` needs beside the threshold part of evaluation.json.

    Args:
        threshold: that part.
        points: what thresholds do to a class's predictions.
        what: is accepted: answers, boxes.
    """
    lines = risk_lines(threshold, points)
    return {
        "lines": [line.label for line in lines],
        "by_class": risk_by_class(lines, threshold["max_error"], what),
        "unit": what,
    }


def risk_lines(
    threshold: Mapping[str, Any], points: Callable[[str], Sequence[RiskPoint]]
) -> list[RiskLine]:
    """A line for each class that is predicted, those with the most errors first.

    Args:
        threshold: that part of evaluation.json.
        points: of a class's predictions.
    """
    lines = []
    for label, found in threshold["classes"].items():
        chosen = (found["accepted_share"], found["error"]) if found["accepted"] else None
        if drawn := points(label):
            lines.append(RiskLine(label, drawn, chosen))
    return sorted(lines, key=lambda line: -line.points[-1].error)


def risk_by_class(lines: Sequence[RiskLine], max_error: float, what: str) -> Markup:
    """The accepted share against the error among what is accepted, a line a class.

    Args:
        lines: the first have colours, the others are grey.
        max_error: the promised largest error.
        what: is accepted.
    """
    # The strictest thresholds accept so few that one error is most of them: those may lie outside.
    ends = [line.points[-1].error for line in lines]
    ends += [line.chosen[1] for line in lines if line.chosen]
    highest = max([*ends, max_error]) * 1.25
    frame = Frame((0, 1), (0, highest))
    parts = [
        frame.axes(
            PERCENT_TICKS, percent_ticks(highest), "accepted of the class", "wrong of these"
        ),
        frame.line([(0, max_error), (1, max_error)], "promise"),
    ]
    # Grey ones first, so that what has a colour lies on top.
    for i, line in reversed(list(enumerate(lines))):
        css = f"c{i}" if i < MOST_COLOURS else "rest"
        drawn = frame.line([(p.accepted, p.error) for p in line.points], f"line {css}")
        end = line.points[-1]
        title = f"{line.label}: {end.error:.1%} wrong, were all accepted"
        parts.append(Markup("<g>{}<title>{}</title></g>").format(drawn, title))
        words = f"{line.label}: {{:.1%}} accepted, of which {{:.2%}} are wrong"
        points = line.points[:: max(1, len(line.points) // _MOST_MARKS)]
        said = (words.format(p.accepted, p.error) for p in points)
        places = [(p.accepted, p.error) for p in points]
        parts.append(frame.marks(zip(places, said, strict=True)))
    for i, line in enumerate(lines):
        if line.chosen:
            css = f"c{i}" if i < MOST_COLOURS else "rest"
            share, error = line.chosen
            title = f"{line.label}: accepts {share:.1%}, of which {error:.2%} are wrong"
            parts.append(frame.dot(line.chosen, 4.5, f"dot {css}", title))
    x, y = frame.place((0, max_error))
    parts.append(text(x + 4, y - 5, f"promised: at most {max_error * 100:g} %", "start", "note"))
    return draw(
        parts,
        "Accepted share against error, by class",
        f"The more {what} of a class are accepted without a person, the more of them are wrong. "
        "A dot is where its threshold lies.",
    )
