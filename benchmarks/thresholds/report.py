"""RESULTS.md and thresholds.png of results.json."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
from predictions import Pool
from scipy.stats import binomtest

from pixloop.files import write_text

mpl.use("Agg")
import matplotlib.pyplot as plt


def write_report(results: dict[str, Any], pool: Pool, folder: Path) -> None:
    """Both files."""
    _plot(results, folder / "thresholds.png")
    write_text(folder / "RESULTS.md", "\n".join(_lines(results, pool)) + "\n")


def _lines(results: dict[str, Any], pool: Pool) -> list[str]:
    versions = ", ".join(f"{k} {v}" for k, v in results["versions"].items())
    lines = [
        "# Thresholds with a promise, on real predictions",
        "",
        "![Share of promises that held, and what is accepted](thresholds.png)",
        "",
        "Predictions of Intel's scenes by a mobilenetv2_100 of three epochs at 128 px: "
        f"{results['pictures']} pictures that did not train it, {len(pool.classes)} classes, "
        f"{results['accuracy']:.1%} answered right. {results['draws_each']} times, "
        f"{results['calibration_share']:.0%} of them set the temperature and the thresholds. "
        f"{results['cpu']}, {results['cores']} cores; {versions}.",
        "",
        "Run it: `python benchmarks/thresholds/run.py PROJECT --peer-environment FOLDER`.",
        "",
        "*Held* is the share of promises, over draws and groups of classes, that were kept; what "
        "accepts nothing keeps its promise. *Worst class* is the highest error of any class's "
        "accepted answers, averaged over the draws.",
    ]
    titles = {
        "draws": "## Drawn with replacement: the pool stands for all pictures, so that each "
        "threshold's true error is known",
        "splits": "## Re-splits: the rest tests, and its own chance blurs what is judged",
    }
    for kind, title in titles.items():
        lines += ["", title]
        for part in results[kind]:
            lines += [
                "",
                f"At most {part['max_error']:.0%} wrong with {part['confidence']:.0%}:",
                "",
            ]
            lines += [
                "| thresholds | held | 95 % interval | refuted | accepted | wrong | worst class |",
                "|---|---:|---:|---:|---:|---:|---:|",
            ]
            lines += [_row(name, row) for name, row in part["rows"].items()]
    lines += [
        "",
        "*Refuted* counts broken promises that chance among the judged pictures does not explain "
        "(a binomial test, 1 in 20). A score of its own promises nothing; it is held to the same "
        "limit class by class.",
        "",
        "## At the boundary",
        "",
        "Answers that are wrong just over as often as is promised, whatever their score: every "
        f"threshold breaks the promise. {results['boundary_draws']} draws each.",
        "",
        "| promise | calibration pictures | broken | allowed |",
        "|---|---:|---:|---:|",
    ]
    lines += [
        f"| {b['max_error']:.0%} with {b['confidence']:.0%} | {b['pictures']} | {b['broken']:.1%} "
        f"| {1 - b['confidence']:.0%} |"
        for b in results["boundary"]
    ]
    return lines


def _row(name: str, row: dict[str, Any]) -> str:
    kept = row["promises"] - row["broken"]
    low, high = binomtest(kept, row["promises"]).proportion_ci(method="exact")
    error = "–" if row["error"] is None else f"{row['error']:.2%}"
    worst = row["worst_class_error"]
    return (
        f"| {name} | {row['held']:.1%} | {low:.1%} to {high:.1%} | {row['refuted']} of "
        f"{row['promises']} | {row['accepted_share']:.1%} | {error} | "
        f"{'–' if worst is None else f'{worst:.1%}'} |"
    )


def _plot(results: dict[str, Any], file: Path) -> None:
    parts = results["draws"]
    figure, axes = plt.subplots(1, len(parts), figsize=(4.2 * len(parts), 3.6), sharey=True)
    for axis, part in zip(axes, parts, strict=True):
        for i, (name, row) in enumerate(part["rows"].items()):
            axis.scatter(row["accepted_share"], row["held"], s=45, color=f"C{i}", label=name)
        axis.axhline(part["confidence"], color="0.4", linestyle="--", linewidth=1)
        axis.set_title(f"at most {part['max_error']:.0%} wrong, {part['confidence']:.0%} sure")
        axis.set_xlabel("accepted")
        axis.grid(alpha=0.2)
    axes[0].set_ylabel("promises that held")
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="lower center", ncol=3, fontsize=7, frameon=False)
    figure.tight_layout(rect=(0, 0.17, 1, 1))
    figure.savefig(file, dpi=110)
    plt.close(figure)
