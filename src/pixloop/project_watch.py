"""A project's watcher: its parts put together, for ``Project.watch`` and the command."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from pixloop.errors import RegistryError
from pixloop.pipeline.display import Listener
from pixloop.project_folder import git_commit
from pixloop.project_registry import ProjectRegistry
from pixloop.run_summary import RunSummary
from pixloop.watching.assembly import ProjectParts
from pixloop.watching.events import Event
from pixloop.watching.watcher import Watcher

if TYPE_CHECKING:
    from pixloop.project import Project

#: Gives who is told of a run, for as long as it lasts.
Listening = Callable[[], AbstractContextManager[Listener]]


def open_watcher(
    project: "Project",
    reopen: "Callable[[], Project]",
    tell: Callable[[Event], None],
    listening: Listening,
) -> Watcher:
    """A watcher of a project; its ``watch`` begins.

    Args:
        project: as it is now; what triggers and promotion are is taken from it.
        reopen: opens it again, for each run: pixloop.yaml may have changed.
        tell: is told of every event.
        listening: of every run.
    """

    def run() -> RunSummary:
        with listening() as listener:
            return reopen().run(listener)

    parts = ProjectParts(
        project.config,
        project.folder,
        project.state,
        run=run,
        registry=lambda: project.registry,
        champion=_champion_of(project),
        monitor=project.monitor,
        sync=lambda: _sync(project),
        collect=project.collect,
        annotations=lambda: project.annotations.digest(),
        commit=lambda: git_commit(project.folder),
    )
    folder, promotion = project.state / "watch", project.config.promotion
    return Watcher(folder, project.config.triggers, parts, promotion.automatic, tell)


def _champion_of(project: "Project") -> Callable[[], str | None]:
    """What gives the champion's version; without asking MLflow where nothing has changed."""
    place = ProjectRegistry(project.config, project.state)
    find = place.champion()

    def champion() -> str | None:
        if place.file is not None and not place.file.exists():
            return None
        try:
            found = find()
        except RegistryError:
            # So it says as well where every version is rejected.
            return next((each.version for each in place.open().list() if each.champion), None)
        return found[0].rpartition(":")[2] if found else None

    return champion


def _sync(project: "Project") -> int:
    """Exchange annotations with Label Studio, where there is one; how many came."""
    own = project.state / "label-studio"
    if project.config.annotation.label_studio is None and not own.is_dir():
        return 0
    return project.label_studio.sync(project.review, project.annotations).came
