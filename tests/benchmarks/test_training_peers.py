"""What the comparison of time to accuracy makes of curves, and of a peer that is stopped."""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BENCH = Path(__file__).parents[2] / "benchmarks" / "training"


def _load(name: str) -> ModuleType:
    """A module of the benchmark, which is no package, under a name that is nobody else's."""
    spec = importlib.util.spec_from_file_location(f"bench_training_{name}", BENCH / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


compare = _load("comparison").compare
last_result = _load("timed_process").last_result


def _results(ours: list[list[tuple[float, float]]], **theirs: Any) -> dict[str, Any]:
    mine = {f"peers, pixloop before {n}": {"curve": curve} for n, curve in enumerate(ours)}
    return mine | {f"peers, {name}": {"curve": curve} for name, curve in theirs.items()}


def test_the_fastest_peer_is_held_against_pixloops_median() -> None:
    ours = [[(t, 0.86), (5.0, 0.91)] for t in (1.0, 2.0, 30.0)]
    found = compare(_results(ours, slow=[(20.0, 0.92)], fast=[(8.0, 0.86), (40.0, 0.9)]))
    assert found["0.85"] | {"peers": {}} == {
        "accuracy": 0.85,
        "pixloop": 2.0,
        "pixloop_runs": [1.0, 2.0, 30.0],
        "best_peer": "fast",
        "ratio": 4.0,
        "peers": {},
        "by_hand": None,
    }
    assert found["0.85"]["peers"] == {"slow": 20.0, "fast": 8.0}
    assert found["0.90"]["best_peer"] == "slow"


@pytest.mark.parametrize(
    ("ours", "theirs", "shared", "ratio"),
    [(0.92, 0.95, 0.92, 3.0), (0.95, 0.92, 0.92, 6.0), (0.92, 0.92, 0.92, 6.0)],
)
def test_best_is_what_both_reached(ours: float, theirs: float, shared: float, ratio: float) -> None:
    better = [(6.0, 0.92), (60.0, theirs)] if theirs > ours else [(6.0, theirs)]
    mine = [(1.0, 0.92), (50.0, ours)] if ours > theirs else [(2.0 if theirs > ours else 1.0, ours)]
    best = compare(_results([mine], peer=better, weak=[(0.1, 0.5)]))["best"]
    assert (best["accuracy"], best["ratio"]) == (shared, ratio)


def test_who_does_not_get_there_has_no_time() -> None:
    found = compare(_results([[(1.0, 0.86)], [(1.0, 0.91)], [(1.0, 0.8)]], peer=[(2.0, 0.8)]))
    assert (found["0.85"]["pixloop"], found["0.85"]["ratio"]) == (1.0, None)
    assert found["0.90"]["pixloop"] is None  # two of three runs did not
    assert found["0.90"]["best_peer"] is None


def test_of_an_even_number_of_runs_the_longer_middle_one_counts() -> None:
    ours = [[(t, 0.9)] for t in (1.0, 2.0, 3.0, 9.0)]
    assert compare(_results(ours, peer=[(9.0, 0.9)]))["0.90"]["ratio"] == 3.0


def test_what_is_written_by_hand_is_told_and_is_no_peer() -> None:
    by_hand = {"peers, by_hand, frozen": {"curve": [(1.5, 0.95)]}}
    found = compare(_results([[(1.0, 0.9)]], peer=[(3.0, 0.9)]) | by_hand)
    assert (found["0.90"]["by_hand"], found["0.90"]["best_peer"]) == (1.5, "peer")
    assert found["best"]["accuracy"] == 0.9


def test_runs_whose_time_was_up_are_named() -> None:
    results = _results([[(1.0, 0.9)]], peer=[(3.0, 0.9)])
    results["peers, peer"]["stopped_after_s"] = 600.0
    assert compare(results)["stopped"] == ["peers, peer"]


def test_a_failed_run_is_no_run() -> None:
    results = _results([[(1.0, 0.9)]], peer=[(3.0, 0.9)]) | {"peers, other": {"failed": "no"}}
    assert compare(results)["0.90"]["peers"] == {"peer": 3.0}
    assert compare({"torch": "2", "peers, other": {"failed": "no"}}) == {}


def _script(tmp_path: Path, text: str) -> list[Any]:
    file = tmp_path / "peer.py"
    file.write_text(f"import json, os, sys, time\n{text}\n")
    return [sys.executable, file]


def test_a_peer_that_is_stopped_keeps_its_last_whole_line(tmp_path: Path) -> None:
    lines = [json.dumps({"recipe": "r", "best": best}) for best in (0.1, 0.2)]
    text = f"print({lines[0]!r}); print({lines[1]!r}); print('{{\"eval\": 1}}')\n"
    text += "print('{\"recipe\": \"r', end='', flush=True); time.sleep(600)"
    found = last_result(_script(tmp_path, text), tmp_path, 2.0, {})
    assert found == {"recipe": "r", "best": 0.2, "stopped_after_s": 2.0}


def test_a_peers_workers_end_with_it(tmp_path: Path) -> None:
    text = (
        "child = os.fork()\n"
        "if child: print(json.dumps({'recipe': 'r', 'child': child}), flush=True)\n"
        "time.sleep(600)"
    )
    child = last_result(_script(tmp_path, text), tmp_path, 2.0, {})["child"]
    status = Path(f"/proc/{child}/stat")
    assert not status.exists() or status.read_text().split()[2] == "Z"


def test_what_an_unlucky_peer_said_is_kept(tmp_path: Path) -> None:
    text = "print('{\"recipe\": \"r\"}'); sys.exit('no weights in ' + os.environ['WHERE'])"
    found = last_result(_script(tmp_path, text), tmp_path, 60.0, {"WHERE": "here"})
    assert found["failed"].startswith("peer.py ended with 1: ")
    assert "no weights in here" in found["failed"]
