"""A search on a terminal: a live table with the time it will take; in a log, a line a trial."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from optuna.trial import TrialState
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from pixloop.tuning.listener import Silent, TrialEnd, TuningListener
from pixloop.tuning.space import Settings

if TYPE_CHECKING:
    from pixloop.tuning.study import Study

_SHOWN = 12
_STYLES = {"done": "green", "stopped": "yellow", "failed": "red", "interrupted": "dim"}


@contextmanager
def display(json_lines: bool = False, console: Console | None = None) -> Iterator[TuningListener]:
    """A listener that shows the search on standard error, or prints JSON on standard output."""
    console = console or Console(stderr=True)
    if json_lines:
        yield JsonLines()
    elif not console.is_terminal:
        yield Lines()
    else:
        table = LiveTable()
        with Live(console=console, get_renderable=table.render, refresh_per_second=4):
            yield table


def brief(settings: Settings) -> str:
    """Settings in a few words: the last parts of their keys.

    >>> brief({"training.learning_rate": 0.001, "training.optimizer": "lamb"})
    'learning_rate 0.001, optimizer lamb'
    """
    return ", ".join(f"{key.rpartition('.')[2]} {_text(v)}" for key, v in settings.items())


class Lines(Silent):
    """A line for every trial that ends."""

    def __init__(self) -> None:
        self._settings: dict[int, Settings] = {}

    def trial_started(self, number: int, settings: Settings) -> None:  # noqa: D102
        self._settings[number] = settings

    def trial_ended(  # noqa: D102
        self, number: int, how: TrialEnd, best: float | None, reason: str = ""
    ) -> None:
        score = "" if best is None else f" {best:.4f}"
        why = f" ({reason})" if reason else ""
        print(
            f"trial {number}: {how}{score}: {brief(self._settings.get(number, {}))}{why}",
            file=sys.stderr,
            flush=True,
        )


class JsonLines(Silent):
    """A line of JSON for every epoch, and for everything that begins or ends."""

    def search_started(  # noqa: D102
        self, study: "Study", trials: int, deadline: float | None
    ) -> None:
        self._say(event="search started", study=study.name, trials=trials)

    def trial_started(self, number: int, settings: Settings) -> None:  # noqa: D102
        self._say(event="trial started", trial=number, settings=settings)

    def trial_advanced(self, number: int, epoch: int, score: float) -> None:  # noqa: D102
        self._say(event="epoch", trial=number, epoch=epoch, score=score)

    def trial_ended(  # noqa: D102
        self, number: int, how: TrialEnd, best: float | None, reason: str = ""
    ) -> None:
        self._say(event="trial ended", trial=number, how=how, score=best, reason=reason)

    @staticmethod
    def _say(**record: Any) -> None:
        print(json.dumps(record, ensure_ascii=False), flush=True)


@dataclass
class _Row:
    settings: Settings
    started: float = field(default_factory=time.monotonic)
    epoch: int = 0
    score: float | None = None
    how: str = ""
    seconds: float | None = None


class LiveTable(Silent):
    """The latest trials, the best so far, and how long the search still takes."""

    def __init__(self) -> None:
        self._rows: dict[int, _Row] = {}
        self._before: list[float] = []  # scores of what was tried in earlier runs
        self._trials = 0
        self._deadline: float | None = None

    def search_started(  # noqa: D102
        self, study: "Study", trials: int, deadline: float | None
    ) -> None:
        done = [t for t in study.trials() if t.state == TrialState.COMPLETE]
        self._before = [t.value for t in done if t.value is not None]
        self._trials, self._deadline = trials - len(study.trials()), deadline

    def trial_started(self, number: int, settings: Settings) -> None:  # noqa: D102
        self._rows[number] = _Row(settings)

    def trial_advanced(self, number: int, epoch: int, score: float) -> None:  # noqa: D102
        row = self._rows[number]
        row.epoch, row.score = epoch, max(score, row.score or 0.0)

    def trial_ended(  # noqa: D102
        self, number: int, how: TrialEnd, best: float | None, reason: str = ""
    ) -> None:
        row = self._rows[number]
        row.how, row.seconds = how, time.monotonic() - row.started

    def left_s(self) -> float | None:
        """Seconds that the search will still take; None before the first trial has ended."""
        times = [row.seconds for row in self._rows.values() if row.seconds is not None]
        until = None if self._deadline is None else max(0.0, self._deadline - time.monotonic())
        if not times:
            return until
        rows = list(self._rows.values())
        at_work = max(1, sum(not row.how for row in rows))
        waiting = max(0, self._trials - len(times)) / at_work
        by_trials = waiting * sum(times) / len(times)
        return by_trials if until is None else min(by_trials, until)

    def render(self) -> Group:
        """The table as it stands."""
        table = Table(box=None, padding=(0, 2), header_style="dim")
        for name in ("trial", "", "epoch", "score", "settings"):
            numbers = name in ("trial", "epoch", "score")
            table.add_column(name, justify="right" if numbers else "left")
        best = self._best()
        for number, row in list(self._rows.items())[-_SHOWN:]:
            style = _STYLES.get(row.how, "bold")
            score = "" if row.score is None else f"{row.score:.4f}"
            mark = "best" if number == best else row.how or "at work"
            table.add_row(
                str(number),
                Text(mark, "bold green" if number == best else style),
                str(row.epoch or ""),
                score,
                brief(row.settings),
            )
        return Group(table, Text(self._summary(), "dim"))

    def _best(self) -> int | None:
        done = {n: r.score or 0.0 for n, r in list(self._rows.items()) if r.how == "done"}
        best = max(done, key=lambda n: done[n], default=None)
        if best is None or done[best] < max(self._before, default=0.0):
            return None
        return best

    def _summary(self) -> str:
        ended = sum(bool(row.how) for row in list(self._rows.values()))
        left = self.left_s()
        eta = "" if left is None else f"; about {_duration(left)} left"
        earlier = f", best of earlier runs {max(self._before):.4f}" if self._before else ""
        return f"{ended} of at most {self._trials} trials{earlier}{eta}"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def _text(value: Any) -> str:
    return "+".join(map(str, value)) if isinstance(value, list) else str(value)
