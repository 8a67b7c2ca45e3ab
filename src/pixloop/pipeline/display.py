"""Watching a run: what a listener is told, and the two listeners for a terminal and a log."""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

_LINE_EVERY_S = 10.0
_STYLES = {"done": "green", "cached": "cyan", "failed": "red", "refused": "yellow"}
_MARKS = {"done": "✓", "cached": "=", "failed": "✗", "refused": "✗", "waiting": "·"}


class Listener(Protocol):
    """Whoever follows a run. Calls come one at a time, progress from another thread."""

    def run_started(self, run: str, steps: Sequence[str]) -> None:
        """A run begins; ``steps`` are those it will go through if all is well, in order."""

    def step_started(self, step: str) -> None:
        """A step begins."""

    def step_advanced(
        self, step: str, description: str, done: int, total: int | None, note: str
    ) -> None:
        """A piece of a step's work is ``done`` of ``total`` units on."""

    def step_ended(self, step: str, status: str, seconds: float) -> None:
        """A step is done, cached, failed, refused or interrupted (``runs.StepStatus``)."""

    def run_ended(self, status: str) -> None:
        """A run is done, failed, refused or interrupted (``runs.RunStatus``)."""


class Silent:
    """A listener that says nothing, and the base of those that say something."""

    def run_started(self, run: str, steps: Sequence[str]) -> None:  # noqa: D102
        pass

    def step_started(self, step: str) -> None:  # noqa: D102
        pass

    def step_advanced(  # noqa: D102
        self, step: str, description: str, done: int, total: int | None, note: str
    ) -> None:
        pass

    def step_ended(self, step: str, status: str, seconds: float) -> None:  # noqa: D102
        pass

    def run_ended(self, status: str) -> None:  # noqa: D102
        pass


@contextmanager
def display(console: Console | None = None) -> Iterator[Listener]:
    """A listener that shows the run on standard error: live on a terminal, else as lines."""
    console = console or Console(stderr=True)
    if not console.is_terminal:
        yield Lines()
        return
    table = LiveTable()
    with Live(console=console, get_renderable=table.render, refresh_per_second=8):
        yield table


class Lines(Silent):
    """A line for each thing that happens, and one every few seconds while a step works."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def step_started(self, step: str) -> None:  # noqa: D102
        self._say(step, "running")

    def step_advanced(  # noqa: D102
        self, step: str, description: str, done: int, total: int | None, note: str
    ) -> None:
        if time.monotonic() - self._last >= _LINE_EVERY_S:
            of = f"{done}/{total}" if total is not None else str(done)
            self._say(step, f"{description} {of} {note}".rstrip())

    def step_ended(self, step: str, status: str, seconds: float) -> None:  # noqa: D102
        self._say(step, status if status == "cached" else f"{status} in {seconds:.1f} s")

    def _say(self, step: str, text: str) -> None:
        self._last = time.monotonic()
        print(f"{step}: {text}", file=sys.stderr, flush=True)


@dataclass
class _Row:
    status: str = "waiting"
    started: float = 0.0
    seconds: float = 0.0
    description: str = ""
    done: int = 0
    total: int | None = None
    note: str = ""


class LiveTable(Silent):
    """One row a step: waiting, running with a bar and a note, cached, or done with its seconds."""

    def __init__(self) -> None:
        self._rows: dict[str, _Row] = {}
        self._spinner = Spinner("dots", style="bold")

    def run_started(self, run: str, steps: Sequence[str]) -> None:  # noqa: D102
        self._rows = {step: _Row() for step in steps}

    def step_started(self, step: str) -> None:  # noqa: D102
        self._rows[step] = _Row(status="running", started=time.monotonic())

    def step_advanced(  # noqa: D102
        self, step: str, description: str, done: int, total: int | None, note: str
    ) -> None:
        row = self._rows[step]
        row.description, row.done, row.total, row.note = description, done, total, note

    def step_ended(self, step: str, status: str, seconds: float) -> None:  # noqa: D102
        self._rows[step] = _Row(status=status, seconds=seconds)

    def render(self) -> Table:
        """The table as it stands."""
        table = Table.grid(padding=(0, 2))
        # A copy: the rows change in another thread.
        for step, row in list(self._rows.items()):
            if row.status == "running":
                table.add_row(self._spinner, Text(step, "bold"), *_work(row))
            else:
                style = _STYLES.get(row.status, "dim")
                took = "" if row.status in ("waiting", "cached") else f" {row.seconds:.1f} s"
                mark = Text(_MARKS.get(row.status, "!"), style)
                table.add_row(mark, Text(step), Text(row.status + took, style), "")
        return table


def _work(row: _Row) -> tuple[ProgressBar | Text, Text]:
    elapsed = f"{time.monotonic() - row.started:.0f} s"
    if not row.description:
        return Text("starting"), Text(elapsed, "dim")
    bar: ProgressBar | Text = Text(f"{row.done}")
    if row.total:
        bar = ProgressBar(total=row.total, completed=row.done, width=30)
    of = f" {row.done}/{row.total}" if row.total else ""
    return bar, Text(f"{row.description}{of}  {row.note}  {elapsed}", "dim")
