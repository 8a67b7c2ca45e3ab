"""The plots of a search's report as inline SVG, coloured by the page's CSS."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from markupsafe import Markup
from optuna.trial import FrozenTrial, TrialState

from pixloop.pipeline.search_space import Choice, Range
from pixloop.tuning.display import brief
from pixloop.tuning.study import Study

_WIDTH, _HEIGHT = 720, 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 50, 20, 16, 34
_CHARACTER_PX = 6.2  # about, at the plots' size of letters

Point = tuple[float, float]


def history_plot(study: Study, trials: Sequence[FrozenTrial]) -> Markup:
    """Every trial's score in the order of the trials, and the best so far."""
    scored = [(t, _score(t)) for t in trials]
    points = [(t, score) for t, score in scored if score is not None]
    if not points:
        return Markup("")
    low, high = _bounds([score for _, score in points])
    last = max(len(points) - 1, 1)

    def place(number: int, score: float) -> Point:
        x = _LEFT + number / last * (_WIDTH - _LEFT - _RIGHT)
        y = _TOP + (high - score) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)
        return round(x, 1), round(y, 1)

    parts = [_grid(low, high)]
    best, steps = 0.0, []
    for number, (trial, score) in enumerate(points):
        if trial.state == TrialState.COMPLETE and score > best:
            best = score
        if best:
            steps.append(place(number, best))
    parts.append(_line(steps, "best", "the best so far"))
    for number, (trial, score) in enumerate(points):
        css = "now" if study.is_current(trial) else _css(trial)
        title = f"trial {trial.number}: {score:.4f}; {brief(study.settings(trial))}"
        parts.append(_dot(place(number, score), css, title))
    parts.append(_text(_LEFT, _HEIGHT - 8, "first trial", "start"))
    parts.append(_text(_WIDTH - _RIGHT, _HEIGHT - 8, "last", "end"))
    return _draw(parts, "Scores in the order of the trials")


def parallel_plot(study: Study, trials: Sequence[FrozenTrial]) -> Markup:
    """A line for each trial through its settings to its score; the best third is coloured."""
    scored = [(t, s) for t in trials for s in (_score(t),) if s is not None]
    if not scored:
        return Markup("")
    low, high = _bounds([score for _, score in scored])
    axes = [*study.space, "score"]
    gap = (_WIDTH - 2 * _LEFT) / max(len(axes) - 1, 1)
    xs = [round(_LEFT + number * gap, 1) for number in range(len(axes))]
    room = max(3, int(gap / _CHARACTER_PX) - 1)
    parts = [_axis(x, key, study, (low, high), room) for x, key in zip(xs, axes, strict=True)]
    scored.sort(key=lambda pair: pair[1])
    top = len(scored) - math.ceil(len(scored) / 3)
    for rank, (trial, score) in enumerate(scored):
        settings = study.settings(trial)
        heights = [_height(study.space[key], settings[key]) for key in study.space]
        points = list(zip(xs, map(_down, [*heights, (score - low) / (high - low)]), strict=True))
        css = "trace top" if rank >= top else "trace"
        title = f"trial {trial.number}: {score:.4f}; {brief(settings)}"
        parts.append(_line(points, css, title))
    return _draw(parts, "Settings and scores of all trials")


def _axis(x: float, key: str, study: Study, scores: Point, room: int) -> Markup:
    """An axis with its values' names, of at most ``room`` characters."""
    top, bottom = _down(1.0), _down(0.0)
    name = key.rpartition(".")[2]
    parts = [
        Markup('<path class="grid" d="M{} {}V{}"/>').format(x, top, bottom),
        _text(x, _HEIGHT - 8, name, "middle"),
    ]
    part = study.space.get(key)
    if isinstance(part, Choice):
        ends: list[tuple[float, Any]] = [(_height(part, v), v) for v in part.values]
    else:
        low, high = scores if part is None else (part.low, part.high)
        ends = [(0.0, f"{low:.3g}"), (1.0, f"{high:.3g}")]
    for height, words in ends:
        text = "+".join(map(str, words)) if isinstance(words, list) else str(words)
        short = text if len(text) <= room else f"{text[: room - 1]}…"
        parts.append(_text(x + 5, _down(height) + 3, short, "start"))
    return Markup("").join(parts)


def _height(part: Choice | Range, value: Any) -> float:
    """Where on its axis a value is, 0 to 1."""
    if isinstance(part, Choice):
        return part.values.index(value) / max(len(part.values) - 1, 1)
    low, high, at = part.low, part.high, float(value)
    if part.log:
        low, high, at = math.log(low), math.log(high), math.log(at)
    return min(max((at - low) / (high - low), 0.0), 1.0)


def _down(height: float) -> float:
    return round(_TOP + (1 - height) * (_HEIGHT - _TOP - _BOTTOM), 1)


def _score(trial: FrozenTrial) -> float | None:
    if trial.state == TrialState.COMPLETE:
        return trial.value
    return max(trial.intermediate_values.values(), default=None)


def _bounds(scores: Sequence[float]) -> Point:
    low, high = min(scores), max(scores)
    room = max((high - low) * 0.08, 0.005)
    return max(low - room, 0.0), min(high + room, 1.0)


def _css(trial: FrozenTrial) -> str:
    return "dot" if trial.state == TrialState.COMPLETE else "dot early"


def _grid(low: float, high: float) -> Markup:
    parts = []
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = _down(share)
        value = low + share * (high - low)
        parts.append(Markup('<path class="grid" d="M{} {}H{}"/>').format(_LEFT, y, _WIDTH - _RIGHT))
        parts.append(_text(_LEFT - 6, y + 3, f"{value:.3f}", "end"))
    return Markup("").join(parts)


def _dot(point: Point, css: str, title: str) -> Markup:
    return Markup('<circle class="{}" cx="{}" cy="{}" r="4.5"><title>{}</title></circle>').format(
        css, *point, title
    )


def _line(points: Sequence[Point], css: str, title: str) -> Markup:
    places = " ".join(f"{x},{y}" for x, y in points)
    return Markup('<polyline class="{}" points="{}"><title>{}</title></polyline>').format(
        css, places, title
    )


def _text(x: float, y: float, words: str, anchor: str) -> Markup:
    return Markup('<text x="{}" y="{}" text-anchor="{}">{}</text>').format(x, y, anchor, words)


def _draw(parts: Iterable[Markup], title: str) -> Markup:
    return Markup(
        '<svg class="plot" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>'
    ).format(_WIDTH, _HEIGHT, title, Markup("").join(parts))
