"""The curves of robustness: what remains as an alteration grows stronger."""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from pixloop.evaluation.plots import PERCENT_TICKS, Frame, draw
from pixloop.evaluation.robustness.alterations import CURVES

#: Strengths stand at equal distances, the picture as it is first.
_AS_IT_IS = "as it is"


def curve_plot(name: str, points: Sequence[Mapping[str, Any]], clean: float, metric: str) -> Markup:
    """A curve of ``figures.curves``, beside the value of the pictures as they are."""
    curve = CURVES[name]
    labels = [curve.label.format(point["strength"]) for point in points]
    ticks = [_tick(name, point["strength"]) for point in points]
    values = [(point[metric], point["interval"]) for point in points]
    return _plot([("after", labels, values)], ticks, clean, curve.title)


def severity_plot(corruptions: Mapping[str, Any], clean: float, metric: str) -> Markup:
    """The mean over all corruptions at each severity, between the least and the greatest."""
    severities = list(next(iter(corruptions.values()))["severities"])
    values = []
    for severity in severities:
        own = [row["severities"][severity][metric] for row in corruptions.values()]
        values.append((sum(own) / len(own), [min(own), max(own)]))
    labels = [f"severity {severity}, mean of {len(corruptions)}" for severity in severities]
    return _plot([("after", labels, values)], severities, clean, "Corruptions")


def attack_plot(
    attacks: Mapping[str, Sequence[Mapping[str, Any]]], clean: float, metric: str
) -> Markup:
    """Both attacks over their strength."""
    ticks = [f"{row['strength']:g}" for row in attacks["pgd"]]
    series = [
        (
            css,
            [f"{name.upper()} ±{row['strength']:g}" for row in attacks[name]],
            [(row[metric], row["interval"]) for row in attacks[name]],
        )
        for name, css in (("fgsm", "before"), ("pgd", "after"))
    ]
    return _plot(series, ticks, clean, "Attacks")


_Value = tuple[float, Sequence[float]]


def _plot(
    series: Sequence[tuple[str, Sequence[str], Sequence[_Value]]],
    ticks: Sequence[str],
    clean: float,
    title: str,
) -> Markup:
    frame = Frame((0, len(ticks)), (0, 1))
    x_ticks = {float(i + 1): tick for i, tick in enumerate(ticks)}
    parts = [
        frame.axes({0.0: "none", **x_ticks}, PERCENT_TICKS, "", ""),
        frame.line([(0, clean), (len(ticks), clean)], "ideal"),
    ]
    for css, labels, values in series:
        low = [(0.0, clean), *((i + 1.0, bounds[0]) for i, (_, bounds) in enumerate(values))]
        high = [(0.0, clean), *((i + 1.0, bounds[1]) for i, (_, bounds) in enumerate(values))]
        if css == "after":
            parts.append(frame.area([*low, *reversed(high)], "band"))
        line = [(0.0, clean), *((i + 1.0, value) for i, (value, _) in enumerate(values))]
        parts.append(frame.line(line, f"line {css}"))
        parts.append(frame.dot((0, clean), 3.2, f"dot {css}", f"{_AS_IT_IS}: {clean:.1%}"))
        parts += [
            frame.dot(
                (i + 1, value),
                3.2,
                f"dot {css}",
                f"{label}: {value:.1%}, from {bounds[0]:.1%} to {bounds[1]:.1%}",
            )
            for i, (label, (value, bounds)) in enumerate(zip(labels, values, strict=True))
        ]
    return draw(parts, title, f"What remains, from the picture {_AS_IT_IS} to the strongest.")


def _tick(name: str, strength: float) -> str:
    form = {"rotation": "{:g}°", "crop": "{:g} %", "resolution": "1/{:g}"}.get(name, "{:g}")
    return form.format(strength)
