"""RESULTS.md and drift.png from results.json.

python benchmarks/drift/report.py
"""

import json
from pathlib import Path
from statistics import median_low

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from pixloop.monitoring.odds import rate_interval

HERE = Path(__file__).parent
LOOK = 100
_ANY = 1e-9  # a share of columns that one of them reaches
_OURS, _THEIRS = "#2a56c6", "#c2410c"
_NEVER = 620  # where the plot has what was not noticed
_LEGEND = {"frameon": False, "handletextpad": 0.1, "columnspacing": 1}


def write_report(results: dict, folder: Path) -> None:
    _plot(results, folder / "drift.png")
    (folder / "RESULTS.md").write_text(_text(results), encoding="utf-8")


def _middle(found: list) -> int | None:
    """The median; None where it is no alarm. Alarms before the corruption count as none."""
    values = [at if at is not None and at >= 0 else 10**9 for at, _ in found]
    middle = median_low(values)
    return None if middle == 10**9 else middle


def _looked(said: list, share: float) -> list[int | None]:
    """Pictures until a look at which at least that share of the columns had drifted."""
    return [
        next((LOOK * (i + 1) for i, (_, drifted) in enumerate(looks) if drifted >= share), None)
        for looks in said
    ]


def _shown(value: int | None) -> str:
    return "–" if value is None else str(value)


def _median_or_none(values: list[int | None]) -> int | None:
    middle = median_low([10**9 if value is None else value for value in values])
    return None if middle == 10**9 else middle


def _rate(alarms: int, total: int) -> str:
    low, high = rate_interval(alarms, total)
    return f"{alarms} of {total} ({alarms / total:.1%}; {low:.1%} to {high:.1%})"


def false_alarms(results: dict) -> list[tuple[str, int, int]]:
    evidence = np.array(results["pixloop"]["clean_evidence"])
    said = results["evidently"]["clean"]
    any_column = sum(at is not None for at in _looked(said, _ANY))
    half = sum(at is not None for at in _looked(said, 0.5))
    return [
        ("pixloop, `false_alarm: 0.01`", int((evidence >= 0).sum()), len(evidence)),
        # The limit is a constant over the chance, so that one run answers for both.
        (
            "pixloop, `false_alarm: 0.05`",
            int((evidence >= np.log(0.01 / 0.05)).sum()),
            len(evidence),
        ),
        ("Evidently, data set drift (half of the columns)", half, len(said)),
        ("Evidently, any column", any_column, len(said)),
    ]


def _text(results: dict) -> str:
    parts = (
        _introduction(results),
        _false_alarm_text(results),
        _power_text(results),
        _accuracy_text(results["accuracy"]),
        [_time_text(results["seconds"])],
    )
    return "\n".join(line for part in parts for line in [*part, ""])


def _introduction(results: dict) -> list[str]:
    where = results["environment"]
    versions = ", ".join(f"{name} {number}" for name, number in where["versions"].items())
    peer = where["peer"].replace("==", " ")
    return [
        "# Drift alarms on real pictures",
        "",
        "![Pictures until the alarm, and accuracy as estimated](drift.png)",
        "",
        "Intel's scenes (six classes): a mobilenetv2_100 learned from about 700 of them, "
        f"{results['pool']:,} were held out. Each stream draws a reference of 540 and then shows "
        "others, by chance, so that without corruption both are exactly exchangeable. "
        f"{where['processor']}, {where['cores']} cores; Python {where['python']}, {versions}; "
        f"{peer} (Apache-2.0) in an environment of its own.",
        "",
        "Run it: `make bench-drift ARGS=DATA`, or `python benchmarks/drift/run.py DATA`. "
        "results.json has the raw results.",
    ]


def _false_alarm_text(results: dict) -> list[str]:
    rows = (f"| {name} | {_rate(count, n)} |" for name, count, n in false_alarms(results))
    return [
        "## False alarms",
        "",
        "Clean streams of 2,000 predictions; in brackets the share with an alarm and its 95 % "
        "interval (Clopper and Pearson).",
        "",
        "| alarm | streams with one |",
        "|---|---|",
        *rows,
        "",
        "pixloop looks after every picture. Evidently's DataDriftPreset compares the latest 100 "
        "with the reference, every 100 pictures, by its defaults: a test a column at 0.05, and "
        "the data set has drifted where half of the columns have. That is a rule for one look: "
        "nothing says how often it is ever wrong.",
    ]


