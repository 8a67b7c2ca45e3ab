"""The second half of a project's loop: what is served is watched, and people are asked.

What each verb needs is imported when it is called: a server should be up in less than a second.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from pixloop.config import Config
from pixloop.pipeline.display import Listener
from pixloop.project_folder import git_commit
from pixloop.project_registry import ProjectRegistry
from pixloop.run_summary import RunSummary

if TYPE_CHECKING:
    from pixloop.annotation.candidates import Look
    from pixloop.annotation.label_studio.label_studio import LabelStudio
    from pixloop.annotation.queue import ReviewQueue
    from pixloop.data.annotations import AnnotationStore
    from pixloop.monitoring.monitor import Monitor
    from pixloop.watching.events import Event
    from pixloop.watching.watcher import Watcher

#: Of each reason, so many times the budget are looked at: what is chosen should differ.
_TO_CHOOSE_FROM = 10

Run = Callable[[Listener | None], RunSummary]
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

    def monitor(self, version: str | None = None) -> "Monitor":
        """What watches a version; without one, that which is served."""
        from pixloop.monitoring.monitor import Monitor

        number, bundle = self._registry.bundle(version)
        metrics = self._registry.open().show(number).metrics if version else {}
        return Monitor(
            self._state / "monitoring",
            self._config,
            number,
            bundle,
            self.captures,
            self._state / "annotations",
            metrics,
        )

    def collect(self, version: str | None = None) -> int:
        """Fill the review queue from what was captured, and choose what people are asked next.

        Returns:
            How many pictures are asked that were not before.
        """
        from pixloop.annotation.candidates import Wanted, find_candidates

        monitor, review, queue = self.monitor(version), self._config.review, self.queue
        wanted = Wanted(
            random=round(review.budget * review.random_share),
            most=_TO_CHOOSE_FROM * review.budget,
            looks=self._looks(monitor),
            known=queue.knows,
        )
        queue.offer(find_candidates(monitor.observations(), monitor.picture, wanted))
        return len(queue.choose(review.budget, review.random_share))

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

        def run() -> RunSummary:
            with listening() as listener:
                return self._run(listener)

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

    def _looks(self, monitor: "Monitor") -> "tuple[Look, ...]":
        """Why to ask about a picture, beside doubt: open drift, and what a challenger objects."""
        from pixloop.annotation.looks import ChallengerAnswers, look_for_drift

        reference = monitor.reference
        columns = {signal.name: i for i, signal in enumerate(reference.signals)}
        looks: list[Look] = []
        for alarm in monitor.look().open_alarms:
            if alarm.kind == "drift" and alarm.since is not None:
                column = columns[alarm.signal]
                words, values = reference.signals[column].words, reference.values[:, column]
                looks.append(look_for_drift(alarm.since, column, words, values))
        challengers = ChallengerAnswers(self.captures)
        return (*looks, challengers) if len(challengers) else tuple(looks)
