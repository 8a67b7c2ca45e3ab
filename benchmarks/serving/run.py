"""pixloop's server against others and against what the machine can do without HTTP.

    python run.py [--data FOLDER] [--rounds 3] [--seconds 3] [--quick]

Servers run one at a time, each round in another order. Finished measurements are kept in
``.work/results``: run it again after an interruption and it goes on; ``--fresh`` forgets them.
Writes results.json, RESULTS.md and PNGs beside this file.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hardware import describe_hardware, describe_versions
from limit_process import Limit, open_limit
from load import run_wrk, usable_cores
from measure import Materials, measure_server
from running import started
from servers import SERVERS, Server, Variant, find_server
from subjects import MODELS, SIZE_NAMES

from pixloop.bundle import graph_name
from pixloop.config import ExportConfig
from pixloop.export.limits import limits_of

HERE = Path(__file__).parent
WORK = HERE / ".work"
#: Programs of their own, whose results are told with the others.
EXTRAS = ("bad_inputs", "hot_swaps")
_QUICK_ROUNDS, _QUICK_S = 5, 2
_TUNED_S = 3


def main() -> int:
    """Measure what is missing and write the results."""
    arguments = _parser().parse_args()
    arguments.model = arguments.model or list(MODELS)
    if arguments.quick:
        print(json.dumps(quick(arguments.work, arguments.data), indent=2))
        return 0
    if arguments.fresh:
        shutil.rmtree(arguments.work / "results", ignore_errors=True)
        for name in ("tuning", *EXTRAS):
            (arguments.work / f"{name}.json").unlink(missing_ok=True)
    _make_materials(arguments.work, arguments.data, arguments.model)
    servers = [s for s in SERVERS if not arguments.server or s.name in arguments.server]
    results = _rounds(arguments, servers)
    if not arguments.server and arguments.model == list(MODELS):
        _measure_extras(arguments.work)
    content = {
        "hardware": describe_hardware(),
        "versions": describe_versions(arguments.work),
        "rounds": arguments.rounds,
        "seconds": arguments.seconds,
        "tuning": _read(arguments.work / "tuning.json"),
        "bundles": {m: _describe_bundle(arguments.work / m / "bundle") for m in arguments.model},
        "measurements": results,
        "extras": {
            name: found for name in EXTRAS if (found := _read(arguments.work / f"{name}.json"))
        },
    }
    from report import write_report

    write_report(content, arguments.output)
    print(f"{arguments.output / 'RESULTS.md'} is written", file=sys.stderr)
    return 0


def quick(work: Path, data: Path | None) -> dict[str, Any]:
    """Throughput at 32 connections as a share of the limit, mobilenetv3 and 640×480 only.

    Returns:
        ``ratios``: of every round · ``ratio``: their median · ``ratio_without_client``: the same
        with the load generator's share of the cores taken off the limit · ``rates``, ``limits``.
    """
    name, size = MODELS[0], SIZE_NAMES[0]
    # Speed does not depend on the weights, so that what is at hand will do.
    folder = work if (work / name / "bundle" / "bundle.json").exists() else work / "untrained"
    _make_materials(folder, data, [name], trained=folder == work)
    materials, server = _open_materials(folder, name), find_server("pixloop")
    pictures, rates, limits, shares = materials.pictures(size), [], [], []
    with open_limit(materials.folder / "bundle") as limit:
        limit.rate(pictures, _QUICK_S)
        with started(
            server, server.variants[0], materials.folder, folder, materials.read(size)[0]
        ) as running:
            run_wrk(running.url, materials.requests(server, size), 32, _QUICK_S)
            for _ in range(_QUICK_ROUNDS):
                limits.append(limit.rate(pictures, _QUICK_S))
                load = run_wrk(running.url, materials.requests(server, size), 32, _QUICK_S)
                rates.append(load["rate"])
                shares.append(load["client_cpu_s"] / load["seconds"] / usable_cores())
    ratios = [rate / most for rate, most in zip(rates, limits, strict=True)]
    without = [r / (1 - share) for r, share in zip(ratios, shares, strict=True)]
    return {
        "ratio": round(statistics.median(ratios), 3),
        "ratio_without_client": round(statistics.median(without), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
        "rates": [round(rate, 1) for rate in rates],
        "limits": [round(most, 1) for most in limits],
    }


def _rounds(arguments: argparse.Namespace, servers: Sequence[Server]) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = []
    steps = arguments.rounds * len(arguments.model) * len(servers)
    begun, measured = time.monotonic(), 0
    for name in arguments.model:
        materials = _open_materials(arguments.work, name)
        with open_limit(materials.folder / "bundle") as limit:
            for number in range(arguments.rounds):
                for server in _rotated(servers, number):
                    file = arguments.work / "results" / f"{name}-{number}-{server.name}.json"
                    if not file.exists():
                        spent = (time.monotonic() - begun) / 60
                        left = spent / measured * (steps - len(results)) if measured else None
                        head = f"[{len(results) + 1}/{steps}] {name}, round {number + 1}"
                        tail = f"{spent:.0f} min" + (f", {left:.0f} left" if left else "")
                        _measure(server, materials, arguments, limit, file, f"{head} ({tail})")
                        measured += 1
                    results.append({"round": number, **_read(file)})
    return results


def _measure(
    server: Server,
    materials: Materials,
    arguments: argparse.Namespace,
    limit: Limit,
    file: Path,
    head: str,
) -> None:
    def say(text: str) -> None:
        print(f"{head} {server.name}: {text}", file=sys.stderr, flush=True)

    try:
        variant = _tune(server, arguments.work)
        own = limit if server.kind == "pixloop" else None
        result = measure_server(server, variant, materials, arguments.seconds, own, say)
    except (RuntimeError, OSError) as e:  # one that fails must not take the others with it
        say(f"failed: {e}")
        result = {"server": server.name, "model": materials.model, "failed": str(e)}
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(result))


def _measure_extras(work: Path) -> None:
    """Bad inputs and hot swaps, where they are not measured yet."""
    bundles = [str(work / name / "bundle") for name in MODELS]
    pictures = sorted(map(str, (work / "pictures" / SIZE_NAMES[0]).glob("*.jpg")))[:8]
    commands = {
        "bad_inputs": ["bad_inputs.py", bundles[0]],
        "hot_swaps": ["hot_swaps.py", *bundles, *pictures],
    }
    for name in EXTRAS:
        if not (work / f"{name}.json").exists():
            print(f"measuring {name}", file=sys.stderr, flush=True)
            script, *options = (*commands[name], "--output", str(work / f"{name}.json"))
            # What it finds wrong is told in the report; the rest is not lost for it.
            subprocess.run(
                [sys.executable, str(HERE / script), *options], check=False, stdout=sys.stderr
            )


def _tune(server: Server, work: Path) -> Variant:
    """The server's best setting, found once with mobilenetv3, 640×480 and 32 connections."""
    if len(server.variants) == 1:
        return server.variants[0]
    file = work / "tuning.json"
    tuned = _read(file) if file.exists() else {}
    if server.name not in tuned:
        materials, tried = _open_materials(work, MODELS[0]), []
        for variant in server.variants:
            tried.append({**variant._asdict(), "rate": _try(server, variant, materials)})
            print(f"tuning {server.name}: {tried[-1]}", file=sys.stderr, flush=True)
        tuned[server.name] = tried
        file.write_text(json.dumps(tuned, indent=2))
    best = max(tuned[server.name], key=lambda each: each["rate"])
    return Variant(best["workers"], best["batch"])


