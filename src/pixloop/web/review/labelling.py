"""The labelling page and what its script asks: what is next, answers, and answers taken back.

Several people and tabs may answer at once. Each answer comes with how far its picture was when it
was shown; where somebody else answered meanwhile, that is said, and nothing is written over unseen.
"""

import re
import threading
from collections.abc import Sequence
from contextlib import suppress
from getpass import getuser
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pixloop.annotation.answering import Answering
from pixloop.annotation.items import Item, Status
from pixloop.annotation.queue_pages import read_page
from pixloop.data.annotations import AnnotatedBox, Annotation
from pixloop.drawing import PALETTE
from pixloop.errors import AnnotationError
from pixloop.web.forms import read_number
from pixloop.web.rendering import render
from pixloop.web.review.answers import KnownAnswers
from pixloop.web.review.items import (
    AskedModel,
    asked_model,
    picture_to_answer,
    said_in_words,
    why_not_now,
)
from pixloop.web.site import Site

#: An answer of a thousand boxes is a tenth of it.
MAX_BODY_BYTES = 1_000_000
#: Pictures that a page is told of at a time.
_BATCH = 100
_SHA256 = re.compile(r"[0-9a-f]{64}")
_ANNOTATOR = 100
_M = TypeVar("_M", bound=BaseModel)


class _Said(BaseModel):
    model_config = ConfigDict(extra="forbid")

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    seen: Status  #: how far the picture was when it was shown
    label: str | None = None
    boxes: tuple[AnnotatedBox, ...] | None = None
    skip: bool = False
    annotator: str = Field(default="", max_length=_ANNOTATOR)


class _Undone(BaseModel):
    model_config = ConfigDict(extra="forbid")

    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    annotator: str = Field(default="", max_length=_ANNOTATOR)


def routes(site: Site, answers: KnownAnswers) -> list[Route]:
    """``/review/label`` and what it asks."""
    desk = _Desk(site, answers)

    def page(request: Request) -> Response:
        model = asked_model(site)
        picture = request.query_params.get("picture", "")
        if picture:
            desk.item(picture)  # raises where there is none
        return render(
            request,
            "review/label.html",
            {"model": model, "picture": picture, "annotator": default_annotator(site)},
        )

    def asked(request: Request) -> Response:
        skip = request.query_params.get("skip", "0")
        annotator = request.query_params.get("annotator", "")[:_ANNOTATOR]
        return JSONResponse(desk.asked(read_number(skip, 0), annotator))

    def item(request: Request) -> Response:
        annotator = request.query_params.get("annotator", "")[:_ANNOTATOR]
        return JSONResponse(desk.shown(desk.item(request.path_params["sha256"]), annotator))

    async def answer(request: Request) -> Response:
        said = _parse(_Said, await _read(request))
        return JSONResponse(await run_in_threadpool(desk.take, said))

    async def undo(request: Request) -> Response:
        undone = _parse(_Undone, await _read(request))
        return JSONResponse(await run_in_threadpool(desk.undo, undone))

    return [
        Route("/review/label", page),
        Route("/review/asked", asked),
        Route("/review/items/{sha256}", item),
        Route("/review/answers", answer, methods=["POST"]),
        Route("/review/undo", undo, methods=["POST"]),
    ]


def default_annotator(site: Site) -> str:
    """Who answers where nobody says otherwise."""
    with suppress(OSError, KeyError):  # a container's user may have no name
        return site.annotator or getuser()
    return "somebody"


