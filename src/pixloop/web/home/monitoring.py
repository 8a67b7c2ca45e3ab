"""The room of monitoring: open alarms, and how much was looked at."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pixloop.web.cached import stamp
from pixloop.web.home.times import moment_of, read_time
from pixloop.web.monitoring.watched import STATE
from pixloop.web.site import Site


@dataclass(frozen=True, slots=True)
class OpenAlarm:
    """An alarm that nobody has acknowledged.

    Attributes:
        kind: ``drift`` or ``quality``.
        words: what it says.
        since: when it began, or was raised; ISO 8601, UTC.
        matters: whether it is believed to cost accuracy.
    """

    kind: str
    words: str
    since: str
    matters: bool


@dataclass(frozen=True, slots=True)
class MonitoringState:
    """What is known of the version that is served.

    Attributes:
        version: which; empty where nothing was looked at.
        pictures: that were looked at.
        alarms: those that are open, the latest last.
        at: when it was last looked; ISO 8601, UTC.
        captures: whether there is anything that could be looked at.
        problem: why its state cannot be read.
    """

    version: str = ""
    pictures: int = 0
    alarms: tuple[OpenAlarm, ...] = ()
    at: str = ""
    captures: bool = False
    problem: str = ""

    @property
    def drift(self) -> OpenAlarm | None:
        """The latest open alarm about pictures that changed."""
        return next((each for each in reversed(self.alarms) if each.kind == "drift"), None)

    @property
    def quality(self) -> OpenAlarm | None:
        """The latest open alarm about answers that are wrong."""
        return next((each for each in reversed(self.alarms) if each.kind == "quality"), None)


def read_monitoring(site: Site, served: str, captures: Path) -> MonitoringState:
    """What is known of a version.

    Args:
        site: the project's.
        served: the version; empty: that which was looked at last.
        captures: the folder of captured exchanges.
    """
    has = _has_any(captures)
    file = _state_of(site.state / "monitoring", served)
    if file is None:
        return MonitoringState(captures=has)
    seen = (file, stamp(file), has)
    return site.cached.get("loop monitoring", seen, lambda: _read(file, has))


def _state_of(folder: Path, served: str) -> Path | None:
    if served:
        file = folder / served / STATE
        return file if file.is_file() else None
    files = [(file.stat().st_mtime_ns, file) for file in folder.glob(f"*/{STATE}")]
    return max(files)[1] if files else None


def _has_any(captures: Path) -> bool:
    return captures.is_dir() and next(captures.rglob("*.jsonl"), None) is not None


def _read(file: Path, captures: bool) -> MonitoringState:
    version = file.parent.name
    # The record alone: the tests beside it are large, and monitoring.state imports SciPy.
    import numpy as np

    try:
        at = moment_of(file.stat().st_mtime)
        # Opened here: of half a file numpy would leave its own open.
        with file.open("rb") as raw, np.load(raw, allow_pickle=False) as content:
            record = json.loads(content["record"].tobytes())
        return MonitoringState(
            version,
            int(record["count"]),
            tuple(_alarm(each) for each in record["alarms"] if not each["acknowledged"]),
            at,
            captures,
        )
    except Exception as e:  # whatever numpy and zipfile make of a damaged file
        problem = f"{file.name} of version {version} cannot be read: {e!r}"
        return MonitoringState(version, captures=captures, problem=problem)


def _alarm(found: dict[str, Any]) -> OpenAlarm:
    since = str(found.get("since") or found["at"])
    if read_time(since) is None:
        raise ValueError(f"{since!r} is no time")
    return OpenAlarm(
        str(found["kind"]),
        str(found["words"]),
        since,
        bool(found.get("matters", True)),
    )
