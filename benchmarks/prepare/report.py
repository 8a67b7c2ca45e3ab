"""The results as a table and as curves."""

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

Run = dict[str, Any]


def table(results: dict[str, Any]) -> str:
    """RESULTS.md."""
    runs, hardware = results["runs"], results["hardware"]
    sizes = [f"{run['pictures']:,}" for run in runs]
    lines = [
        "# Preparing many pictures",
        "",
        f"{hardware['processor']}, {hardware['cores']} cores, {hardware['memory_gb']} GB, "
        f"Python {hardware['python']}. JPEGs of 96×96 pixels, no two alike but for those that are "
        "meant to be; `python benchmarks/prepare/run.py`.",
        "",
        "| | " + " | ".join(f"{size} pictures" for size in sizes) + " |",
        "|---|" + "---|" * len(runs),
        _row("seconds", [f"{run['seconds']:,.0f}" for run in runs]),
        _row("pictures a second", [f"{run['pictures'] / run['seconds']:,.0f}" for run in runs]),
        _row("cost a picture, against the smallest", [f"{c:.2f}×" for c in _costs(runs)]),
    ]
    for phase in runs[-1]["phases"]:
        lines.append(_row(f"{phase}, pictures a second", [_rate(run, phase) for run in runs]))
    for key, words in {
        "peak_own_mb": "peak memory of the main process, MB",
        "peak_pss_mb": "peak memory of all processes, pages that they share counted once, MB",
        "peak_rss_mb": "the same, such pages counted for each, MB",
        "index_mb": "index on disk, MB",
        "data_set_mb": "data set, MB",
        "read_mb": "read, from the system's cache too, MB",
        "written_mb": "written, MB",
        "kept": "pictures kept",
    }.items():
        lines.append(_row(words, [f"{run[key]:,.0f}" for run in runs]))
    return "\n".join([*lines, "", "![Memory over time, and seconds against size](prepare.png)", ""])


def plot(runs: list[Run], file: Path) -> None:
    """Memory over the share of the time that has passed, and seconds against size."""
    figure, (memory, time) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    for run in runs:
        passed = [100 * sample["s"] / run["seconds"] for sample in run["samples"]]
        used = [sample["pss_mb"] for sample in run["samples"]]
        memory.plot(passed, used, label=f"{run['pictures']:,} pictures")
    memory.set(xlabel="time passed, %", ylabel="memory of all processes (PSS), MB", ylim=(0, None))
    memory.legend()
    sizes, seconds = [run["pictures"] for run in runs], [run["seconds"] for run in runs]
    time.loglog(sizes, seconds, "o-", label="measured")
    linear = [seconds[0] * size / sizes[0] for size in sizes]
    time.loglog(sizes, linear, "--", color="gray", label="linear in the smallest")
    time.set(xlabel="pictures", ylabel="seconds")
    time.legend()
    figure.savefig(file, dpi=120)
    plt.close(figure)


def _row(name: str, values: list[str]) -> str:
    return f"| {name} | " + " | ".join(values) + " |"


def _costs(runs: list[Run]) -> list[float]:
    each = [run["seconds"] / run["pictures"] for run in runs]
    return [cost / each[0] for cost in each]


def _rate(run: Run, phase: str) -> str:
    seconds = run["phases"].get(phase, 0.0)
    return f"{run['pictures'] / seconds:,.0f} ({seconds:,.0f} s)" if seconds >= 1 else "–"