def _power_text(results: dict) -> list[str]:
    ours, peer = results["pixloop"], results["evidently"]
    true = {(e["corruption"], e["severity"]): e["true"] for e in results["accuracy"]}
    rows = []
    for name in _corruptions(results):
        found = ours["from_the_start"][name]
        signals = [signal for _, signal in found if signal]
        cells = (
            name.replace("_", " "),
            _shown(_middle(found)),
            _shown(_middle(ours["after_clean"][name])),
            max(sorted(set(signals)), key=signals.count) if signals else "–",
            _shown(_median_or_none(_looked(peer[name], 0.5))),
            _shown(_median_or_none(_looked(peer[name], _ANY))),
            f"{true[name, 3]:.1%}",
        )
        rows.append(f"| {' | '.join(cells)} |")
    return [
        "## Power",
        "",
        "Corruptions of ImageNet-C at severity 3: the median number of corrupted pictures until "
        f"the alarm (`false_alarm: 0.01`) over {len(ours['from_the_start']['fog'])} streams of "
        "400. *After 500*: as many clean pictures came first. A dash: no alarm in half of the "
        "streams. Evidently first looks when 100 pictures are there.",
        "",
        "| corruption | pixloop | pixloop, after 500 | first signal | Evidently, half of the "
        "columns | Evidently, any column | accuracy |",
        "|---|---:|---:|---|---:|---:|---:|",
        *rows,
        "",
        _control_text(ours),
    ]


def _control_text(ours: dict) -> str:
    before = sum(at == -1 for found in ours["after_clean"].values() for at, _ in found)
    control = [*ours["from_the_start"]["encoded"], *ours["after_clean"]["encoded"]]
    alarms = sum(at is not None and at >= 0 for at, _ in control)
    return (
        f"Streams with an alarm within their 500 clean pictures: {before}. Corrupted pictures are "
        "encoded again with their own JPEG tables; that alone raised an alarm within 400 pictures "
        f"in {alarms} of {len(control)} streams."
    )


def _time_text(seconds: dict) -> str:
    return (
        f"pixloop's streams took {seconds['pixloop']:.0f} s, Evidently's "
        f"{seconds['evidently']:.0f} s, on a machine that was busy otherwise as well. Of the "
        "preset only the metric that holds its verdict was computed; its plots take ten times as "
        "long."
    )


def _corruptions(results: dict) -> list[str]:
    return [name for name in results["pixloop"]["from_the_start"] if name != "encoded"]


def _accuracy_text(estimates: list[dict]) -> list[str]:
    corrupted = [e for e in estimates if e["corruption"] != "clean"]
    clean = [e for e in estimates if e["corruption"] == "clean"]
    error = np.mean([abs(e["accuracy"] - e["true"]) for e in corrupted])
    alone = np.mean([abs(e["from_scores"] - e["true"]) for e in corrupted])
    worst = max(corrupted, key=lambda e: abs(e["accuracy"] - e["true"]))
    inside = sum(e["low"] <= e["true"] <= e["high"] for e in corrupted)
    lost = [e for e in corrupted if e["reference_accuracy"] - e["true"] > e["margin"]]
    harmless = [e for e in corrupted if e not in lost]
    rows = (
        ("mean error by scores and the mix of answers", f"{error:.1%}"),
        ("mean error by scores alone", f"{alone:.1%}"),
        (
            f"largest error ({worst['corruption'].replace('_', ' ')}, {worst['severity']})",
            f"{abs(worst['accuracy'] - worst['true']):.1%}",
        ),
        ("truth inside the 90 % interval", f"{inside} of {len(corrupted)}"),
        ("lost more than 2 points, and said to matter", _matter(lost)),
        ("did not, and said to matter", _matter(harmless)),
        ("clean sets of 400 pictures, said to matter", _matter(clean)),
    )
    return [
        "## Accuracy without labels",
        "",
        f"{len(corrupted)} corrupted sets (15 corruptions, five severities; 400 pictures at "
        "severity 3, else 150), each estimated by what the bundle's odds say of the other 14 "
        "corruptions. Those were measured on 40 validation pictures, few of which are among these.",
        "",
        "| | |",
        "|---|---:|",
        *(f"| {name} | {value} |" for name, value in rows),
        "",
        "Scores alone fail under noise: the model becomes sure that everything is one class. The "
        "mix of answers shows it, as long as the classes themselves come as often as they did.",
    ]


