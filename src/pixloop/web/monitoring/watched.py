"""What is known of a watched version: read once, and again when the monitor has written."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pixloop.bundle import Threshold
from pixloop.errors import ConfigError, MonitoringError
from pixloop.model_versions import ModelVersion
from pixloop.web.cached import stamp
from pixloop.web.site import Site
from pixloop.web.versions import preferred

if TYPE_CHECKING:
    from pixloop.monitoring.look import Look
    from pixloop.monitoring.monitor import Monitor
    from pixloop.monitoring.traffic import Arrivals

STATE = "state.npz"
#: How long closing an alarm waits for a look that is under way.
_PATIENCE_S = 5.0


@dataclass(frozen=True, slots=True, eq=False)
class Watched:
    """A version, and what the last look found.

    Attributes:
        version: which.
        look: what was found.
        at: when it was looked.
        first: the number of the picture with which the drift test began.
        offsets: by file of captures, how far it was read.
        own_normal: whether pictures are held against ones that a person has taken as normal.
        reference: how many pictures they are held against.
        threshold: when the version accepts an answer, and what that promises.
        arrivals: of all pictures.
        typical: pictures of the reference, JPEG.
        unlike: by alarm, how many of its pictures were kept.
        digest: another one where anything else is to be shown.
    """

    version: ModelVersion
    look: "Look"
    at: datetime
    first: int
    offsets: Mapping[str, int]
    own_normal: bool
    reference: int
    threshold: Threshold
    arrivals: "Arrivals"
    typical: Sequence[bytes]
    unlike: Mapping[str, int]
    digest: str


def choose_version(versions: Sequence[ModelVersion], asked: str | None) -> ModelVersion:
    """The version that is asked for, else the champion, else the latest that was not rejected.

    Args:
        versions: at least one, the newest first.
        asked: its number.

    Raises:
        ConfigError: there is no such version.
    """
    if asked is not None:
        found = next((each for each in versions if each.version == asked), None)
        if found is None:
            raise ConfigError(f"there is no version {asked[:40]!r}.")
        return found
    return preferred(versions) or versions[0]


def watched_versions(site: Site, versions: Sequence[ModelVersion]) -> set[str]:
    """The numbers of those that were ever looked at."""
    folder = site.state / "monitoring"
    return {each.version for each in versions if (folder / each.version / STATE).is_file()}


def open_monitor(site: Site, version: ModelVersion) -> "Monitor":
    """What watches a version, for whoever will not wait long.

    Raises:
        MonitoringError: its state is damaged, or its bundle has no reference.
    """
    monitor = site.project.monitor(known=version)
    monitor.patience_s = _PATIENCE_S
    return monitor


def read_watched(site: Site, version: ModelVersion) -> Watched | None:
    """What the last look found; None where there was none.

    Raises:
        MonitoringError: its state is damaged, or its bundle has no reference.
    """
    folder = site.state / "monitoring" / version.version
    if not (folder / STATE).is_file():
        return None
    seen = (stamp(folder / STATE, folder / "checked.json"), version, id(site.project))
    return site.cached.get(("watched", version.version), seen, lambda: _read(site, version, folder))


def read_unlike(site: Site, version: ModelVersion, alarm: str, number: int) -> bytes | None:
    """A picture that was kept with an alarm, JPEG; None where there is none."""
    watched = read_watched(site, version)
    # Only what the monitor itself names becomes a part of a path.
    if watched is None or alarm not in watched.unlike:
        return None
    kept = _kept(site.state / "monitoring" / version.version, alarm)
    return kept[number].read_bytes() if number < len(kept) else None


def _read(site: Site, version: ModelVersion, folder: Path) -> Watched:
    # The monitor's imports are not needed by the other pages.
    from pixloop.monitoring.state import read_record

    at = datetime.fromtimestamp((folder / STATE).stat().st_mtime, UTC)
    monitor = open_monitor(site, version)
    try:
        look = monitor.last_look()
        arrivals = _arrivals(site, folder / "observations", look.seen)
    except (OSError, ValueError, KeyError) as e:
        raise MonitoringError(
            f"the observations in {folder} cannot be read: {e}. Remove the folder: the next look "
            "reads the captures that are kept anew."
        ) from e
    record = read_record(folder / STATE)
    found = hashlib.sha256(look.model_dump_json().encode() + record.reference.encode())
    return Watched(
        version=version,
        look=look,
        at=at,
        first=record.first,
        offsets=record.offsets,
        own_normal=bool(record.reference),
        reference=len(monitor.reference.values),
        threshold=monitor.bundle.manifest.threshold,
        arrivals=arrivals,
        typical=monitor.reference.thumbnails,
        unlike={alarm.id: len(_kept(folder, alarm.id)) for alarm in look.alarms},
        digest=found.hexdigest()[:16],
    )


def _arrivals(site: Site, folder: Path, count: int) -> "Arrivals":
    """A look that finds nothing new writes no rows, and they need not be read again."""
    from pixloop.monitoring.observations import Observations
    from pixloop.monitoring.traffic import read_arrivals

    files = sorted(folder.glob("*.parquet"))
    seen = (count, stamp(*files[:1], *files[-1:]))
    return site.cached.get(
        ("arrivals", folder), seen, lambda: read_arrivals(Observations(folder, count))
    )


def _kept(folder: Path, alarm: str) -> list[Path]:
    return sorted((folder / "pictures" / alarm).glob("*.jpg"))
