"""Answers that a person calls wrong: their pictures go to the review queue."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from pixloop.annotation.candidates import report_candidate
from pixloop.annotation.items import Status
from pixloop.annotation.queue import ReviewQueue
from pixloop.bundle import Task
from pixloop.errors import AnnotationError
from pixloop.web.tryout.answers import Answered


class Reported(BaseModel):
    """What became of a report."""

    model_config = ConfigDict(frozen=True)

    sha256: str
    status: Literal["asked", "answered"]  #: answered: a person had said what it shows before
    review: str  #: the page where it is to be seen


def check_said(said: str, task: Task, classes: Sequence[str]) -> None:
    """Let through what a person may say of a wrong answer.

    Args:
        said: the right class; nothing where boxes are wrong.
        task: the project's.
        classes: that it knows.

    Raises:
        AnnotationError: it is none of them.
    """
    if task == "detection" and said:
        raise AnnotationError("boxes are drawn in review; a class alone does not say them.")
    if task == "classification" and said not in classes:
        raise AnnotationError(
            f"there is no class {said[:80]!r}: choose one of the {len(classes)} that there are. A "
            "new class comes with pictures of it in the data."
        )


def report(
    queue: ReviewQueue, picture: bytes, said: str, answered: Answered, task: Task
) -> Reported:
    """Ask people about a picture; doing so twice is as good as once.

    Raises:
        AnnotationError: the answer is of another task, or is what was said.
    """
    if ("boxes" in answered.answer) != (task == "detection"):
        raise AnnotationError(f"that model's task is not this project's, which is {task}.")
    if said and said == answered.answer["label"]:
        raise AnnotationError(f"the answer was {said!r}; choose what is right instead.")
    detail = f"should be {said}" if said else "its boxes are wrong"
    answer: dict[str, Any] = dict(answered.answer)
    candidate = replace(
        report_candidate(picture, detail, answer, answered.model),
        origin={"reported": "try", **({"said": said} if said else {})},
    )
    queue.offer([candidate])
    status: Status = queue.get(candidate.sha256).status
    if status != "answered":
        # It may wait already for another reason, or have been reported as something else.
        queue.note(candidate.sha256, candidate.origin)
    if status in ("waiting", "skipped"):
        queue.mark(candidate.sha256, "asked", drawn="chosen")
    return Reported(
        sha256=candidate.sha256,
        status="answered" if status == "answered" else "asked",
        review=f"/review?picture={candidate.sha256}",
    )
