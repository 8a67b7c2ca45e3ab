"""The room of monitoring: open alarms, how much was looked at, and how much was not."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pixloop.web.cached import stamp
from pixloop.web.home.captured import Captured, read_captured
from pixloop.web.home.times import moment_of, read_time
from pixloop.web.monitoring.watched import STATE
from pixloop.web.rendering import percent
from pixloop.web.site import Site


@dataclass(frozen=True, slots=True)
class Estimate:
    """How accurate answers are, estimated without labels.

    Attributes:
        accuracy: the share of right answers.
        before: the share that was right on the reference.
        pictures: that it was estimated on.
        matters: whether it has fallen, with some sureness.
    """

    accuracy: float
    before: float
    pictures: int
    matters: bool

    @property
    def words(self) -> str:
        """What it is and was, as a clause."""
        return f"estimated accuracy {percent(self.accuracy)}, it was {percent(self.before)}"


@dataclass(frozen=True, slots=True)
class OpenAlarm:
    """An alarm that nobody has acknowledged.

    Attributes:
        kind: ``drift`` or ``quality``.
        words: what it says.
        since: when it began, or was raised; ISO 8601, UTC.
        matters: whether it is believed to cost accuracy.
        accuracy: what it costs, where that is estimated.
    """

    kind: str
    words: str
    since: str
    matters: bool
    accuracy: Estimate | None = None

    @property
    def told(self) -> str:
        """What it says, and what it costs."""
        if self.accuracy is None:
            return self.words
        return f"{self.words.removesuffix('.')}; {self.accuracy.words}."


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
        before: of the pictures, those before the test began.
        accuracy: of the latest answers, where that is estimated.
        captured: what nobody has looked at.
    """

    version: str = ""
    pictures: int = 0
    alarms: tuple[OpenAlarm, ...] = ()
    at: str = ""
    captures: bool = False
    problem: str = ""
    before: int = 0
    accuracy: Estimate | None = None
    captured: Captured = field(default_factory=Captured)

    @property
    def tested(self) -> int:
        """Pictures since the test began."""
        return self.pictures - self.before

    @property
    def drift(self) -> OpenAlarm | None:
        """The latest open alarm about pictures that changed."""
        return next((each for each in reversed(self.alarms) if each.kind == "drift"), None)

    @property
    def quality(self) -> OpenAlarm | None:
        """The latest open alarm about answers that are wrong."""
        return next((each for each in reversed(self.alarms) if each.kind == "quality"), None)

    @property
    def worse(self) -> Estimate | None:
        """The accuracy where it has fallen and no alarm says so."""
        fell = self.accuracy is not None and self.accuracy.matters and not self.alarms
        return self.accuracy if fell else None


def read_monitoring(site: Site, served: str, captures: Path) -> MonitoringState:
    """What is known of a version.

    Args:
        site: the project's.
        served: the version; empty: that which was looked at last.
        captures: the folder of captured exchanges.
    """
    has, folder = _has_any(captures), site.state / "monitoring"
    file = _state_of(folder, served)
    if file is None:
        # What another version's look has read was looked at.
        others = [_known(site, each)[1] for each in sorted(folder.glob(f"*/{STATE}"))]
        return MonitoringState(
            captures=has, captured=read_captured(site, captures, _furthest(others))
        )
    state, offsets = _known(site, file)
    if not state.problem:
        state = replace(state, captured=read_captured(site, captures, offsets))
    return replace(state, captures=has)


def _known(site: Site, file: Path) -> tuple[MonitoringState, Mapping[str, int]]:
    """What a version's state says, and by file how far the captures were read."""
    return site.cached.get(("loop monitoring", file), stamp(file), lambda: _read(file))


def _furthest(all_offsets: list[Mapping[str, int]]) -> Mapping[str, int]:
    found: dict[str, int] = {}
    for offsets in all_offsets:
        for name, offset in offsets.items():
            found[name] = max(offset, found.get(name, 0))
    return found


def _state_of(folder: Path, served: str) -> Path | None:
    if served:
        file = folder / served / STATE
        return file if file.is_file() else None
    files = [(file.stat().st_mtime_ns, file) for file in folder.glob(f"*/{STATE}")]
    return max(files)[1] if files else None


def _has_any(captures: Path) -> bool:
    return captures.is_dir() and next(captures.rglob("*.jsonl"), None) is not None


def _read(file: Path) -> tuple[MonitoringState, Mapping[str, int]]:
    version = file.parent.name
    # The record alone: the tests beside it are large, and monitoring.state imports SciPy.
    import numpy as np

    try:
        at = moment_of(file.stat().st_mtime)
        # Opened here: of half a file numpy would leave its own open.
        with file.open("rb") as raw, np.load(raw, allow_pickle=False) as content:
            record = json.loads(content["record"].tobytes())
        state = MonitoringState(
            version,
            int(record["count"]),
            tuple(_alarm(each) for each in record["alarms"] if not each["acknowledged"]),
            at,
            before=int(record.get("first", 0)),
            accuracy=_estimate(record.get("accuracy")),
        )
        offsets = {str(name): int(end) for name, end in record.get("offsets", {}).items()}
    except Exception as e:  # whatever numpy and zipfile make of a damaged file
        problem = f"{file.name} of version {version} cannot be read: {e!r}"
        return MonitoringState(version, problem=problem), {}
    return state, offsets


def _alarm(found: dict[str, Any]) -> OpenAlarm:
    since = str(found.get("since") or found["at"])
    if read_time(since) is None:
        raise ValueError(f"{since!r} is no time")
    return OpenAlarm(
        str(found["kind"]),
        str(found["words"]),
        since,
        bool(found.get("matters", True)),
        _estimate(found.get("accuracy")),
    )


def _estimate(found: dict[str, Any] | None) -> Estimate | None:
    if found is None:
        return None
    return Estimate(
        float(found["accuracy"]),
        float(found["reference_accuracy"]),
        int(found["pictures"]),
        bool(found["matters"]),
    )
