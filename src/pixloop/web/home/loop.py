"""The state of the whole loop, read from what lies on disk: what the home page shows.

Each room has a module of its own; whatever is damaged in one is told there, and hides no other.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pixloop.pipeline.runs import RunRecord
from pixloop.watching.events import FILE as EVENTS
from pixloop.watching.events import Event, read_events
from pixloop.web.cached import stamp
from pixloop.web.home.data import DataState, read_data
from pixloop.web.home.monitoring import MonitoringState, read_monitoring
from pixloop.web.home.people import AnnotationsState, ReviewState, read_annotations, read_review
from pixloop.web.home.run import RunState, read_run
from pixloop.web.home.server import Served, local_server
from pixloop.web.home.times import read_time
from pixloop.web.home.versions import VersionsState, read_versions
from pixloop.web.home.watch import WatchingState, read_watch
from pixloop.web.site import Site


@dataclass(frozen=True, slots=True)
class Loop:
    """Every room's state, and the watch's."""

    data: DataState
    run: RunState
    versions: VersionsState
    endpoint: Served
    monitoring: MonitoringState
    review: ReviewState
    annotations: AnnotationsState
    watch: WatchingState

    @property
    def untouched(self) -> bool:
        """Whether nothing has happened yet."""
        return self.run.kind == "none" and not self.versions.count and self.versions.known

    @property
    def overlooked(self) -> bool:
        """Whether captures wait for a look that nobody is about to take.

        Few that came since the last look are no matter; where nothing was ever looked at, any are.
        """
        found = self.monitoring
        some = found.captured.many or (found.captured.requests and not found.pictures)
        return bool(some) and not self.watch.running and not found.problem


def read_loop(site: Site, patient: bool) -> Loop:
    """Look at every room.

    Args:
        site: the project's.
        patient: wait for the registry, where it must be asked; that takes seconds.

    Raises:
        ConfigError: pixloop.yaml is wrong.
    """
    config = site.project.config
    events, runs = read_trail(site)
    versions = read_versions(site, events, patient)
    served = versions.served
    captures = site.state / "captures"
    if config.serving.capture_to and "://" not in config.serving.capture_to:
        captures = site.folder / config.serving.capture_to
    return Loop(
        data=read_data(site, runs),
        run=read_run(site, runs),
        versions=versions,
        endpoint=local_server(site).look(),
        monitoring=read_monitoring(site, served, captures),
        review=read_review(site),
        annotations=read_annotations(site, runs, config.triggers.annotations),
        watch=read_watch(site),
    )


def read_trail(site: Site) -> tuple[Sequence[Event], Sequence[RunRecord]]:
    """What the watch did, the oldest first, and all runs, the newest first."""
    file = site.state / "watch" / EVENTS
    events = site.cached.get("loop events", stamp(file), lambda: _events(site))
    return events, [run for run in site.runs() if read_time(run.started)]


def _events(site: Site) -> Sequence[Event]:
    try:
        found = read_events(site.state / "watch")
        return tuple(event for event in found if read_time(event.time))
    except OSError:
        return ()  # a folder in its place
