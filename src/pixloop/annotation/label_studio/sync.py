"""Review queue and annotations brought level with Label Studio, both ways, any number of times.

Nothing is remembered between two syncs but what the queue, the annotations and Label Studio hold,
so that a sync that was killed is simply done again:

- a task's ``meta`` names its picture, so a picture that has a task gets no second one;
- an annotation's id names the project and its number there, so it is kept once; what is changed
  there is changed here, and what is gone there is marked as deleted here.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from pixloop.annotation.items import Status
from pixloop.annotation.label_studio.client import LabelStudioClient
from pixloop.annotation.label_studio.conversion import Converted, convert
from pixloop.annotation.label_studio.marks import Mark, read_mark
from pixloop.annotation.label_studio.tasks import Place, push, remove_twins
from pixloop.annotation.queue import ReviewQueue
from pixloop.bundle import Task
from pixloop.data.annotations import Annotation, AnnotationStore, Resolved
from pixloop.errors import AnnotationError


class SyncSummary(BaseModel):
    """What a sync has brought, and how Label Studio's project stands after it."""

    url: str
    project: int
    tasks: int = 0  #: in the project, ours
    pushed: int = 0  #: of them, made now
    new: int = 0  #: annotations that came
    changed: int = 0
    deleted: int = 0
    answered: int = 0  #: pictures that are
    skipped: int = 0
    open: int = 0  #: pictures that wait for people
    findings: tuple[str, ...] = ()  #: what could not be taken, and why

    @property
    def came(self) -> int:
        """How many annotations are new or other than before."""
        return self.new + self.changed + self.deleted


@dataclass(frozen=True, slots=True)
class Rules:
    """What an answer is, and when a picture is answered."""

    task: Task
    classes: tuple[str, ...]
    annotators: int = 1
    agreement: float = 0.6


