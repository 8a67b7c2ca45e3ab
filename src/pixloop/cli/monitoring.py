"""``pixloop monitor``: whether pictures are as they were, and answers as right."""

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.live import Live

from pixloop.cli.output import JsonOption, ProjectOption, err, out, print_json
from pixloop.errors import ConfigError
from pixloop.project import Project

if TYPE_CHECKING:
    from pixloop.monitoring.look import Look
    from pixloop.monitoring.metrics import MonitorMetrics
    from pixloop.monitoring.monitor import Monitor
    from pixloop.monitoring.server_rates import ServerRates

_EVERY_S = 5.0


def monitor(
    version: Annotated[
        str | None,
        typer.Option(
            "--version", help="A number, 'latest' or 'champion'.", show_default="champion"
        ),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Look every few seconds until it is stopped.")
    ] = False,
    report: Annotated[
        Path | None, typer.Option("--report", help="Write an HTML report to this file.")
    ] = None,
    acknowledge: Annotated[
        bool, typer.Option("--acknowledge", help="Close the open alarms; the tests begin anew.")
    ] = False,
    new_normal: Annotated[
        bool,
        typer.Option("--new-normal", help="Compare with pictures of now from here on."),
    ] = False,
    listen: Annotated[
        int | None,
        typer.Option("--listen", min=0, max=65535, help="Serve /metrics at this port; follows."),
    ] = None,
    server: Annotated[
        str | None,
        typer.Option("--server", help="A server's address: its latency and errors are told too."),
    ] = None,
    on: Annotated[
        Literal["here", "sagemaker"], typer.Option("--on", help="Whose captures.")
    ] = "here",
    project: ProjectOption = ".",
    json: JsonOption = False,
) -> None:
    """Look whether pictures are still like those that the model was measured on.

    It ends with 0 whatever it finds; --json tells open alarms. With --json and --follow it prints a
    line of JSON a look.

    Example: `pixloop monitor --report monitoring.html`
    """
    _give_way()
    opened = Project.open(project)
    if on == "sagemaker":
        _print(opened.on_aws.monitor(version), json)
        return
    if acknowledge and new_normal:
        raise ConfigError("--new-normal acknowledges as well; give one of the two.")
    watched = opened.monitor(version)
    if acknowledge or new_normal:
        closed = len(watched.look().open_alarms)
        watched.take_as_normal() if new_normal else watched.acknowledge()
        if not json:
            out.print(_closed(closed, len(watched.reference.values) if new_normal else None))
    metrics = _listen(listen)
    if follow or metrics is not None:
        _follow(watched, metrics, json, server)
        return
    rates = _rates(server)
    _print(watched.look().model_copy(update={"server": rates}), json)
    if report is not None:
        written = watched.report(report, rates)
        if not json:
            out.print(f"\nThe report is {written}")


def _give_way() -> None:
    """Take only what no one else wants of the processor: a server may run beside it.

    A niceness would not do: of two busy cores, a process of niceness 10 still gets a tenth.
    """
    if hasattr(os, "SCHED_IDLE"):
        with suppress(OSError):  # a container may forbid it
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def _closed(alarms: int, normal: int | None) -> str:
    """What an acknowledgement has changed."""
    what = "1 alarm is closed" if alarms == 1 else f"{alarms} alarms are closed"
    if normal is None:
        return f"{what}; the tests begin anew with the next picture."
    return f"{what}; the latest {normal} pictures are what the next ones are held against."


def _listen(port: int | None) -> "MonitorMetrics | None":
    if port is None:
        return None
    from pixloop.monitoring.metrics import MonitorMetrics

    metrics = MonitorMetrics()
    server = metrics.listen(port)
    err.print(f"Metrics are at http://127.0.0.1:{server.server_port}/metrics")
    return metrics


def _print(look: "Look", json: bool) -> None:
    if json:
        print_json(look)
        return
    from pixloop.monitoring.terminal import render_look

    out.print(render_look(look))


def _rates(server: str | None) -> "ServerRates | None":
    if server is None:
        return None
    from pixloop.monitoring.server_rates import read_server

    return read_server(server)


def _follow(
    watched: "Monitor", metrics: "MonitorMetrics | None", json: bool, server: str | None
) -> None:
    from pixloop.monitoring.terminal import render_look

    live = Live(console=out, auto_refresh=False) if out.is_terminal and not json else None
    try:
        if live:
            live.start()
        while True:
            look = watched.look().model_copy(update={"server": _rates(server)})
            if metrics:
                metrics.show(look)
            if json:
                print(look.model_dump_json(), flush=True)
            elif live:
                live.update(render_look(look), refresh=True)
            elif look.new:
                out.print(render_look(look))
            time.sleep(_EVERY_S)
    except KeyboardInterrupt:
        err.print("Stopped; 'pixloop monitor' goes on from here.")
    finally:
        if live:
            live.stop()
