"""Progress that reads well wherever the work runs.

On a terminal it is a Rich bar on standard error. In a step's own process, the local runner asks
for lines that it can parse (``PIXLOOP_PROGRESS=lines``) and draws the bar itself. In a container,
whose output is a log, it is a plain line every few seconds.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

MARK = "::pixloop-progress "
_LINES_EVERY_S = 0.2
_LOG_EVERY_S = 10.0

Advance = Callable[..., None]
T = TypeVar("T")


@contextmanager
def progress(description: str, total: int | None = None, after_s: float = 0.0) -> Iterator[Advance]:
    """Show the progress of one piece of work.

    Args:
        description: a few words, such as ``"checking pictures"``.
        total: how many units there are; None when unknown.
        after_s: what takes less than this is not shown.

    Yields:
        ``advance(n=1, note="")``: n more units are done; the note (for example ``"loss 0.31"``)
        stands beside the bar.
    """
    if os.environ.get("PIXLOOP_PROGRESS") == "lines":
        with _lines(description, total, after_s, _emit_mark, _LINES_EVERY_S) as advance:
            yield advance
    elif sys.stderr.isatty():
        with _bar(description, total, after_s) as advance:
            yield advance
    else:
        with _lines(description, total, after_s, _emit_log, _LOG_EVERY_S) as advance:
            yield advance


def track(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Iterate over ``items`` and show how far it is.

    >>> list(track([1, 2], "counting", 2))
    [1, 2]
    """
    with progress(description, total) as advance:
        for item in items:
            yield item
            advance()


def parse_line(line: str) -> dict[str, object] | None:
    """The progress record in a line of a step's output, or None for an ordinary line.

    A record has ``description``, ``done``, ``total`` (or null) and ``note``.
    """
    if not line.startswith(MARK):
        return None
    try:
        record = json.loads(line[len(MARK) :])
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


@contextmanager
def _bar(description: str, total: int | None, after_s: float) -> Iterator[Advance]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    task = bar.add_task(description, total=total, note="")
    begun = time.monotonic()
    if not after_s:
        bar.start()

    def advance(n: int = 1, note: str = "") -> None:
        if not bar.live.is_started and time.monotonic() - begun >= after_s:
            bar.start()
        bar.advance(task, n)
        if note:
            bar.update(task, note=note)

    try:
        yield advance
    finally:
        if bar.live.is_started:
            bar.stop()


@contextmanager
def _lines(
    description: str,
    total: int | None,
    after_s: float,
    emit: Callable[[str, int, int | None, str], None],
    every_s: float,
) -> Iterator[Advance]:
    begun = time.monotonic()
    done, last_note, last_time = 0, "", begun

    def advance(n: int = 1, note: str = "") -> None:
        nonlocal done, last_note, last_time
        done, last_note = done + n, note or last_note
        now = time.monotonic()
        if now - last_time >= every_s and now - begun >= after_s:
            last_time = now
            emit(description, done, total, last_note)

    yield advance
    if time.monotonic() - begun >= after_s:
        emit(description, done, total, last_note)


def _emit_mark(description: str, done: int, total: int | None, note: str) -> None:
    record = {"description": description, "done": done, "total": total, "note": note}
    print(MARK + json.dumps(record), file=sys.stderr, flush=True)


def _emit_log(description: str, done: int, total: int | None, note: str) -> None:
    of = f"/{total}" if total is not None else ""
    print(f"{description}: {done}{of} {note}".rstrip(), file=sys.stderr, flush=True)
