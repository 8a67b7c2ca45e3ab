"""The report's plots as inline SVG: no outside resource, coloured by the page's CSS.

All are drawn 360 units wide, so that their text stays readable on the narrowest screens.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from pixloop.evaluation.calibration import ReliabilityBin
from pixloop.evaluation.risk import RiskPoint

_WIDTH, _HEIGHT = 360, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 42, 14, 28, 36
_MOST_MARKS = 40  # of a line, to step through
_LEAST_SPREAD = 1e-12  # values closer than this are drawn as one

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Frame:
    """Maps data to drawing units: the ranges of both axes."""

    x: tuple[float, float]
    y: tuple[float, float]

    def place(self, point: Point) -> Point:
        """The drawing units of a data point; what lies outside is moved to the edge."""
        (x0, x1), (y0, y1) = self.x, self.y
        across = min(max((point[0] - x0) / (x1 - x0), 0.0), 1.0)
        up = min(max((point[1] - y0) / (y1 - y0), 0.0), 1.0)
        return (
            round(_LEFT + across * (_WIDTH - _LEFT - _RIGHT), 1),
            round(_TOP + (1 - up) * (_HEIGHT - _TOP - _BOTTOM), 1),
        )

    def line(self, points: Iterable[Point], css: str) -> Markup:
        """A line through data points."""
        places = " ".join(f"{x},{y}" for x, y in map(self.place, points))
        return Markup('<polyline class="{}" points="{}"/>').format(css, places)

    def area(self, points: Iterable[Point], css: str) -> Markup:
        """What data points enclose."""
        places = " ".join(f"{x},{y}" for x, y in map(self.place, points))
        return Markup('<polygon class="{}" points="{}"/>').format(css, places)

    def dot(self, point: Point, radius: float, css: str, title: str) -> Markup:
        """A dot that says its ``title`` when it is pointed at."""
        x, y = self.place(point)
        return Markup(
            '<circle class="{}" cx="{}" cy="{}" r="{}"><title>{}</title></circle>'
        ).format(css, x, y, round(radius, 1), title)

    def marks(self, points: Iterable[tuple[Point, str]]) -> Markup:
        """Places on a line that say something when they are pointed at, and are unseen else."""
        mark = Markup('<circle class="mark" cx="{}" cy="{}" r="4" data-tip="{}"/>')
        return Markup("").join(mark.format(*self.place(point), words) for point, words in points)

    def axes(
        self, x_ticks: Mapping[float, str], y_ticks: Mapping[float, str], x_name: str, y_name: str
    ) -> Markup:
        """Grid lines, tick labels and the names of both axes."""
        parts = []
        for value, label in y_ticks.items():
            (x0, y), (x1, _) = self.place((self.x[0], value)), self.place((self.x[1], value))
            parts.append(Markup('<path class="grid" d="M{} {}H{}"/>').format(x0, y, x1))
            parts.append(text(x0 - 6, y + 4, label, "end"))
        for value, label in x_ticks.items():
            x, y = self.place((value, self.y[0]))
            parts.append(text(x, y + 15, label, "middle"))
        parts.append(text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 6, x_name, "middle", "name"))
        # Above the axis, where it reads without a turn of the head.
        parts.append(text(0, 12, y_name, "start", "name"))
        return Markup("").join(parts)


def reliability_diagram(
    before: Sequence[ReliabilityBin], after: Sequence[ReliabilityBin], what: str = "pictures"
) -> Markup:
    """Score against the share that is right, before and after scaling; ``what`` is counted."""
    frame = Frame((0, 1), (0, 1))
    largest = max((b.pictures for b in (*before, *after)), default=1)
    parts = [
        frame.axes(PERCENT_TICKS, PERCENT_TICKS, "score", "share that is right"),
        frame.line([(0, 0), (1, 1)], "ideal"),
    ]
    for bins, css, when in ((before, "before", "before"), (after, "after", "calibrated")):
        parts.append(frame.line([(b.confidence, b.accuracy) for b in bins], f"line {css}"))
        parts += [
            frame.dot(
                (b.confidence, b.accuracy),
                2.5 + 4 * (b.pictures / largest) ** 0.5,
                f"dot {css}",
                f"{when}: score {b.confidence:.1%}, right {b.accuracy:.1%}, {b.pictures} {what}",
            )
            for b in bins
        ]
    return draw(
        parts,
        "Reliability diagram",
        f"Each dot is a group of {what}: how sure the model was, and how many were right.",
    )


def risk_curve(
    points: Sequence[RiskPoint], max_error: float, chosen: Point | None, what: str = "pictures"
) -> Markup:
    """The accepted share against the error among what is accepted, over all thresholds.

    Args:
        points: of the test pictures, from the strictest threshold on.
        max_error: the promised largest error.
        chosen: accepted share and error at the bundle's threshold, where it accepts anything.
        what: is accepted.
    """
    line = [(p.accepted, p.error) for p in points]
    low = [(p.accepted, p.interval[0]) for p in points]
    high = [(p.accepted, p.interval[1]) for p in points]
    highest = max([*(p.error for p in points), max_error, chosen[1] if chosen else 0.0]) * 1.25
    frame = Frame((0, 1), (0, highest))
    parts = [
        frame.axes(
            PERCENT_TICKS,
            percent_ticks(highest),
            "accepted without a person",
            "wrong among them",
        ),
        frame.area([*low, *reversed(high)], "band"),
        frame.line([(0, max_error), (1, max_error)], "promise"),
        frame.line(line, "line after"),
        frame.marks(
            (
                (p.accepted, p.error),
                f"{p.accepted:.1%} accepted: {p.error:.2%} wrong, "
                f"from {p.interval[0]:.2%} to {p.interval[1]:.2%}",
            )
            for p in points[:: max(1, len(points) // _MOST_MARKS)]
        ),
    ]
    x, y = frame.place((0, max_error))
    parts.append(text(x + 4, y - 5, f"promised: at most {max_error * 100:g} %", "start", "note"))
    if chosen:
        parts.append(
            frame.dot(
                chosen,
                5.5,
                "dot chosen",
                f"the threshold: accepts {chosen[0]:.1%}, wrong {chosen[1]:.2%}",
            )
        )
    return draw(
        parts,
        "Accepted share against error",
        f"The more {what} are accepted without a person, the more of them are wrong.",
    )


def history_plot(
    series: Mapping[str, Sequence[Point]], name: str, from_zero: bool = True
) -> Markup:
    """Values over epochs, a line a series; the series' order chooses the colours."""
    points = [point for line in series.values() for point in line]
    if not points:
        return Markup("")
    last = max(x for x, _ in points)
    first = min(x for x, _ in points)
    highest, lowest = max(y for _, y in points), min(y for _, y in points)
    spread = max(highest - lowest, highest * 1e-3)
    if spread < _LEAST_SPREAD:
        spread = 0.1
    floor = 0.0 if from_zero else max(0.0, lowest - spread * 0.3)
    frame = Frame((first, max(last, first + 1)), (floor, highest + spread * 0.06))
    epochs = range(int(first), int(last) + 1, math.ceil((last - first) / 8) or 1)
    x_ticks = {float(epoch): str(epoch) for epoch in epochs}
    parts = [frame.axes(x_ticks, round_ticks(floor, frame.y[1]), "epoch", "")]
    for (label, line), css in zip(series.items(), ("after", "before", "third"), strict=False):
        parts.append(frame.line(line, f"line {css}"))
        parts += [
            frame.dot((x, y), 2.5, f"dot {css}", f"{label}, epoch {x:g}: {y:.4g}") for x, y in line
        ]
    return draw(parts, name, f"{', '.join(series)} over {last:g} epochs")


