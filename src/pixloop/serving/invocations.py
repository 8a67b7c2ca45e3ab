"""``POST /invocations``: from a request's first byte to its answer, with bounds on everything.

This is the path that every picture takes, so it speaks ASGI itself. What a client can do to a
server is bounded here: how many requests wait, how large a body is and all of them together, how
slowly one may come, how long a request may wait, and how often who was refused is refused again.
"""

import asyncio
import logging
import random
import re
import time
from collections.abc import MutableMapping, Sequence
from functools import partial
from typing import Any, Never

from anyio import CapacityLimiter, to_thread
from starlette.types import Receive, Scope, Send

from pixloop.config import ServingConfig
from pixloop.errors import ImageTooLarge
from pixloop.serving.batching import Batcher, Full
from pixloop.serving.bodies import Bodies, Gone, NoRoom, drain
from pixloop.serving.codec import PICTURE_TYPES, Request, decode_request
from pixloop.serving.engines import usable_cores
from pixloop.serving.jobs import BadPicture, Expired, Job, Slot
from pixloop.serving.observing.observation import Exchange, Observer
from pixloop.serving.problems import (
    PICTURE_TOO_LARGE,
    PROBLEM_MEDIA_TYPE,
    UNREADABLE_PICTURE,
    RequestProblem,
    encode_problem,
)

#: What a refused client is told to wait. Who asks again sooner, on the same connection, is
#: refused again only when that time is over: clients that try at once would otherwise take the
#: cores from those who are being answered.
RETRY_AFTER_S = 1
#: Most requests are answered sooner, and need nobody to watch whether their client goes.
_WATCH_AFTER_S = 0.25
#: Connections whose last refusal is remembered.
_REMEMBERED = 10_000
_REQUEST_ID = re.compile(r"[\w.:=/+-]{1,128}", re.ASCII)
_GONE = 499  # nginx's number for a client that has gone

log = logging.getLogger("pixloop.serving")


class Invocations:
    """Answers ``POST`` requests with pictures."""

    def __init__(
        self, batcher: Batcher, settings: ServingConfig, observers: Sequence[Observer] = ()
    ) -> None:
        """Answer with what a batcher computes.

        Args:
            batcher: its workers.
            settings: the limits.
            observers: are told of every request once it was answered.
        """
        self._batcher, self._settings, self._observers = batcher, settings, observers
        self._parsing = CapacityLimiter(usable_cores())
        self._bodies = Bodies(settings.max_body_bytes, settings.max_waiting_bytes)
        self._in_flight = 0
        self._refused: dict[Any, float] = {}

    @property
    def in_flight(self) -> int:
        """Requests that are not answered yet."""
        return self._in_flight

    @property
    def held_bytes(self) -> int:
        """Bytes of the bodies that are in memory."""
        return self._bodies.held_bytes

    async def answer(self, scope: Scope, receive: Receive, send: Send, slot: Slot) -> None:
        """Answer one request with the model of a slot."""
        started = time.perf_counter()
        headers = dict(scope["headers"])
        exchange = Exchange(
            _request_id(headers),
            slot.current.name,
            time.time(),
            headers.get(b"content-type", b"").decode("latin-1"),
            traceparent=headers.get(b"traceparent", b"").decode("latin-1"),
        )
        self._in_flight += 1
        try:
            await self._answer(scope, receive, slot, exchange, headers)
        except RequestProblem as e:
            exchange.status, exchange.answer = e.status, encode_problem(e)
            exchange.answer_type = PROBLEM_MEDIA_TYPE
        except Gone:
            exchange.status = _GONE
        except (
            asyncio.CancelledError
        ):  # by the server, whose time to stop is over; nobody else asks
            problem = RequestProblem(503, "The server is stopping. Try again in a moment.")
            exchange.status, exchange.answer = 503, encode_problem(problem)
            exchange.answer_type = PROBLEM_MEDIA_TYPE
        except Exception:
            log.exception("the request failed", extra={"request_id": exchange.request_id})
            problem = RequestProblem(500, "The server failed on this request; its log says how.")
            exchange.status, exchange.answer = 500, encode_problem(problem)
            exchange.answer_type = PROBLEM_MEDIA_TYPE
        finally:
            self._in_flight -= 1
            self._bodies.release(exchange.body)
        try:
            if exchange.status != _GONE:
                await _send(send, exchange)
        finally:
            exchange.total_s = time.perf_counter() - started
            for observer in self._observers:
                observer(exchange)

    async def _answer(
        self,
        scope: Scope,
        receive: Receive,
        slot: Slot,
        exchange: Exchange,
        headers: MutableMapping[bytes, bytes],
    ) -> None:
        if self._batcher.full:
            await drain(receive)  # first: what is read here takes no memory
            await self._hold(scope)
            # Whether there is room by now is for its next request: one that is accepted should not
            # have waited before it was.
            self._refuse(scope, "Too many requests are waiting.")
        coding = headers.get(b"content-encoding", b"identity").decode("latin-1")
        if coding.lower() != "identity":
            detail = f"Content-Encoding {coding!r} is not read here; send it plain."
            raise RequestProblem(415, detail)
        deadline = time.perf_counter() + _patience(headers, self._settings.deadline_s)
        try:
            exchange.body = await self._bodies.read(receive)
        except NoRoom:
            await self._hold(scope)
            self._refuse(scope, "The requests that wait are too large together.")
        request = await self._parse(exchange)
        loop = asyncio.get_running_loop()
        job = Job(slot, request, deadline, loop, loop.create_future())
        try:
            self._batcher.submit(job)
        except Full:
            self._refuse(scope, "Too many requests are waiting.")
        await self._wait(job, receive)
        exchange.batch = job.batch
        exchange.queue_s = job.taken - job.submitted if job.taken else 0.0
        exchange.work_s = job.finished - job.taken if job.taken else 0.0
        if job.version is not None:
            exchange.model = job.version.name
        if job.error is not None:
            raise _problem(job.error, request)
        exchange.predictions = job.answers  # type: ignore[assignment]
        exchange.status, exchange.answer, exchange.answer_type = 200, job.body, job.media_type

    async def _parse(self, exchange: Exchange) -> Request:
        media_type = exchange.content_type.partition(";")[0].strip().lower()
        parse = partial(decode_request, exchange.body, exchange.content_type)
        if not media_type or media_type in PICTURE_TYPES:
            return parse()  # there is nothing to do
        return await to_thread.run_sync(parse, limiter=self._parsing)

    async def _wait(self, job: Job, receive: Receive) -> None:
        """Until the job is done, or its client has gone, or has waited longer than it may."""
        loop = asyncio.get_running_loop()
        watches: list[asyncio.Task[None]] = []
        watch = loop.call_later(
            _WATCH_AFTER_S, lambda: watches.append(loop.create_task(_watch(job, receive)))
        )
        try:
            await job.future
        except Gone:
            self._batcher.abandon(job)
            raise
        finally:
            watch.cancel()
            for task in watches:
                task.cancel()

    async def _hold(self, scope: Scope) -> None:
        """Let who was just told to wait, and did not, wait until that time is over."""
        refused = self._refused.get(scope.get("client"))
        if refused is not None:
            await asyncio.sleep(refused + RETRY_AFTER_S - time.monotonic())

    def _refuse(self, scope: Scope, why: str) -> Never:
        """Say 503.

        Raises:
            RequestProblem: always.
        """
        client = scope.get("client")
        if client is not None:
            if len(self._refused) >= _REMEMBERED:
                self._refused.clear()
            self._refused[client] = time.monotonic()
        raise RequestProblem(503, f"{why} Try again in a moment.")