class Sync:
    """One sync of a project."""

    def __init__(
        self,
        client: LabelStudioClient,
        project: dict[str, Any],
        rules: Rules,
        queue: ReviewQueue,
        store: AnnotationStore,
    ) -> None:
        """``project`` is as the API gives it."""
        self._client, self._project, self._rules = client, project, rules
        self._queue, self._store = queue, store
        self._prefix = annotation_prefix(project)
        self._findings: list[str] = []
        self._summary = SyncSummary(url=client.url, project=int(project["id"]))

    def run(self, place: Place) -> SyncSummary:
        """Bring both sides level.

        Args:
            place: where pictures are put so that people see them.

        Raises:
            AnnotationError: Label Studio does not answer, or refuses. What was done holds.
        """
        number = self._summary.project
        tasks = remove_twins(self._client, self._client.tasks(number))
        marked = [(task, mark) for task in tasks if (mark := read_mark(task)) is not None]
        self._pull(marked)
        pushed = push(
            self._client,
            number,
            self._queue,
            place,
            (mark.sha256 for _, mark in marked),
            self._rules.classes,
        )
        for sha256, reason in pushed.unreadable.items():
            self._findings.append(f"picture {sha256[:12]} cannot be shown: {reason}")
            self._queue.mark(sha256, "skipped")
        self._fill([*pushed.empty, *_empty(marked)])
        counts = self._queue.counts()
        return self._summary.model_copy(
            update={
                "tasks": len(marked) + len(pushed.tasks),
                "pushed": len(pushed.tasks),
                "answered": counts.get("answered", 0),
                "skipped": counts.get("skipped", 0),
                "open": counts.get("asked", 0),
                "findings": tuple(self._findings),
            }
        )

    # ---- from there to here -----------------------------------------------------------------

    def _pull(self, marked: Sequence[tuple[dict[str, Any], Mark]]) -> None:
        known = {a.id: a for a in self._store.read() if a.id.startswith(self._prefix)}
        seen: set[str] = set()
        wrong: set[str] = set()
        for task, mark in marked:
            for converted in self._converted(task, mark):
                annotation = converted.annotation
                seen.add(annotation.id)
                self._keep(annotation, known.get(annotation.id))
                if converted.findings:
                    wrong.add(mark.sha256)
                    self._findings += [finding.detail for finding in converted.findings]
        missing = [known[identity] for identity in sorted(known.keys() - seen)]
        emptied = set(self._delete(missing))
        self._mark(marked, emptied, wrong)

    def _converted(self, task: dict[str, Any], mark: Mark) -> Iterator[Converted]:
        for written in task.get("annotations") or ():
            identity = f"{self._prefix}{written['id']}"
            yield convert(written, identity, mark, self._rules.task, self._rules.classes)

    def _keep(self, annotation: Annotation, before: Annotation | None) -> None:
        if annotation == before:
            return
        self._store.add(annotation, self._picture(annotation.sha256))
        count = "new" if before is None or before.deleted else "changed"
        self._count(count)

    def _picture(self, sha256: str) -> bytes | None:
        if self._store.picture(sha256) is not None:
            return None
        try:
            return self._queue.picture(sha256)
        except AnnotationError:
            self._findings.append(
                f"picture {sha256[:12]} is no longer in the review queue: its annotation is kept "
                "without it."
            )
            return None

    def _delete(self, missing: Iterable[Annotation]) -> Iterator[str]:
        """Mark what is gone as deleted; gives the pictures that it was about."""
        for annotation in missing:
            # Absent from the pages is not yet gone: a task may have moved between two of them.
            number = int(annotation.id.removeprefix(self._prefix))
            if annotation.deleted or self._client.annotation_exists(number):
                continue
            self._store.add(annotation.model_copy(update={"deleted": True}), None)
            self._count("deleted")
            yield annotation.sha256

    def _count(self, name: str) -> None:
        before: int = getattr(self._summary, name)
        self._summary = self._summary.model_copy(update={name: before + 1})

    # ---- how far the pictures are -----------------------------------------------------------

    def _mark(
        self,
        marked: Sequence[tuple[dict[str, Any], Mark]],
        emptied: set[str],
        wrong: set[str],
    ) -> None:
        rules = self._rules
        resolved = {
            each.sha256: each for each in self._store.resolved(rules.annotators, rules.agreement)
        }
        said = {a.sha256: a for a in self._store.read() if not a.deleted and not a.skipped}
        statuses = {item.sha256: item.status for item in self._queue.items()}
        tasks = {mark.sha256: task for task, mark in marked}
        for sha256 in statuses.keys() & (tasks.keys() | emptied):
            found = resolved.get(sha256)
            if found is None and sha256 not in emptied:
                continue  # nobody has answered, at least not here
            only_skipped = found is not None and sha256 not in said and sha256 not in wrong
            status: Status = "asked"
            if found is not None and found.counts:
                status = "answered"
            elif only_skipped:
                status = "skipped"
            if statuses[sha256] != status:
                self._queue.mark(sha256, status)
            if status == "asked" and found is not None and sha256 in tasks:
                self._ask_another(tasks[sha256], found)

    def _ask_another(self, task: dict[str, Any], found: Resolved) -> None:
        """Where people disagree, Label Studio gives the task to one more."""
        answers = len(found.annotations)
        enough = answers >= self._rules.annotators > 1
        if enough and int(task.get("overlap") or 1) <= answers:
            self._client.change(f"tasks/{task['id']}/", overlap=answers + 1)

    # ---- what the model says ----------------------------------------------------------------

    def _fill(self, empty: Sequence[int]) -> None:
        """Let Label Studio ask the backend, if it has one, about tasks that would open empty."""
        if not empty or not self._client.listed("ml", self._summary.project):
            return
        try:
            self._client.retrieve_predictions(self._summary.project, empty)
        except AnnotationError as e:
            self._findings.append(f"{len(empty)} tasks open empty for now: {e}")


def annotation_prefix(project: dict[str, Any]) -> str:
    """What the ids of a project's annotations begin with.

    Numbers begin again at 1 in another Label Studio, or in one that was set up anew; the instant
    at which the project was made tells them apart.
    """
    made = hashlib.sha256(str(project["created_at"]).encode()).hexdigest()[:8]
    return f"label-studio-{made}-{project['id']}-"


def _empty(marked: Iterable[tuple[dict[str, Any], Mark]]) -> list[int]:
    return [
        int(task["id"])
        for task, _ in marked
        if not task.get("predictions") and not task.get("annotations")
    ]
