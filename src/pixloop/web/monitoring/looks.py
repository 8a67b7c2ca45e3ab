"""When was looked, what waits to be looked at, and who looks."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pixloop.errors import MonitoringError
from pixloop.model_versions import ModelVersion
from pixloop.web.home.server import local_server
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
        written_s: how old what the server keeps may get before a look can see it; None where that
            explains nothing: something waits, or nothing was asked lately.
    """

    at: datetime | None
    unread: "Unread"
    watching: bool
    every_s: float
    written_s: float | None


def read_looks(site: Site, version: ModelVersion) -> Looks:
    """How it is now."""
    # The other pages read no captures.
    from pixloop.monitoring.captures import find_unread

    file = site.state / "monitoring" / version.version / STATE
    try:
        watched = read_watched(site, version)
    except MonitoringError:  # which the page says already
        watched = None
    serving = site.project.config.serving
    unread = find_unread(site.project.captures, watched.offsets if watched else {})
    expects = serving.capture_share > 0 and unread.requests == 0
    late = expects and (_has_answered(site) or _looked_since(site, 2 * serving.capture_file_s))
    return Looks(
        at=datetime.fromtimestamp(file.stat().st_mtime, UTC) if file.is_file() else None,
        unread=unread,
        watching=holder_of(site.state / "watch" / LOCK) > 0,
        every_s=site.project.config.triggers.look_s,
        written_s=serving.capture_file_s if late else None,
    )


def last_failure(site: Site) -> str:
    """What the last look that a page started ended with, if it failed."""
    job = site.jobs.last("monitor")
    if job is None or site.jobs.status(job) != "failed":
        return ""
    return site.jobs.log(job, _LOG_BYTES).strip() or "It said nothing."


def _has_answered(site: Site) -> bool:
    """Whether the server on this machine has answered anything, as far as is known."""
    served = local_server(site).look()
    return served.answers and bool(served.requests)


def _looked_since(site: Site, seconds: float) -> bool:
    """Whether a page has looked within so many seconds, perhaps too early to see anything."""
    job = site.jobs.last("monitor")
    if job is None or site.jobs.status(job) != "done":
        return False
    return (datetime.now(UTC) - datetime.fromisoformat(job.started)).total_seconds() < seconds
