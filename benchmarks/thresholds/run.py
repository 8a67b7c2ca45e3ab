"""Whether promises hold: thresholds on 200 re-splits of real predictions, beside MAPIE's.

    python benchmarks/thresholds/run.py PROJECT [--peer-environment FOLDER]

PROJECT is a classification project with a finished run, such as Intel's scenes. Writes
results.json, RESULTS.md and thresholds.png beside this file. Takes some minutes on two cores.
"""

import argparse
import json
import platform
import subprocess
import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
from boundary import DRAWS, boundary
from predictions import Pool, read_pool
from report import write_report
from splits import NAIVE, SHARE, SPLITS, Drawn, Tally, choose, draw, groups_of, judge

from pixloop.config import ThresholdsConfig
from pixloop.files import write_text
from pixloop.progress import track
from pixloop.serving.engines import cpu_name, usable_cores

HERE = Path(__file__).parent
#: max_error, confidence: the default, and such as so few pictures can keep class by class.
PROMISES = ((0.02, 0.95), (0.05, 0.9), (0.1, 0.9))

Case = tuple[str, int, tuple[str, ...]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("project", type=Path)
    parser.add_argument("--peer-environment", type=Path)
    told = parser.parse_args()
    pool = read_pool(told.project)
    results = {
        "pictures": len(pool.targets),
        "classes": list(pool.classes),
        "accuracy": float(pool.correct.mean()),
        "draws_each": SPLITS,
        "calibration_share": SHARE,
        "naive": NAIVE,
        "cpu": cpu_name(),
        "cores": usable_cores(),
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("pixloop", "numpy", "scipy")},
        },
        "boundary": [
            {"max_error": e, "confidence": c, "pictures": n, "broken": boundary(e, c, n)}
            for e, c, n in ((0.02, 0.95, 300), (0.1, 0.9, 50), (0.1, 0.9, 500))
        ],
        "boundary_draws": DRAWS,
    }
    for kind in ("draws", "splits"):
        drawn = list(track(draw(pool, kind == "draws"), f"{kind}: calibrating", SPLITS))
        results[kind] = [compare(pool, drawn, *each, told.peer_environment) for each in PROMISES]
    write_text(HERE / "results.json", json.dumps(results, indent=1) + "\n")
    write_report(results, pool, HERE)


def compare(
    pool: Pool, drawn: list[Drawn], max_error: float, confidence: float, peer: Path | None
) -> dict[str, object]:
    """Every way to choose, on the same draws."""
    rows: dict[str, object] = {}
    naive = Tally()
    for each in drawn:
        judge(naive, pool, each, [((label,), NAIVE) for label in pool.classes], max_error)
    for by in ("class", "all"):
        promise = ThresholdsConfig(by=by, max_error=max_error, confidence=confidence)
        ours, cases = Tally(), []
        for each in drawn:
            threshold, groups = choose(pool, each, promise), groups_of(pool, each, promise)
            least = [(g, threshold.acceptance.least(g[0])) for g in groups]
            judge(ours, pool, each, least, max_error)
            cases.append(groups)
        rows[f"pixloop, by {by}"] = {
            **ours.row(),
            "groups": float(np.mean([len(groups) for groups in cases])),
        }
        if peer is not None:
            found = ask_mapie(pool, drawn, cases, max_error, confidence, peer)
            for method, tally in found.items():
                rows[f"MAPIE {method}, by {by}"] = tally.row()
    rows[f"score of {NAIVE}"] = naive.row()
    return {"max_error": max_error, "confidence": confidence, "rows": rows}


def ask_mapie(
    pool: Pool,
    drawn: list[Drawn],
    cases: list[list[tuple[str, ...]]],
    max_error: float,
    confidence: float,
    environment: Path,
) -> dict[str, Tally]:
    """MAPIE's thresholds for the same groups of the same draws."""
    arrays: dict[str, np.ndarray] = {}
    for each, groups in zip(drawn, cases, strict=True):
        rows = each.calibration
        for group in groups:
            labels = [pool.classes.index(label) for label in group]
            of = rows[np.isin(pool.predicted[rows], labels)]
            number = len(arrays) // 2
            arrays[f"scores_{number}"] = each.scores[of]
            arrays[f"correct_{number}"] = pool.correct[of]
    count = len(arrays) // 2
    with tempfile.TemporaryDirectory() as folder:
        asked, answered = Path(folder) / "cases.npz", Path(folder) / "answers.json"
        limits = {"max_error": np.full(count, max_error), "confidence": np.full(count, confidence)}
        np.savez(asked, **arrays, **limits)
        python = environment / "bin" / "python"
        command = [str(python), str(HERE / "mapie_thresholds.py"), str(asked), str(answered)]
        subprocess.run(command, check=True)
        found = json.loads(answered.read_text())["thresholds"]
    tallies = {}
    for method, thresholds in found.items():
        left, tallies[method] = iter(thresholds), Tally()
        for each, groups in zip(drawn, cases, strict=True):
            least = [(group, next(left)) for group in groups]
            judge(tallies[method], pool, each, least, max_error)
    return tallies


if __name__ == "__main__":
    main()
