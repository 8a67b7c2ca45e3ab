"""What all pages share: the project, what was read of it, and the work that pages start."""

import secrets
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from pixloop.config import FILE_NAME
from pixloop.pipeline.runs import RunRecord
from pixloop.project import Project
from pixloop.web.cached import Cached, stamp
from pixloop.web.jobs import Jobs
from pixloop.web.known_versions import KnownVersions
from pixloop.web.runs.known import KnownRuns

if TYPE_CHECKING:
    from pixloop.model_versions import ModelVersion

#: What the pages keep of their own, below the project's ``.pixloop``.
FOLDER = "web"


class Site:
    """One project's pages.

    Args:
        folder: the project's.
        token: without it, requests are refused; None where only this machine can ask.
        overrides: ``key=value``, as ``Project.open`` takes them.
        annotator: who answers on the page ``/review``, where its visitor says nothing else; the
            user that the server runs as, where it is empty.
    """

    def __init__(
        self,
        folder: Path,
        token: str | None = None,
        overrides: Sequence[str] = (),
        annotator: str = "",
    ) -> None:
        self.folder, self.token = folder.resolve(), token
        self.annotator = annotator
        self._overrides = tuple(overrides)
        #: Stands in every page, and must come back with whatever changes something.
        self.csrf = secrets.token_urlsafe(24)
        self.cached = Cached()
        self.jobs = Jobs(self.state / FOLDER / "jobs", self.folder)

    @property
    def project(self) -> Project:
        """The project, opened anew when pixloop.yaml has changed.

        Raises:
            ConfigError: pixloop.yaml is wrong now.
        """
        file = self.folder / FILE_NAME
        return self.cached.get(
            "project", stamp(file), lambda: Project.open(self.folder, self._overrides)
        )

    @property
    def state(self) -> Path:
        """The project's ``.pixloop`` folder."""
        return self.folder / ".pixloop"

    def versions(self) -> "Sequence[ModelVersion]":
        """Every model version, the newest first; cheap while the registry has not changed.

        Raises:
            RegistryError: the registry cannot be reached.
        """
        return self._known_versions.list(self.project)

    def versions_at_hand(self) -> "Sequence[ModelVersion] | None":
        """As ``versions``, where nobody need be asked; None where that would take a while."""
        return self._known_versions.at_hand(self.project)

    def runs(self) -> Sequence[RunRecord]:
        """Every run, the newest first; only those that changed are read again.

        One whose process has gone says that it was interrupted.
        """
        return self._known_runs.list()

    @cached_property
    def _known_runs(self) -> KnownRuns:
        return KnownRuns(self.state / "runs")

    @cached_property
    def _known_versions(self) -> KnownVersions:
        return KnownVersions(self.state / FOLDER / "versions.json")