def _try(server: Server, variant: Variant, materials: Materials) -> float:
    size = SIZE_NAMES[0]
    requests, first = materials.requests(server, size), materials.read(size)[0]
    try:
        with started(server, variant, materials.folder, materials.work, first) as running:
            run_wrk(running.url, requests, 32, 1)
            return float(run_wrk(running.url, requests, 32, _TUNED_S)["rate"])
    except RuntimeError as e:
        print(f"{server.name} with {variant}: {e}", file=sys.stderr)
        return 0.0


def _rotated(servers: Sequence[Server], number: int) -> list[Server]:
    start = number * max(1, len(servers) // 3) % len(servers)
    return [*servers[start:], *servers[:start]]


def _make_materials(
    work: Path, data: Path | None, models: Sequence[str], *, trained: bool = True
) -> None:
    command = [sys.executable, str(HERE / "materials.py"), str(work)]
    command += ["--data", str(data)] if data else []
    command += [] if trained else ["--untrained"]
    command += [part for name in models for part in ("--model", name)]
    subprocess.run(command, check=True, stdout=sys.stderr)


def _open_materials(work: Path, name: str) -> Materials:
    return Materials(work, name, _read(work / name / "reference.json"))


def _describe_bundle(bundle: Path) -> dict[str, Any]:
    manifest, certificate = _read(bundle / "bundle.json"), _read(bundle / "certificate.json")
    return {
        "chosen_graph": manifest["chosen_graph"],
        "chosen_by_default": _chosen_by_default(certificate["graphs"]),
        "preprocessing": manifest["preprocessing"],
        "limits": {k: v for k, v in certificate.items() if k.startswith("max_")},
        "graphs": certificate["graphs"],
    }


def _chosen_by_default(graphs: Sequence[dict[str, Any]]) -> str | None:
    """The fastest graph that agrees within the defaults of pixloop.yaml."""
    agreeing = {}
    for graph in graphs:
        limits = limits_of(ExportConfig(), graph["precision"])
        if (
            graph["verdict"] == "agrees"
            and graph["top1_agreement"] >= 1 - limits.accuracy_loss
            and graph["largest_probability_difference"] <= limits.difference
        ):
            agreeing[graph_name(graph["format"], graph["precision"])] = graph["pictures_per_s"]
    return max(agreeing, key=lambda name: agreeing[name], default=None)


def _read(file: Path) -> Any:
    return json.loads(file.read_text()) if file.exists() else {}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--data", type=Path, help="class folders to train with (default: drawn pictures)")
    add("--rounds", type=int, default=3)
    add("--seconds", type=float, default=3, help="of each measurement")
    add("--quick", action="store_true", help="only pixloop's share of the limit, in a minute")
    add("--fresh", action="store_true", help="forget what was measured before")
    add("--model", choices=MODELS, action="append", help="only this one")
    add("--server", choices=[s.name for s in SERVERS], action="append", help="only this one")
    add("--work", type=Path, default=WORK, help="environments, bundles, what was measured")
    add("--output", type=Path, default=HERE, help="where results are written")
    return parser


if __name__ == "__main__":
    sys.exit(main())
