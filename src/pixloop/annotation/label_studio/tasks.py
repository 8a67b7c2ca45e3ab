"""Pictures of the review queue as tasks, each of them once."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from pixloop.annotation.items import Item
from pixloop.annotation.label_studio.answers import prefill
from pixloop.annotation.label_studio.client import LabelStudioClient
from pixloop.annotation.label_studio.interface import PICTURE, WHY
from pixloop.annotation.label_studio.marks import Mark, read_mark
from pixloop.annotation.label_studio.pictures import Shown, to_shown
from pixloop.annotation.queue import ReviewQueue
from pixloop.errors import AnnotationError, ImageError
from pixloop.files import atomic_path
from pixloop.serving.client import read_answer

#: Tasks made at a time: they come all or none.
_BATCH = 50
_RANDOM = "drawn at random, to see how good the model is"


class Place(Protocol):
    """Where pictures are put so that Label Studio shows them."""

    def put(self, name: str, content: bytes) -> str:
        """Put a picture there, if it is not yet; gives its address for a task."""


class LocalPlace:
    """A folder that Label Studio serves, for one that runs here."""

    def __init__(self, root: Path, folder: Path) -> None:
        """``root`` is Label Studio's document root, and ``folder`` lies below it."""
        self._root, self.folder = root, folder

    def put(self, name: str, content: bytes) -> str:
        """Write the file, if it is not there yet."""
        file = self.folder / name
        if not file.exists():
            with atomic_path(file) as temporary:
                temporary.write_bytes(content)
        return f"/data/local-files/?d={file.relative_to(self._root).as_posix()}"


class UploadPlace:
    """A project's own uploads, for a Label Studio that runs anywhere."""

    def __init__(self, client: LabelStudioClient, project: int) -> None:
        """What is there already is asked once."""
        self._client, self._project = client, project
        self._known = client.uploads(project)

    def put(self, name: str, content: bytes) -> str:
        """Upload the file, unless one of its name was; the name holds the content's hash."""
        if name not in self._known:
            self._client.upload(self._project, name, content)
            self._known = self._client.uploads(self._project)
        if name not in self._known:
            raise AnnotationError(f"{self._client.url} took the picture {name}, and has it not.")
        return self._known[name]


@dataclass
class Pushed:
    """What was made, and which pictures could not be shown, with the reason."""

    tasks: list[int] = field(default_factory=list)
    empty: list[int] = field(default_factory=list)  #: those of them without a prediction
    unreadable: dict[str, str] = field(default_factory=dict)


def push(
    client: LabelStudioClient,
    project: int,
    queue: ReviewQueue,
    place: Place,
    known: Iterable[str],
    classes: Sequence[str],
) -> Pushed:
    """Make a task of every picture that is asked and has none.

    Args:
        client: of Label Studio.
        project: its number there.
        queue: whose items of the status ``asked`` are meant.
        place: where their pictures go.
        known: the SHA-256 of pictures that have a task already.
        classes: those of the interface.
    """
    done = Pushed()
    has_task = set(known)
    items = [item for item in queue.items("asked") if item.sha256 not in has_task]
    for start in range(0, len(items), _BATCH):
        batch = items[start : start + _BATCH]
        tasks = list(_tasks(batch, queue, place, classes, done))
        made = client.import_tasks(project, tasks) if tasks else []
        done.tasks += made
        done.empty += [
            number for number, task in zip(made, tasks, strict=True) if not task.get("predictions")
        ]
    return done


def _tasks(
    items: Iterable[Item], queue: ReviewQueue, place: Place, classes: Sequence[str], done: Pushed
) -> Iterator[dict[str, Any]]:
    for item in items:
        try:
            shown = to_shown(queue.picture(item.sha256))
        except ImageError as e:
            done.unreadable[item.sha256] = str(e)
            continue
        address = place.put(f"{item.sha256}.{shown.suffix}", shown.content)
        yield make_task(item, shown, address, classes)


def make_task(item: Item, shown: Shown, address: str, classes: Sequence[str]) -> dict[str, Any]:
    """A task: the picture, why it is asked, and what the model answered, filled in."""
    mark = Mark(
        sha256=item.sha256,
        width=shown.width,
        height=shown.height,
        drawn=item.drawn or "chosen",
        reasons=tuple(reason.kind for reason in item.reasons),
        origin=item.origin,
        model=item.model,
    )
    task: dict[str, Any] = {
        "data": {PICTURE: address, WHY: _why(item)},
        "meta": mark.model_dump(mode="json"),
    }
    # One that was never asked, or by another version, has none; the backend is asked then.
    with suppress(KeyError, TypeError, ValueError):
        task["predictions"] = [prefill(read_answer(item.answer), classes)]
    return task


def _why(item: Item) -> str:
    words = [_RANDOM if r.kind == "random" else r.detail or r.kind for r in item.reasons]
    return "Asked because: " + "; ".join(words) if words else "Asked by a person."


def remove_twins(
    client: LabelStudioClient, tasks: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """The tasks without those made twice of one picture, which are deleted where nobody answered.

    A push that was killed may be finished by Label Studio after the next one has looked.
    """
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for task in tasks:
        if (mark := read_mark(task)) is not None:
            groups[mark.sha256].append(task)
    gone: set[int] = set()
    for group in groups.values():
        # The one with an answer stays, else the first.
        group.sort(key=lambda t: (not t.get("annotations"), not t.get("drafts"), t["id"]))
        for task in group[1:]:
            if not task.get("annotations") and not task.get("drafts"):
                client.delete(f"tasks/{task['id']}/")
                gone.add(task["id"])
    return [task for task in tasks if task["id"] not in gone]
