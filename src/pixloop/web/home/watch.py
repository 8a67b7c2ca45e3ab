"""The watch: whether it runs, who started it, and what each trigger waits for."""

import fcntl
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from pixloop.config_loop import TRIGGERS
from pixloop.errors import PixloopError
from pixloop.pipeline.triggers import BY_NAME
from pixloop.watching.due import decide
from pixloop.watching.state import FILE, Memory, WatchState
from pixloop.watching.status import TriggerStatus, read_status
from pixloop.web.cached import stamp
from pixloop.web.site import Site

LOCK = "watch.lock"


@dataclass(frozen=True, slots=True)
class TriggerLine:
    """A trigger.

    Attributes:
        name: of ``config_loop.TRIGGERS``.
        what: it catches, in words.
        effect: what it starts.
        enabled: whether pixloop.yaml names it.
        now: what it is at, where a watch runs.
        lively: whether it is at anything.
    """

    name: str
    what: str
    effect: str
    enabled: bool
    now: str = ""
    lively: bool = False


@dataclass(frozen=True, slots=True)
class WatchingState:
    """The watch of a project.

    Attributes:
        running: whether one is at work.
        process: its number; 0 without one.
        job: the job that it is, where these pages started it.
        since: when it was started, where that is known; ISO 8601, UTC.
        starting: it was started here, and does not watch yet.
        failed: the one that these pages started ended with an error.
        automatic: whether it promotes and rolls back without a person.
        triggers: all that there are.
        failures: runs that failed in a row.
        problem: why its state cannot be read.
    """

    running: bool = False
    process: int = 0
    job: str = ""
    since: str = ""
    starting: bool = False
    failed: str = ""
    automatic: bool = False
    triggers: tuple[TriggerLine, ...] = ()
    failures: int = 0
    problem: str = ""


def read_watch(site: Site) -> WatchingState:
    """How the watch stands.

    Raises:
        ConfigError: pixloop.yaml is wrong.
    """
    folder, config = site.state / "watch", site.project.config
    job = site.jobs.last("watch")
    status = site.jobs.status(job) if job else None
    holder = holder_of(folder / LOCK)
    ours = job is not None and status == "running"
    running = bool(holder) or ours
    state, problem = _read_state(site, folder)
    now = {each.name: each for each in _statuses(site, state)} if holder and state else {}
    return WatchingState(
        running=running,
        process=holder or (job.pid if job and ours else 0),
        job=job.id if job and ours else "",
        since=job.started if job and ours else "",
        starting=ours and not holder,
        failed=site.jobs.last_words(job, "it ended with an error")
        if job and status == "failed" and not holder
        else "",
        automatic=config.promotion.automatic,
        triggers=tuple(_line(name, config.triggers.enabled, now) for name in TRIGGERS),
        failures=state.failures if state else 0,
        problem=problem,
    )


def holder_of(lock: Path) -> int:
    """The process that holds a lock of ``pipeline.lock``; 0 where none does."""
    try:
        with lock.open("rb") as file:
            pid = int(file.read(32).strip() or b"0")
            # Whoever asks for a lock holds it for a moment, and might be in a starter's way: so it
            # is asked for only where its last holder lives, or another of its number.
            if pid <= 0 or not psutil.pid_exists(pid):
                return 0
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return pid
            return 0
    except (OSError, ValueError, OverflowError):
        return 0


def _read_state(site: Site, folder: Path) -> tuple[WatchState | None, str]:
    def read() -> tuple[WatchState | None, str]:
        try:
            return Memory(folder).state, ""
        except PixloopError as e:
            return None, str(e)

    return site.cached.get("loop watch", stamp(folder / FILE), read)


def _statuses(site: Site, state: WatchState) -> list[TriggerStatus]:
    config, now = site.project.config.triggers, time.time()
    return read_status(state, decide(state, config, now), config, now)


def _line(name: str, enabled: Sequence[str], now: dict[str, TriggerStatus]) -> TriggerLine:
    trigger, at = BY_NAME[name], now.get(name)
    return TriggerLine(
        name,
        trigger.what,
        trigger.effect.partition(";")[0].replace("`", ""),
        name in enabled,
        at.now if at else "",
        at.lively if at else False,
    )