async def _watch(job: Job, receive: Receive) -> None:
    """Let a job's request know when its client goes."""
    while (await receive())["type"] != "http.disconnect":
        pass
    if not job.future.done():
        job.future.set_exception(Gone())


async def _send(send: Send, exchange: Exchange) -> None:
    headers = [
        (b"content-type", exchange.answer_type.encode()),
        (b"content-length", b"%d" % len(exchange.answer)),
        (b"x-request-id", exchange.request_id.encode()),
    ]
    if exchange.status == 503:
        headers.append((b"retry-after", b"%d" % RETRY_AFTER_S))
    await send({"type": "http.response.start", "status": exchange.status, "headers": headers})
    await send({"type": "http.response.body", "body": exchange.answer})


def _problem(error: Exception, request: Request) -> Exception:
    """What a job's error is to its client; what is none of its business stays as it is."""
    if isinstance(error, BadPicture):
        too_large = isinstance(error.reason, ImageTooLarge)
        place = request.places[error.index]
        return RequestProblem(
            413 if too_large else 422,
            f"The picture cannot be read: {error.reason}.",
            PICTURE_TOO_LARGE if too_large else UNREADABLE_PICTURE,
            place.pointer,
            place.line,
        )
    if isinstance(error, Expired):
        return RequestProblem(503, "The request waited longer than it may. Try again in a moment.")
    return error


def _request_id(headers: MutableMapping[bytes, bytes]) -> str:
    for name in (b"x-request-id", b"x-amzn-requestid"):
        given = headers.get(name, b"").decode("latin-1")
        if _REQUEST_ID.fullmatch(given):
            return given
    return f"{random.getrandbits(128):032x}"  # it has to be new, not secret


def _patience(headers: MutableMapping[bytes, bytes], most_s: float) -> float:
    """How long a request may wait, in seconds."""
    given = headers.get(b"x-timeout-ms")
    if given is None:
        return most_s
    if not given.isdigit() or len(given) > 9:
        detail = f"X-Timeout-Ms is {given[:20].decode('latin-1')!r}, not a number of milliseconds."
        raise RequestProblem(400, detail)
    return min(most_s, int(given) / 1000)
