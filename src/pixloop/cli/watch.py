"""``pixloop watch``: the loop by itself."""

import json as json_
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Annotated

import typer

from pixloop.cli.output import JsonOption, ProjectOption, err, out
from pixloop.pipeline.display import Silent
from pixloop.project import Project
from pixloop.watching.display import WatchDisplay
from pixloop.watching.events import Event
from pixloop.watching.watcher import exit_code

#: Training and looking must not slow down a server on the same machine.
_NICE = 10

SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key of pixloop.yaml; repeatable."),
]


def watch(
    once: Annotated[
        bool, typer.Option("--once", help="Handle what there is, then end; for cron.")
    ] = False,
    set_: SetOption = None,
    project: ProjectOption = ".",
    json: JsonOption = False,
) -> None:
    """Run the loop by itself: new pictures, annotations and drift start what they start.

    One watch a project. It can be stopped, or killed, at any time: the next goes on from there.
    With --json it prints a line of JSON for every event. With --once it ends with the exit code of
    its last run: 1 where it failed, 3 where the gate refused.

    Example: `pixloop watch --set triggers.look_s=5`
    """
    opened = Project.open(project, set_ or ())
    view = WatchDisplay(opened.config.name, opened.config.triggers)
    watcher = opened.watch(
        tell=_print_event if json else view.tell,
        listening=(lambda: nullcontext(Silent())) if json else view.listening,
    )
    _give_way()
    outcomes: list[str] = []
    with _stops_in_order(), nullcontext() if json else view.showing(watcher):
        outcomes = watcher.watch(once)
    if not json and not outcomes:
        out.print("Nothing was due.")
    raise typer.Exit(exit_code(outcomes))


@contextmanager
def _stops_in_order() -> Iterator[None]:
    """Ctrl-C and SIGTERM end a watch that has no end of its own, which is no error."""
    before = None
    if threading.current_thread() is threading.main_thread():
        before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        err.print("Stopped; 'pixloop watch' goes on from here.")
        raise typer.Exit(0) from None
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)


def _give_way() -> None:
    if hasattr(os, "nice") and os.nice(0) < _NICE:
        os.nice(_NICE - os.nice(0))


def _print_event(event: Event) -> None:
    print(json_.dumps(event.model_dump(mode="json"), ensure_ascii=False), flush=True)
