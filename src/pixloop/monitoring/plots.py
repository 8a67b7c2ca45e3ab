"""The plots of a monitoring report as inline SVG, coloured by the page's CSS."""

from collections.abc import Iterable, Sequence

from markupsafe import Markup

from pixloop.monitoring.evidence import GROUP_WORDS, Evidence
from pixloop.monitoring.quality import Quality

_WIDTH, _HEIGHT = 360, 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 12, 14, 30

Point = tuple[float, float]


def evidence_plot(evidence: Evidence) -> Markup:
    """How far each group was on its way to an alarm, over the pictures since the test began."""
    last = max(evidence.pictures, default=1)
    highest = max([1.25, *(min(max(c.shares, default=0.0), 2.5) for c in evidence.curves)])
    parts = [_axes(["0", f"{last:,}".replace(",", "\u202f")], {0: "0", 1: "alarm"}, highest)]
    limit = [(0.0, 1.0), (1.0, 1.0)]
    parts.append(_line([_place(p, highest) for p in limit], "limit", "the alarm's limit"))
    for number, curve in enumerate(evidence.curves):
        points = [
            _place((picture / last, share), highest)
            for picture, share in zip(evidence.pictures, curve.shares, strict=True)
        ]
        parts.append(_line(points, f"c{number}", GROUP_WORDS[curve.group]))
    return _draw(parts, "Evidence of drift over the pictures since the test began")


def quality_plot(quality: Quality) -> Markup:
    """The quality of the checked pictures, a point for each hundred."""
    windows = quality.windows
    step = 1 / max(len(windows) - 1, 1)
    low = max(0.0, min([w.low for w in windows] + [quality.least]) - 0.05)

    def place(x: float, y: float) -> Point:
        return _place((x, (y - low) / (1 - low + 1e-9)), 1.0)

    ticks = {0.0: f"{low:.0%}", 1.0: "100%"}
    ends = [f"{windows[0].start:%Y-%m-%d}", f"{windows[-1].end:%Y-%m-%d}"]
    xs = [i * step for i in range(len(windows))] if len(windows) > 1 else [0.5]
    parts = [_axes(ends, ticks, 1.0)]
    for value, css, title in (
        (quality.expected, "ideal", "the evaluation's"),
        (quality.least, "limit", "the alarm's limit"),
    ):
        parts.append(_line([place(0, value), place(1, value)], css, title))
    for x, window in zip(xs, windows, strict=True):
        ends_ = [place(x, window.low), place(x, window.high)]
        parts.append(_line(ends_, "whisker", f"{window.labels} labels"))
        cx, cy = place(x, window.value)
        parts.append(Markup('<circle class="dot" cx="{}" cy="{}" r="4"/>').format(cx, cy))
    return _draw(parts, "Quality over time")


def _place(point: Point, highest: float) -> Point:
    x, y = min(max(point[0], 0.0), 1.0), min(max(point[1] / highest, 0.0), 1.0)
    return (
        round(_LEFT + x * (_WIDTH - _LEFT - _RIGHT), 1),
        round(_TOP + (1 - y) * (_HEIGHT - _TOP - _BOTTOM), 1),
    )


def _line(points: Sequence[Point], css: str, title: str) -> Markup:
    places = " ".join(f"{x},{y}" for x, y in points)
    return Markup('<polyline class="{}" points="{}"><title>{}</title></polyline>').format(
        css, places, title
    )


def _axes(ends: Sequence[str], ticks: dict[float, str], highest: float) -> Markup:
    parts = []
    for value, label in ticks.items():
        x, y = _place((0, value), highest)
        edge = _WIDTH - _RIGHT
        parts.append(Markup('<path class="grid" d="M{} {}H{}"/>').format(x, y, edge))
        parts.append(_text(x - 6, y + 4, label, "end"))
    parts.append(_text(_LEFT, _HEIGHT - 8, ends[0], "start"))
    parts.append(_text(_WIDTH - _RIGHT, _HEIGHT - 8, ends[-1], "end"))
    return Markup("").join(parts)


def _text(x: float, y: float, words: str, anchor: str) -> Markup:
    return Markup('<text x="{}" y="{}" text-anchor="{}">{}</text>').format(x, y, anchor, words)


def _draw(parts: Iterable[Markup], title: str) -> Markup:
    return Markup(
        '<svg class="plot" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>'
    ).format(_WIDTH, _HEIGHT, title, Markup("").join(parts))
