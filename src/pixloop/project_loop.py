"""The second half of a project's loop: what is served is watched, and people are asked.

What each verb needs is imported when it is called: a server should be up in less than a second.
"""

import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from pixloop.config import Config
from pixloop.errors import PipelineError
from pixloop.pipeline.display import Listener
from pixloop.pipeline.runs import Cause, list_runs
from pixloop.project_folder import git_commit
from pixloop.project_registry import ProjectRegistry
from pixloop.run_summary import RunSummary, output_of

if TYPE_CHECKING:
    from pixloop.annotation.label_studio.label_studio import LabelStudio
    from pixloop.annotation.queue import ReviewQueue
    from pixloop.data.annotations import AnnotationStore
    from pixloop.data.dataset import Dataset
    from pixloop.evaluation.comparison.compare import Comparison
    from pixloop.model_versions import ModelVersion
    from pixloop.monitoring.monitor import Monitor
    from pixloop.watching.events import Event
    from pixloop.watching.watcher import Watcher

Run = Callable[..., RunSummary]  #: as ``Project.run``
Listening = Callable[[], AbstractContextManager[Listener]]


class ProjectLoop:
    """What ``Project`` hands on about monitoring, review, annotation and triggers.

    Args:
        config: pixloop.yaml.
        folder: the project's.
        state: its ``.pixloop`` folder.
        registry: of its versions.
        run: runs its pipeline.
    """

    def __init__(
        self, config: Config, folder: Path, state: Path, registry: ProjectRegistry, run: Run
    ) -> None:
        self._config, self._folder, self._state = config, folder, state
        self._registry, self._run = registry, run

    @property
    def captures(self) -> Path:
        """Where the server keeps requests and answers on this machine."""
        to = self._config.serving.capture_to
        if to is None or "://" in to:
            return self._state / "captures"
        return self._folder / Path(to).expanduser()

    @property
    def queue(self) -> "ReviewQueue":
        """The pictures that people are asked about, or may be."""
        from pixloop.annotation.queue import ReviewQueue

        return ReviewQueue(self._state / "review")

    @property
    def annotations(self) -> "AnnotationStore":
        """What people said."""
        from pixloop.data.annotations import AnnotationStore

        return AnnotationStore(self._state / "annotations")

    def monitor(self, version: str | None = None, known: "ModelVersion | None" = None) -> "Monitor":
        """What watches a version; see ``Project.monitor``."""
        from pixloop.monitoring.monitor import Monitor

        if known is None:
            number, bundle = self._registry.bundle(version)
            metrics = self._registry.open().show(number).metrics
        else:
            number, bundle, metrics = known.version, self._registry.bundle_of(known), known.metrics
        return Monitor(
            self._state / "monitoring",
            self._config,
            number,
            bundle,
            self.captures,
            self._state / "annotations",
            metrics,
        )

    def compare(self, a: str, b: str, data: Path | None, output: Path | None) -> "Comparison":
        """Two models on the same test pictures; see ``Project.compare``."""
        from pixloop.evaluation.comparison.compare import compare_bundles

        dataset = data or next((each.folder for each in self._datasets()), None)
        if dataset is None:
            raise PipelineError(
                "there is no data set to compare on: no run here has prepared one. Run 'pixloop "
                "run', or name a data set's folder with --data."
            )
        (name, first), (other, second) = self._registry.find(a), self._registry.find(b)
        page = output or self._state / "comparisons" / f"{_file_name(a)}-{_file_name(b)}.html"
        return compare_bundles(first, second, dataset, page, self._config, (name, other))

    def collect(self, version: str | None = None) -> int:
        """Fill the review queue from what was captured, and choose what people are asked next.

        Returns:
            How many pictures are asked that were not before.
        """
        from pixloop.annotation.collecting import collect_observed, known_pictures

        monitor, review, queue = self.monitor(version), self._config.review, self.queue
        alarms = monitor.look().open_alarms
        known = known_pictures(self._datasets(), self.annotations)
        collect_observed(monitor, queue, known, alarms, review.budget, review.random_share)
        # Those that are asked already count: a second alarm must not ask twice as much.
        missing = review.budget - queue.counts()["asked"]
        return len(queue.choose(missing, review.random_share)) if missing > 0 else 0

    @property
    def label_studio(self) -> "LabelStudio":
        """Where people answer."""
        from pixloop.annotation.label_studio.label_studio import LabelStudio

        return LabelStudio(
            self._config, self._state, lambda: self._registry.bundle()[1].manifest.classes
        )

    def sync(self) -> int:
        """Exchange tasks and annotations with Label Studio, where one runs; how many came."""
        studio = self.label_studio
        if not studio.is_connected:
            return 0
        return studio.sync(self.queue, self.annotations).came

    def watcher(self, tell: "Callable[[Event], None]", listening: Listening) -> "Watcher":
        """What runs the loop by itself; see ``watching.watcher``."""
        from pixloop.watching.assembly import ProjectParts
        from pixloop.watching.watcher import Watcher

        champion = self._registry.champion()

        def served() -> str | None:
            found = champion()
            return found[0].rpartition(":")[2] if found else None

        def run(triggers: Sequence[str]) -> RunSummary:
            with listening() as listener:
                return self._run(listener, cause=Cause(by="watch", triggers=tuple(triggers)))

        parts = ProjectParts(
            self._config,
            self._folder,
            self._state,
            run=run,
            registry=self._registry.open,
            champion=served,
            monitor=self.monitor,
            sync=self.sync,
            collect=self.collect,
            annotations=self.annotations.digest,
            commit=lambda: git_commit(self._folder),
        )
        automatic = self._config.promotion.automatic
        return Watcher(self._state / "watch", self._config.triggers, parts, automatic, tell)

    def dataset(self) -> "Dataset | None":
        """The data set of the last run that prepared one; see ``Project.dataset``."""
        return next(iter(self._datasets()), None)

    def _datasets(self) -> "list[Dataset]":
        """The data set of the last run that prepared one."""
        from pixloop.data.dataset import MANIFEST, Dataset

        for run in list_runs(self._state):
            folder = output_of(run, "Prepare", "dataset")
            if (folder / MANIFEST).is_file():
                return [Dataset.open(folder)]
        return []


def _file_name(model: str) -> str:
    """A version or a path as a part of a file's name."""
    return re.sub(r"[^\w.-]+", "_", model).strip("_") or "model"