class _Desk:
    """Takes answers, one at a time, so that two tabs do not answer one picture unseen."""

    def __init__(self, site: Site, answers: KnownAnswers) -> None:
        self._site, self._answers = site, answers
        self._lock = threading.Lock()

    def asked(self, skip: int, annotator: str) -> dict[str, Any]:
        model, queue = self._model(), self._site.project.review
        who = annotator.strip() or default_annotator(self._site)
        items: list[Item] = queue.read(lambda db: read_page(db, "asked", None, _BATCH, skip), [])
        return {
            "task": model.task,
            "classes": model.classes,
            "colours": [PALETTE[i % len(PALETTE)] for i in range(len(model.classes))],
            "counts": queue.counts(),
            "items": [self.shown(item, who) for item in items],
            "can_undo": self._answers.last_of(who) is not None,
        }

    def item(self, sha256: str) -> Item:
        if not _SHA256.fullmatch(sha256):
            raise HTTPException(404, "That is no picture's name.")
        try:
            return self._site.project.review.get(sha256)
        except AnnotationError as e:
            raise HTTPException(404, "The review queue has no such picture.") from e

    def shown(self, item: Item, annotator: str) -> dict[str, Any]:
        who = annotator.strip() or default_annotator(self._site)
        return picture_to_answer(item, self._model(), self._answers.of(item.sha256), who)

    def take(self, said: _Said) -> dict[str, Any]:
        """Keep an answer, unless somebody answered since the picture was shown."""
        who = said.annotator.strip() or default_annotator(self._site)
        with self._lock:
            item = self.item(said.sha256)
            others = self._answers.of(item.sha256)
            if (barred := why_not_now(item)) != "":
                raise AnnotationError(barred)
            answered = item.status in ("answered", "skipped")
            if answered and item.status != said.seen:
                return {
                    "kept": False,
                    "agreed": any(_same(said, each) for each in others),
                    "conflict": _words(others, who, item.status),
                    **self._outcome(item.sha256, who),
                }
            self._keep(self._answering(who), said)
            return {"kept": True, **self._outcome(item.sha256, who)}

    def undo(self, undone: _Undone) -> dict[str, Any]:
        """Take an answer back: the named picture's, else this person's last."""
        who = undone.annotator.strip() or default_annotator(self._site)
        with self._lock:
            last = None if undone.sha256 else self._answers.last_of(who)
            sha256 = undone.sha256 or (last.sha256 if last else None)
            if sha256 is None:
                raise AnnotationError(f"{who} has given no answer that could be taken back.")
            self._answering(who).undo(sha256)
            return self._outcome(sha256, who)

    @staticmethod
    def _keep(answering: Answering, said: _Said) -> None:
        if said.skip:
            answering.skip(said.sha256)
        elif said.boxes is not None:
            answering.boxes(said.sha256, said.boxes)
        elif said.label is not None:
            answering.label(said.sha256, said.label)
        else:
            raise AnnotationError("that is no answer: expected a label, boxes or skip.")

    def _outcome(self, sha256: str, who: str) -> dict[str, Any]:
        queue = self._site.project.review
        return {
            "item": self.shown(queue.get(sha256), who),
            "counts": queue.counts(),
            "can_undo": self._answers.last_of(who) is not None,
        }

    def _answering(self, who: str) -> Answering:
        project, model = self._site.project, self._model()
        return Answering(project.review, project.annotations, model.task, model.classes, who)

    def _model(self) -> AskedModel:
        model = asked_model(self._site)
        if model is None:
            raise AnnotationError(
                "there is no model yet, whose classes an answer could be. 'pixloop run' trains one."
            )
        return model


def _words(others: Sequence[Annotation], who: str, status: Status) -> str:
    if not others:
        return f"Meanwhile this picture was {status} elsewhere."
    last = others[-1]
    by = "you" if last.annotator == who else last.annotator or "somebody"
    return f"Meanwhile {by} answered: {said_in_words(last)}."


def _same(said: _Said, other: Annotation) -> bool:
    if said.skip or other.skipped:
        return said.skip and other.skipped
    return said.label == other.label and said.boxes == other.boxes


def _parse(kind: type[_M], body: bytes) -> _M:
    try:
        return kind.model_validate_json(body)
    except ValidationError as e:
        first = e.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise HTTPException(400, f"That is no answer: {where} {first['msg']}") from e


async def _read(request: Request) -> bytes:
    kind = request.headers.get("content-type", "").partition(";")[0].strip()
    if kind != "application/json":
        raise HTTPException(415, "An answer is application/json.")
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY_BYTES:
            raise HTTPException(413, f"An answer has at most {MAX_BODY_BYTES:,} bytes.")
    return bytes(body)
