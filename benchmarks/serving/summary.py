"""What the measurements say: medians over rounds, and the goals."""

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from measure import CROWD
from servers import SERVERS
from subjects import MODELS, SIZE_NAMES

BUSY = 32
_DOCUMENTED = tuple(s.name for s in SERVERS if s.kind == "documented")
#: The last one answers with another preprocessing, so that it is no like for like.
_TUNED = tuple(s.name for s in SERVERS if s.kind == "tuned" and not s.variables)

Measurement = Mapping[str, Any]


@dataclass(frozen=True)
class Goal:
    """A goal and what became of it.

    Attributes:
        text: what was wanted.
        measured: as it is shown.
        met: None where nothing was measured.
    """

    text: str
    measured: str
    met: bool | None


class Summary:
    """Medians over the rounds of a run.

    Args:
        content: of results.json.
    """

    def __init__(self, content: Mapping[str, Any]) -> None:
        self.content = content
        self._cores = content["hardware"]["cores"]
        self._measured = [m for m in content["measurements"] if "failed" not in m]

    def of(self, model: str, server: str) -> list[Measurement]:
        """The measurements of a server, round by round."""
        return [m for m in self._measured if m["model"] == model and m["server"] == server]

    def servers(self, model: str) -> list[str]:
        """Those that were measured, in the order of ``SERVERS``."""
        return [s.name for s in SERVERS if self.of(model, s.name)]

    def load(self, model: str, server: str, size: str, connections: int, key: str) -> float | None:
        """The median of a number of a load."""
        return _median(m["loads"][size][str(connections)][key] for m in self.of(model, server))

    def refused(self, model: str, server: str, size: str, connections: int) -> dict[str, int]:
        """Answers other than 200, and wrk's errors, of all rounds together."""
        counted: dict[str, int] = {}
        for measurement in self.of(model, server):
            load = measurement["loads"][size][str(connections)]
            for name, count in {**load["statuses"], **load["errors"]}.items():
                if name != "200" and count:
                    counted[name] = counted.get(name, 0) + count
        return counted

    def whole(self, model: str, server: str, key: str) -> float | None:
        """The median of a number of a whole measurement, as ``startup_s``."""
        return _median(m[key] for m in self.of(model, server))

    def startup_s(self, model: str, server: str) -> float | None:
        """From the start to the first right answer; not of the first round, where there are more.

        In the first round, pixloop measures how it serves the model, and nobody finds files in the
        system's cache.
        """
        seconds = [m["startup_s"] for m in self.of(model, server)]
        return _median(seconds[1:] or seconds)

    def limit(self, model: str, size: str) -> float | None:
        """The in-process limit, pictures a second."""
        return _median(_mean(m["limit"][size]["rates"]) for m in self._limited(model, size))

    def lone_ms(self, model: str, size: str) -> float | None:
        """The in-process latency of a lone picture."""
        return _median(m["limit"][size]["lone_ms"] for m in self._limited(model, size))

    def share(self, model: str, size: str, *, without_client: bool) -> float | None:
        """pixloop's throughput as a share of the limit that was measured just before and after."""
        shares = []
        for measurement in self._limited(model, size):
            load = measurement["loads"][size][str(BUSY)]
            share = load["rate"] / _mean(measurement["limit"][size]["rates"])
            if without_client:
                share /= 1 - load["client_cpu_s"] / load["seconds"] / self._cores
            shares.append(share)
        return _median(shares)

    def best(self, model: str, size: str, names: Sequence[str]) -> tuple[str, float] | None:
        """The fastest of some servers at 32 connections, and its throughput."""
        rates = {name: self.load(model, name, size, BUSY, "rate") for name in names}
        known = {name: rate for name, rate in rates.items() if rate}
        return max(known.items(), key=lambda pair: pair[1]) if known else None

    def goals(self) -> list[tuple[str, str, Goal]]:
        """Model, size of the pictures and goal."""
        return [
            (model, size, goal)
            for model in MODELS
            if self.of(model, "pixloop")
            for size in SIZE_NAMES
            for goal in self._goals(model, size)
        ]

    def extra_goals(self) -> list[Goal]:
        """What the programs of their own found."""
        extras = self.content.get("extras", {})
        goals = []
        if bad := extras.get("bad_inputs"):
            grown = bad["memory_after_mb"] / bad["memory_before_mb"] - 1
            fine = bad["alive"] and not bad["server_errors"] and not bad["unanswered"]
            told = f"{bad['server_errors']} × 5xx, {bad['unanswered']} unanswered, {grown:+.0%}"
            goals.append(
                Goal(
                    f"{bad['sent']} bad inputs: no 5xx but 503, no crash, memory within 10 %",
                    told,
                    fine and grown <= 0.1,
                )
            )
        if swaps := extras.get("hot_swaps"):
            failed = len(swaps["failures"])
            goals.append(
                Goal(
                    "100 hot swaps under load: no failed request",
                    f"{swaps['swaps']} swaps, {failed} failed",
                    swaps["swaps"] >= 100 and not failed,
                )
            )
        return goals

    def _limited(self, model: str, size: str) -> list[Measurement]:
        return [m for m in self.of(model, "pixloop") if m["limit"].get(size)]

    def _goals(self, model: str, size: str) -> list[Goal]:
        def load(connections: int, key: str) -> float | None:
            return self.load(model, "pixloop", size, connections, key)

        mobile = model == MODELS[0]
        tuned_goal = 1.5 if mobile else 1.1
        lone, busy = self.lone_ms(model, size), load(BUSY, "rate")
        documented, tuned = (self.best(model, size, names) for names in (_DOCUMENTED, _TUNED))
        goals = [
            at_least(
                f"throughput at {BUSY} connections ≥ 0.90 of the limit, less the client's share",
                self.share(model, size, without_client=True), 0.90, "{:.2f}",
            ),
            at_least(
                "≥ 5× the best peer in its documented way" + _named(documented),
                _ratio(busy, documented and documented[1]), 5, "{:.1f}×",
            ),
            at_least(
                f"≥ {tuned_goal}× the best peer tuned by hand with the same graph" + _named(tuned),
                _ratio(busy, tuned and tuned[1]), tuned_goal, "{:.2f}×",
            ),
            at_most(
                "p50 of one connection ≤ 1.2× the in-process latency",
                _ratio(load(1, "p50_ms"), lone), 1.2, "{:.2f}×",
            ),
            at_most(
                f"p99 at {BUSY} connections ≤ 2× p50",
                _ratio(load(BUSY, "p99_ms"), load(BUSY, "p50_ms")), 2, "{:.2f}×",
            ),
            at_least(
                f"answered at {CROWD} connections ≥ 0.9 of that at {BUSY}",
                _ratio(load(CROWD, "rate"), busy), 0.9, "{:.2f}",
            ),
            at_most(
                f"accepted p99 at {CROWD} connections ≤ 2× that at {BUSY}",
                _ratio(load(CROWD, "p99_ms"), load(BUSY, "p99_ms")), 2, "{:.2f}×",
            ),
            self._no_errors(model, size),
        ]  # fmt: skip
        if size == SIZE_NAMES[0]:
            goals.append(
                at_most(
                    "start to the first right answer ≤ 0.8 s",
                    self.startup_s(model, "pixloop"), 0.8, "{:.2f} s",
                )
            )  # fmt: skip
            if mobile:
                goals.append(
                    at_most(
                        "memory ≤ 250 MB",
                        self.whole(model, "pixloop", "memory_mb"), 250, "{:.0f} MB",
                    )
                )  # fmt: skip
        return goals

    def _no_errors(self, model: str, size: str) -> Goal:
        counted: dict[str, int] = {}
        for connections in (1, 8, BUSY, CROWD):
            for name, count in self.refused(model, "pixloop", size, connections).items():
                counted[name] = counted.get(name, 0) + count
        others = {name: count for name, count in counted.items() if name != "503"}
        told = ", ".join(f"{count} × {name}" for name, count in counted.items()) or "none"
        return Goal("no error but 503", told, not others)


def at_least(text: str, value: float | None, goal: float, shown: str) -> Goal:
    """A goal for a number that should be large."""
    if value is None:
        return Goal(text, "not measured", None)
    return Goal(text, shown.format(value), value >= goal)


def at_most(text: str, value: float | None, goal: float, shown: str) -> Goal:
    """A goal for a number that should be small."""
    if value is None:
        return Goal(text, "not measured", None)
    return Goal(text, shown.format(value), value <= goal)


def _named(best: tuple[str, float] | None) -> str:
    names: Callable[[str], str] = {s.name: s.about for s in SERVERS}.__getitem__
    return f" ({names(best[0])})" if best else ""


def _ratio(value: float | None, base: float | None) -> float | None:
    return value / base if value is not None and base else None


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None
