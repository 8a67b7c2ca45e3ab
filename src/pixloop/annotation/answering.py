"""People's answers without Label Studio: from the terminal and from the page ``/review``.

An answer is kept as an annotation before its picture counts as answered. A kill in between leaves
the picture asked; answering it again replaces the annotation, since its id is made of the picture.
"""

import hashlib
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from pixloop.annotation.items import Item
from pixloop.annotation.queue import ReviewQueue
from pixloop.bundle import Task
from pixloop.data.annotations import AnnotatedBox, Annotation, AnnotationStore
from pixloop.errors import AnnotationError

#: Sides in pixels below which a box is a slip of the hand.
_LEAST_PX = 1.0


class Answering:
    """Takes one person's answers for the pictures that are asked."""

    def __init__(
        self,
        queue: ReviewQueue,
        store: AnnotationStore,
        task: Task,
        classes: Sequence[str],
        annotator: str = "",
    ) -> None:
        """Name who answers.

        Args:
            queue: what is asked.
            store: where answers are kept.
            task: what an answer is: a class, or boxes.
            classes: those that there are.
            annotator: who answers; part of the annotations' ids, so that two people's answers for
                a picture stand side by side.
        """
        self.queue, self.task, self.classes = queue, task, tuple(classes)
        self._store, self._annotator = store, annotator

    def open_items(self) -> list[Item]:
        """The pictures that are asked, in their order."""
        return list(self.queue.items("asked"))

    def label(self, sha256: str, label: str) -> Annotation:
        """Say which class a picture shows.

        Raises:
            AnnotationError: there is no such picture or class, or boxes are asked for.
        """
        if self.task != "classification":
            raise AnnotationError("this project's pictures are answered by boxes, not by a class.")
        self._check_class(label)
        return self._keep(sha256, label=label)

    def boxes(self, sha256: str, boxes: Sequence[AnnotatedBox]) -> Annotation:
        """Say all that is to be seen in a picture, in pixels of the upright picture.

        Raises:
            AnnotationError: there is no such picture or class, a box has no area, or a class is
                asked for.
        """
        if self.task != "detection":
            raise AnnotationError("this project's pictures are answered by a class, not by boxes.")
        for box in boxes:
            self._check_class(box.label)
            x1, y1, x2, y2 = box.xyxy
            if not (x2 - x1 >= _LEAST_PX and y2 - y1 >= _LEAST_PX):
                raise AnnotationError(
                    f"a box of {box.label} is {x2 - x1:g} × {y2 - y1:g} pixels; expected at least "
                    f"{_LEAST_PX:g} each way. Draw it again."
                )
        return self._keep(sha256, boxes=tuple(boxes))

    def skip(self, sha256: str) -> Annotation:
        """Say that one cannot say."""
        return self._keep(sha256, skipped=True)

    def undo(self, sha256: str) -> None:
        """Take an answer back: its annotation is marked as deleted, and the picture asked again.

        Raises:
            AnnotationError: this person has not answered for the picture.
        """
        item = self.queue.get(sha256)
        annotation = self._store.get(self._identity(item.sha256))
        if annotation is None or annotation.deleted:
            raise AnnotationError(f"there is no answer for the picture {sha256} to take back.")
        self.queue.mark(item.sha256, "asked")
        self._store.add(annotation.model_copy(update={"deleted": True}), None)

    def _keep(self, sha256: str, **said: Any) -> Annotation:
        item = self.queue.get(sha256)
        annotation = Annotation(
            id=self._identity(item.sha256),
            sha256=item.sha256,
            annotator=self._annotator,
            at=datetime.now(UTC).isoformat(timespec="seconds"),
            drawn=item.drawn or "chosen",
            reasons=tuple(dict.fromkeys(reason.kind for reason in item.reasons)),
            origin={**item.origin, **({"model": item.model} if item.model else {})},
            **said,
        )
        # The data set has its own pictures, which may be stored upright under their file's name.
        own = "dataset" in item.origin
        self._store.add(annotation, None if own else self.queue.picture(item.sha256))
        self.queue.mark(item.sha256, "skipped" if annotation.skipped else "answered")
        return annotation

    def _identity(self, sha256: str) -> str:
        who = re.sub(r"[^A-Za-z0-9]+", "-", self._annotator).strip("-")[:40]
        if who != self._annotator:  # two names may be the same once they fit into a file's name
            who += "-" + hashlib.sha256(self._annotator.encode()).hexdigest()[:8]
        return f"review-{sha256[:32]}" + (f"-{who.strip('-')}" if self._annotator else "")

    def _check_class(self, label: str) -> None:
        if label not in self.classes:
            raise AnnotationError(
                f"there is no class {label!r}; there are {', '.join(self.classes)}. A new class "
                "comes with pictures of it in the data."
            )
