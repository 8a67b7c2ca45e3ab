"""What the report's template shows of robustness."""

from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any

from pixloop.evaluation.robustness.alterations import CURVES
from pixloop.evaluation.robustness.pictures import Pair
from pixloop.evaluation.robustness.plots import attack_plot, curve_plot, severity_plot

#: ImageNet-C's groups.
GROUPS: Mapping[str, tuple[str, ...]] = {
    "Noise": ("gaussian_noise", "shot_noise", "impulse_noise"),
    "Blur": ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    "Weather": ("snow", "frost", "fog", "brightness"),
    "Digital": ("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
}
_NAMES = {"gaussian_noise": "Gaussian noise", "jpeg_compression": "JPEG compression"}


def describe(
    content: Mapping[str, Any], metric_title: str, pairs: Sequence[Pair], attacked: Pair | None
) -> dict[str, Any]:
    """The template's values.

    Args:
        content: the section of evaluation.json.
        metric_title: what its metric is called.
        pairs: the worst case.
        attacked: a picture that fools the network.
    """
    metric, clean = content["metric"], content["clean"][content["metric"]]
    attacks = content["attacks"]
    attack_clean = attacks.get("clean", {}).get(metric, clean)
    return {
        "r": content,
        "metric": metric_title,
        "clean": clean,
        "clean_interval": content["clean"]["interval"],
        "groups": [
            (group, [_row(name, content, metric, clean) for name in names])
            for group, names in GROUPS.items()
        ],
        "worst_name": name_of(content["worst"]["corruption"]),
        "severity_plot": severity_plot(content["corruptions"], clean, metric),
        "curves": [
            (CURVES[name].title, curve_plot(name, points, clean, metric), _words(name, points))
            for name, points in content["curves"].items()
        ],
        "attack_plot": attack_plot(attacks, attack_clean, metric) if "pgd" in attacks else None,
        "pairs": pairs,
        "attacked": attacked,
    }


def name_of(corruption: str) -> str:
    """A corruption's name for people.

    >>> name_of("glass_blur"), name_of("jpeg_compression")
    ('glass blur', 'JPEG compression')
    """
    return _NAMES.get(corruption, corruption.replace("_", " "))


def _row(name: str, content: Mapping[str, Any], metric: str, clean: float) -> dict[str, Any]:
    row = content["corruptions"][name]
    champion = content["champion"]
    cells = [
        {
            "severity": severity,
            "value": each[metric],
            "lost": min(max(1 - each[metric] / clean, 0.0), 1.0) if clean else 1.0,
            "interval": each["interval"],
        }
        for severity, each in row["severities"].items()
    ]
    relative = champion["corruptions"][name] if champion else None
    return {**row, "name": name_of(name), "cells": cells, "relative": relative}


def _words(name: str, points: Sequence[Mapping[str, Any]]) -> str:
    """Up to which strength nine tenths remain."""
    enough = takewhile(lambda point: point["kept_share"] >= 0.9, points)
    held = [point["strength"] for point in enough]
    label = CURVES[name].label
    if not held:
        return f"less than 90 % is kept from {label.format(points[0]['strength'])} on"
    if len(held) == len(points):
        return "90 % is kept at every strength"
    return f"90 % is kept up to {label.format(held[-1])}"
