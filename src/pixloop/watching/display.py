"""A watch as people see it: live on a terminal, else a line an event."""

import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from pixloop.config_loop import TriggersConfig
from pixloop.pipeline.display import Listener, display
from pixloop.pipeline.triggers import describe
from pixloop.watching.events import Event
from pixloop.watching.status import duration, read_status
from pixloop.watching.watcher import Watcher

_SHOWN_EVENTS = 8
_STYLES = {
    "done": "green", "began": "bold", "resumed": "bold", "refused": "yellow", "failed": "red",
    "raised": "red", "waiting": "yellow", "interrupted": "yellow",
}  # fmt: skip


class WatchDisplay:
    """Shows a watch on standard error.

    Args:
        name: the project's.
        config: which triggers there are.
        console: where it is shown.
    """

    def __init__(self, name: str, config: TriggersConfig, console: Console | None = None) -> None:
        self._name, self._config = name, config
        self._console = console or Console(stderr=True, highlight=False)
        self._events: deque[Event] = deque(maxlen=_SHOWN_EVENTS)
        self._watcher: Watcher | None = None
        self._live: Live | None = None
        self._lock = threading.Lock()

    def tell(self, event: Event) -> None:
        """Show an event; from any thread."""
        with self._lock:
            self._events.append(event)
        if not self._console.is_terminal:
            print(line_of(event), file=sys.stderr, flush=True)

    @contextmanager
    def showing(self, watcher: Watcher) -> Iterator[None]:
        """Show a watcher from now to the end of the block."""
        self._watcher = watcher
        if not self._console.is_terminal:
            yield
            return
        self._live = Live(console=self._console, get_renderable=self.render, refresh_per_second=2)
        with self._live:
            yield

    @contextmanager
    def listening(self) -> Iterator[Listener]:
        """Show a run of the pipeline in the watch's place, until it ends."""
        live = self._live
        if live is not None:
            live.stop()
        try:
            with display(self._console) as listener:
                yield listener
        finally:
            if live is not None:
                live.start()

    def render(self) -> Group:
        """What there is to see now."""
        table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 3, 0, 0))
        now = time.time()
        watcher = self._watcher
        rows = read_status(watcher.state, watcher.due, self._config, now) if watcher else []
        for row in rows:
            mark = Text("●" if row.lively else "·", "yellow" if row.lively else "dim")
            words = Text(row.now, "" if row.lively else "dim")
            table.add_row(mark, Text(row.what), words)
        with self._lock:
            events = list(self._events)
        lines = [_row(event) for event in events]
        head = Text.assemble(("pixloop watch", "bold"), f"  {self._name}", self._looks(now))
        return Group(head, Text(), table, *([Text()] if lines else []), *lines)

    def _looks(self, now: float) -> tuple[str, str]:
        state = self._watcher.state if self._watcher else None
        if state is None or not state.runs:
            return "  no run yet", "dim"
        ago = duration(now - (state.run.began if state.run else state.scheduled or now))
        return f"  {state.runs} run{'s' * (state.runs > 1)}, the last began {ago} ago", "dim"


def line_of(event: Event) -> str:
    """An event in a line of plain text."""
    return _row(event).plain


def _row(event: Event) -> Text:
    what = describe(event.trigger)
    does = " ".join(part for part in (event.started, event.outcome) if part)
    return Text.assemble(
        (event.time[11:19], "dim"),
        "  ",
        f"{what}: " if what else "",
        (does, _STYLES.get(event.outcome, "")),
        f"  {event.detail}" if event.detail else "",
        overflow="ellipsis",
        no_wrap=True,
    )