def _matter(sets: list[dict]) -> str:
    return f"{sum(e['matters'] for e in sets)} of {len(sets)}"


def _plot(results: dict, file: Path) -> None:
    plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.6), width_ratios=(1.25, 1))
    _plot_power(results, left)
    _plot_accuracy(results["accuracy"], right)
    figure.tight_layout()
    figure.savefig(file, dpi=130)
    plt.close(figure)


def _plot_power(results: dict, axes) -> None:
    ours, peer = results["pixloop"], results["evidently"]
    names = sorted(
        _corruptions(results),
        key=lambda name: _middle(ours["from_the_start"][name]) or 10**9,
        reverse=True,
    )
    series = (
        ("pixloop", "o", _OURS, [_middle(ours["from_the_start"][n]) for n in names]),
        ("pixloop, after 500", "D", "#86a8ff", [_middle(ours["after_clean"][n]) for n in names]),
        (
            "Evidently, half of the columns",
            "s",
            _THEIRS,
            [_median_or_none(_looked(peer[n], 0.5)) for n in names],
        ),
    )
    for label, marker, colour, values in series:
        axes.scatter([], [], marker=marker, color=colour, label=label, s=26)
        for row, value in enumerate(values):
            face = "none" if value is None else colour
            axes.scatter(value or _NEVER, row, marker=marker, fc=face, ec=colour, s=26, zorder=3)
    axes.axvline(450, color="#d5d7da", linewidth=1)
    axes.text(_NEVER, len(names) - 0.3, "not noticed", ha="center", fontsize=8, color="#5a6170")
    axes.set_yticks(range(len(names)), [name.replace("_", " ") for name in names])
    axes.set_xscale("log")
    axes.set_xlim(1.8, 900)
    ticks = [2, 5, 10, 20, 50, 100, 200, 400]
    axes.set_xticks(ticks, list(map(str, ticks)))
    axes.minorticks_off()
    axes.grid(axis="x", color="#eeeeee")
    axes.set_axisbelow(True)
    axes.set_xlabel("corrupted pictures until the alarm (median, severity 3)")
    axes.legend(loc="upper center", bbox_to_anchor=(0.4, 1.16), ncol=3, **_LEGEND)


def _plot_accuracy(estimates: list[dict], axes) -> None:
    corrupted = [e for e in estimates if e["corruption"] != "clean"]
    true = np.array([e["true"] for e in corrupted])
    both = np.array([e["accuracy"] for e in corrupted])
    spread = np.array([[e["accuracy"] - e["low"], e["high"] - e["accuracy"]] for e in corrupted]).T
    axes.plot([0, 1], [0, 1], color="#8b93a3", linewidth=1, linestyle=":")
    axes.errorbar(
        true, both, np.maximum(spread, 0), fmt="none", ecolor=_OURS, alpha=0.25, linewidth=1
    )
    alone = [e["from_scores"] for e in corrupted]
    axes.scatter(true, alone, s=14, color="#8b93a3", label="by scores alone", zorder=3)
    axes.scatter(true, both, s=16, color=_OURS, label="by scores and the mix of answers", zorder=4)
    ticks = np.linspace(0, 1, 5)
    axes.set_xticks(ticks, [f"{t:.0%}" for t in ticks])
    axes.set_yticks(ticks, [f"{t:.0%}" for t in ticks])
    axes.set_xlabel("accuracy by the labels, 75 corrupted sets")
    axes.set_ylabel("accuracy estimated without labels")
    axes.legend(
        loc="upper center", bbox_to_anchor=(0.5, 1.16), ncol=2, frameon=False, handletextpad=0.1
    )


if __name__ == "__main__":
    write_report(json.loads((HERE / "results.json").read_text()), HERE)
