"""When was looked, what waits to be looked at, and who looks."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pixloop.errors import MonitoringError
from pixloop.model_versions import ModelVersion
from pixloop.web.home.watch import LOCK, holder_of
from pixloop.web.monitoring.watched import STATE, read_watched
from pixloop.web.site import Site

if TYPE_CHECKING:
    from pixloop.monitoring.captures import Unread

#: Of what a failed look printed, the end.
_LOG_BYTES = 2000


@dataclass(frozen=True, slots=True)
class Looks:
    """The looks at a version.

    Attributes:
        at: when the last one was; None before the first.
        unread: what was captured since, of whatever version.
        watching: whether ``pixloop watch`` is at work, which looks by itself.
        every_s: how often it does.
    """

    at: datetime | None
    unread: "Unread"
    watching: bool
    every_s: float


def read_looks(site: Site, version: ModelVersion) -> Looks:
    """How it is now."""
    # The other pages read no captures.
    from pixloop.monitoring.captures import find_unread

    file = site.state / "monitoring" / version.version / STATE
    try:
        watched = read_watched(site, version)
    except MonitoringError:  # which the page says already
        watched = None
    return Looks(
        at=datetime.fromtimestamp(file.stat().st_mtime, UTC) if file.is_file() else None,
        unread=find_unread(site.project.captures, watched.offsets if watched else {}),
        watching=holder_of(site.state / "watch" / LOCK) > 0,
        every_s=site.project.config.triggers.look_s,
    )


def last_failure(site: Site) -> str:
    """What the last look that a page started ended with, if it failed."""
    job = site.jobs.last("monitor")
    if job is None or site.jobs.status(job) != "failed":
        return ""
    return site.jobs.log(job, _LOG_BYTES).strip() or "It said nothing."