def interval_plot(rows: Sequence[tuple[str, float, float, float]], margin: float) -> Markup:
    """Differences with their intervals: a line for each of (name, low, value, high).

    The worst that passes, minus ``margin``, is dotted.
    """
    reach = max(margin * 1.5, 0.005, *(max(-low, high) * 1.1 for _, low, _, high in rows))
    frame = Frame((-reach, reach), (0, len(rows)))
    ticks = {tick: f"{tick * 100:+g}" if tick else "0" for tick in round_ticks(-reach, reach)}
    parts = [
        frame.axes(ticks, {}, "points better than the champion", ""),
        frame.line([(0, 0), (0, len(rows))], "grid"),
        frame.line([(-margin, 0), (-margin, len(rows))], "promise"),
    ]
    for row, (name, low, value, high) in enumerate(rows):
        height = len(rows) - row - 0.6
        parts.append(frame.line([(low, height), (high, height)], "line after"))
        words = f"{name}: {value * 100:+.1f}, from {low * 100:+.1f} to {high * 100:+.1f} points"
        parts.append(frame.dot((value, height), 4.5, "dot after", words))
        x, y = frame.place((-reach, height))
        parts.append(text(x, y - 12, name, "start", "name"))
    return draw(parts, "Champion and challenger", "The difference on the same pictures.")


PERCENT_TICKS = {0.0: "0", 0.25: "25 %", 0.5: "50 %", 0.75: "75 %", 1.0: "100 %"}


def round_ticks(lowest: float, highest: float) -> dict[float, str]:
    """Round numbers between two others, three to seven of them.

    >>> list(round_ticks(0, 0.11))
    [0.0, 0.02, 0.04, 0.06, 0.08, 0.1]
    """
    power = 10.0 ** math.floor(math.log10(highest - lowest))
    step = next(s for s in (0.2, 0.25, 0.5, 1, 2) if highest - lowest <= 6 * s * power) * power
    steps = range(math.ceil(lowest / step - 1e-9), math.floor(highest / step + 1e-9) + 1)
    # Twelve digits drop what binary fractions add to a round number.
    return {float(f"{i * step:.12g}"): f"{i * step:.6g}" for i in steps}


def percent_ticks(highest: float) -> dict[float, str]:
    """Round shares from 0 on, in per cent."""
    return {v: f"{v * 100:g} %" if v else "0" for v in round_ticks(0, highest)}


def text(x: float, y: float, words: str, anchor: str, css: str = "tick") -> Markup:
    """Words at a place in drawing units; the anchor is ``start``, ``middle`` or ``end``."""
    return Markup('<text class="{}" x="{}" y="{}" text-anchor="{}">{}</text>').format(
        css, round(x, 1), round(y, 1), anchor, words
    )


def draw(parts: Iterable[Markup], title: str, description: str) -> Markup:
    """The parts as one drawing, with words for those who do not see it."""
    return Markup(
        '<svg class="plot" viewBox="0 0 {} {}" role="img" aria-label="{}. {}">{}</svg>'
    ).format(_WIDTH, _HEIGHT, title, description, Markup("").join(parts))
