"""results.json, the plot and the tables."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from pixloop.files import write_json, write_text

_COLOURS = {
    "random": "#6b7280",
    "ours": "#2457c5",
    "ours, a fifth of it random": "#157f4c",
    "most doubtful": "#c4341c",
}
_MARK = "<!-- measured -->"


def write_report(folder: Path, results: dict, first: int) -> None:
    """Write what was measured; the words of RESULTS.md above its mark stay."""
    write_json(folder / "results.json", results)
    _plot(folder / "labels.png", results["growing"], first)
    page = folder / "RESULTS.md"
    words = page.read_text(encoding="utf-8").split(_MARK)[0] if page.is_file() else ""
    write_text(page, words + _MARK + "\n\n" + _tables(results))


def _tables(results: dict) -> str:
    parts = []
    for key, title in (
        ("growing", "Purchases of a third of what there is, 40 at most"),
        ("rounds_of_100", "Purchases of 100"),
    ):
        parts += [f"## {title}\n\n{_accuracies(results[key])}\n{_needs(results[key])}"]
    errors = results["label_errors"]
    parts.append(
        "## Label errors\n\n"
        f"Of {results['pool']:,} labels, {errors['flipped']} were flipped to another class at "
        f"random (mean of {results['seeds']} seeds). {errors['flagged']:.0f} pictures are called "
        f"doubtful; among them are {errors['found']:.0%} of the flipped ones. Of the first "
        f"{errors['flipped']}, {errors['right_of_first']:.0%} were flipped.\n"
    )
    return "\n".join(parts).replace("%", " %")


def _accuracies(ways: dict) -> str:
    points = list(ways["random"]["accuracy"])
    lines = [
        "| labels | " + " | ".join(map(str, points)) + " |",
        "|---|" + "---|" * len(points),
    ]
    for name, way in ways.items():
        cells = (
            f"{100 * way['accuracy'][n]:.1f} ± {100 * way['deviation'][n]:.1f}" for n in points
        )
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _needs(ways: dict) -> str:
    compared = list(ways["random"]["needs"])
    lines = [
        "| labels for what chance reaches with | " + " | ".join(map(str, compared)) + " |",
        "|---|" + "---|" * len(compared),
    ]
    for name, way in ways.items():
        if name != "random":
            cells = (
                "not reached"
                if way["needs"][n] is None
                else f"{way['needs'][n]:.0f} ({way['needs'][n] / n:.0%})"
                for n in compared
            )
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _plot(path: Path, ways: dict, first: int) -> None:
    figure, axes = plt.subplots(figsize=(8, 4.8), dpi=120)
    for name, way in ways.items():
        mean, spread = 100 * np.array(way["curve"]), 100 * np.array(way["spread"])
        labels = first + 10 * np.arange(len(mean))
        axes.plot(labels, mean, color=_COLOURS[name], label=name, linewidth=1.8)
        if name in ("random", "ours"):
            axes.fill_between(
                labels, mean - spread, mean + spread, color=_COLOURS[name], alpha=0.15, linewidth=0
            )
    axes.set(xlabel="labels bought", ylabel="accuracy on test pictures, %", ylim=(70, 93))
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right")
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)
