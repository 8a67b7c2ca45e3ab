"""results.json → RESULTS.md and its pictures.

    python report.py [FOLDER]

writes them again from the results.json in FOLDER.
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from measure import CONNECTIONS, CROWD
from plots import draw
from servers import SERVERS
from subjects import MODELS, SIZE_NAMES
from summary import BUSY, Summary

from pixloop.files import write_json, write_text

REASONS = Path(__file__).with_name("REASONS.md")
ABOUT = {server.name: server.about for server in SERVERS}


def write_report(content: Mapping[str, Any], folder: Path) -> None:
    """Write results.json, RESULTS.md and a PNG a model."""
    # Through JSON, so that what is read back later is what is shown now.
    content = json.loads(json.dumps(content))
    write_json(folder / "results.json", content)
    summary = Summary(content)
    draw(summary, folder)
    write_text(folder / "RESULTS.md", "\n".join(_page(summary)) + "\n")


def _page(summary: Summary) -> Iterator[str]:
    hardware = summary.content["hardware"]
    yield "# Serving: pixloop, others, and what the machine can do\n"
    yield (
        "Written by `make bench-serving` from results.json, which holds every round. "
        f"{summary.content['rounds']} rounds, one server at a time in turn, "
        f"{summary.content['seconds']:g} s a load; medians of rounds. "
        f"{hardware['processor']}, {hardware['cores']} cores "
        f"({', '.join(hardware['extensions'])}), {hardware['memory_gb']} GB, "
        f"{hardware['system']}, Python {hardware['python']}.\n"
    )
    yield from _goals(summary)
    yield from _limits(summary)
    for model in MODELS:
        if summary.servers(model):
            yield f"## {model}\n"
            yield f"![Throughput and latency of {model}]({model}.png)\n"
            for size in SIZE_NAMES:
                yield from _loads(summary, model, size)
            yield from _costs(summary, model)
    yield from _extras(summary)
    yield from _bundles(summary)
    yield from _settings(summary)
    yield from _method()
    yield from _versions(summary)


def _goals(summary: Summary) -> Iterator[str]:
    yield "## Goals\n"
    rows = []
    extras = [(MODELS[0], "", goal) for goal in summary.extra_goals()]
    for model, size, goal in (*summary.goals(), *extras):
        met = {True: "yes", False: "**no**", None: "–"}[goal.met]
        rows.append((model, size, goal.text, goal.measured, met))
    yield from _table(("model", "pictures", "goal", "measured", "met"), rows)
    # Written by people: why what falls short does.
    if REASONS.exists():
        yield REASONS.read_text(encoding="utf-8")


def _limits(summary: Summary) -> Iterator[str]:
    yield "## The in-process limit\n"
    yield (
        "Decoding, preprocessing and inference on all cores with the functions and the graph that "
        "the server uses, without HTTP; the best batch size. pixloop's share is of the limit "
        "measured just before and after its own load. The client shares the cores with the server; "
        "the last column takes its processor time off the limit.\n"
    )
    rows = []
    for model in MODELS:
        for size in SIZE_NAMES:
            if summary.limit(model, size) is not None:
                rows.append(
                    (
                        model, size,
                        _number(summary.limit(model, size)),
                        _number(summary.load(model, "pixloop", size, BUSY, "rate")),
                        _number(summary.share(model, size, without_client=False), "{:.2f}"),
                        _number(summary.share(model, size, without_client=True), "{:.2f}"),
                        _number(summary.lone_ms(model, size), "{:.2f}"),
                        _number(summary.load(model, "pixloop", size, 1, "p50_ms"), "{:.2f}"),
                    )
                )  # fmt: skip
    yield from _table(
        ("model", "pictures", "limit, 1/s", f"pixloop at {BUSY}, 1/s", "share",
         "share less client", "a lone picture, ms", "pixloop's p50 at 1, ms"),
        rows,
    )  # fmt: skip


def _loads(summary: Summary, model: str, size: str) -> Iterator[str]:
    yield (
        f"{size} JPEGs: answers with 200 a second, and p50 / p99 in ms of those answers. "
        "Others are told beside them.\n"
    )
    counts = (*CONNECTIONS, CROWD)
    rows = []
    for name in summary.servers(model):
        cells = [_cell(summary, model, name, size, connections) for connections in counts]
        rows.append((ABOUT[name], *cells))
    yield from _table(("", *(_plural(connections) for connections in counts)), rows)


def _cell(summary: Summary, model: str, name: str, size: str, connections: int) -> str:
    rate = _number(summary.load(model, name, size, connections, "rate"))
    p50, p99 = (
        _number(summary.load(model, name, size, connections, key)) for key in ("p50_ms", "p99_ms")
    )
    others = summary.refused(model, name, size, connections)
    told = "".join(f"; {count} × {status}" for status, count in sorted(others.items()))
    return f"{rate}: {p50} / {p99}{told}"


def _costs(summary: Summary, model: str) -> Iterator[str]:
    rows = []
    for name in summary.servers(model):
        shares = [m["agreement"] for m in summary.of(model, name)]
        rows.append(
            (
                ABOUT[name],
                _number(summary.startup_s(model, name), "{:.2f}"),
                _number(summary.whole(model, name, "memory_started_mb"), "{:.0f}"),
                _number(summary.whole(model, name, "memory_mb"), "{:.0f}"),
                _number(
                    summary.load(model, name, SIZE_NAMES[0], BUSY, "cpu_ms_a_request"), "{:.1f}"
                ),
                " / ".join(f"{min(each[size] for each in shares):.2f}" for size in SIZE_NAMES),
            )
        )
    yield (
        "From the process's start to the first right answer, in rounds after the first, in which "
        "pixloop also takes 3 s to measure how it serves the model; memory of the whole process "
        "tree; processor time of it for an answer; share of pictures with the trained model's top "
        f"class ({' / '.join(SIZE_NAMES)}).\n"
    )
    yield from _table(
        ("", "start, s", "memory at start, MB", "after all loads, MB",
         f"CPU ms at {BUSY}", "agreement"),
        rows,
    )  # fmt: skip


def _extras(summary: Summary) -> Iterator[str]:
    extras = summary.content.get("extras", {})
    if bad := extras.get("bad_inputs"):
        yield "## Bad inputs\n"
        yield (
            f"{bad['sent']} bad inputs: {_counted(bad['statuses'])}. Memory before "
            f"{bad['memory_before_mb']:.0f} MB, after {bad['memory_after_mb']:.0f} MB "
            f"({bad['memory_after_mb'] / bad['memory_before_mb'] - 1:+.0%}). "
            f"The server {'lives' if bad['alive'] else '**died**'}; 5xx other than 503: "
            f"{bad['server_errors']}.\n"
        )
    if swaps := extras.get("hot_swaps"):
        yield "## Hot swaps\n"
        yield (
            f"{swaps['swaps']} swaps between the two models while four clients ask without a "
            f"pause: {sum(swaps['requests'].values())} requests answered rightly by the version "
            f"that answered, {len(swaps['failures'])} failed. From the tenth swap to the last, "
            f"memory grew by {swaps['growth']:.0%}.\n"
        )


def _counted(statuses: Mapping[str, int]) -> str:
    return ", ".join(f"{count} × {status}" for status, count in sorted(statuses.items()))


def _bundles(summary: Summary) -> Iterator[str]:
    yield "## What is served\n"
    yield (
        "Weights that a short training made, which decide nothing about speed. Which graph is "
        "served is the certificate's choice, with limits wider than the defaults; the other column "
        "says what the defaults would have chosen for these weights.\n"
    )
    rows = [
        (model, bundle["chosen_graph"], bundle.get("chosen_by_default") or "none",
         ", ".join(f"{key} {value:g}" for key, value in bundle["limits"].items()))
        for model, bundle in summary.content["bundles"].items()
    ]  # fmt: skip
    yield from _table(("model", "served", "by default limits", "limits here"), rows)


def _settings(summary: Summary) -> Iterator[str]:
    tuning = summary.content["tuning"]
    if not tuning:
        return
    yield "## Settings tried\n"
    yield (
        f"Answers a second at {BUSY} connections, {MODELS[0]}, {SIZE_NAMES[0]}; the best was "
        "taken.\n"
    )
    rows = []
    for name, tried in tuning.items():
        best = max(each["rate"] for each in tried)
        shown = (
            f"{'**' if each['rate'] == best else ''}workers {each['workers']}, "
            f"{'batch ' + str(each['batch']) if each['batch'] else 'no batching'}: "
            f"{each['rate']:.0f}{'**' if each['rate'] == best else ''}"
            for each in tried
        )
        rows.append((ABOUT[name], "; ".join(shown)))
    yield from _table(("", "settings"), rows)


def _method() -> Iterator[str]:
    yield "## How it is measured\n"
    yield (
        "wrk asks in a closed loop, a connection a thread, so that wrk.lua can time each answer "
        "and keep answers with 200 apart from refused ones, which are asked again at once. "
        "Every thread sends four of 24 pictures in turn. Load and server share the cores. A server "
        "is started, its answers are compared, it is warmed for a second, loaded with 1, 8, 32 "
        "and, last, 200 connections, and stopped; before each load the harness waits until it is "
        "idle. The first second of a load is not counted: wrk starts its threads in it. Where "
        "fewer answers came than there are connections, p99 is that of the few that came.\n"
    )
    yield (
        "Peers run as their own documentation serves pictures: Pillow, torchvision's transforms "
        "and eager torch (TorchServe: TorchScript), with one torch thread a worker where there are "
        "two workers. The tuned ones call the functions that pixloop's server calls, with the "
        "graph and the precision that it serves; the last one reads with cv2.imdecode and a linear "
        "resize without antialiasing, which changes answers.\n"
    )


def _versions(summary: Summary) -> Iterator[str]:
    yield "## Versions\n"
    rows = [
        (place, ", ".join(f"{name} {version}" for name, version in versions.items()))
        for place, versions in summary.content["versions"].items()
    ]
    yield from _table(("", "versions"), rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield "| " + " | ".join(head) + " |"
    yield "|" + " --- |" * len(head)
    for row in rows:
        yield "| " + " | ".join(row) + " |"
    yield ""


def _number(value: float | None, shown: str | None = None) -> str:
    if value is None:
        return "–"
    return (shown or ("{:.1f}" if value < 20 else "{:.0f}")).format(value)


def _plural(connections: int) -> str:
    return f"{connections} connection{'s' if connections > 1 else ''}"


if __name__ == "__main__":
    where = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    write_report(json.loads((where / "results.json").read_text()), where)
