"""HTTP/1.1 connections with bounds on what comes before an application hears of a request.

uvicorn waits for ever for a request's head, keeps whatever a client calls a header, and queues
whatever it pipelines. Its own answers are plain text; these are problem documents.
"""

import asyncio
from http import HTTPStatus
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from pixloop.serving.problems import PROBLEM_MEDIA_TYPE, RequestProblem, encode_problem

#: A request's head must have come by then, and a connection must not be idle for longer.
HEAD_TIMEOUT_S = 20.0
#: Of a head, of what follows a chunked body, and of whatever else is no body. Usual: 1 kB.
MAX_HEAD_BYTES = 65_536
#: Requests that may come before those before them are answered.
MAX_PIPELINED = 16
#: A client that reads nothing of its answer for so long is let go.
SEND_TIMEOUT_S = 20.0


class _JoinedWrites:
    """A transport that sends what is written together together.

    uvicorn writes an answer's head and its body one after the other. Each would be a call of the
    system's and a packet of its own, and after each this thread would have to wait for Python's
    lock, which the workers hold now and then.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._written: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send it with what else is written before the event loop's next turn."""
        if not self._written:
            self._loop.call_soon(self._flush)
        self._written.append(data)

    def close(self) -> None:
        """Send what was written, then close."""
        self._flush()
        self._transport.close()

    def get_write_buffer_size(self) -> int:
        """Bytes that were written and not yet sent."""
        return self._transport.get_write_buffer_size() + sum(map(len, self._written))

    def _flush(self) -> None:
        if self._written and not self._transport.is_closing():
            self._transport.write(b"".join(self._written))
        self._written.clear()


class BoundedProtocol(HttpToolsProtocol):
    """A connection that can be neither kept open nor filled for nothing."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._deadline: asyncio.TimerHandle | None = None
        self._sending: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._in_head = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a first request, not for ever."""
        super().connection_made(cast(asyncio.Transport, _JoinedWrites(transport, self.loop)))
        self._set_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget what is left to do."""
        self._clear_deadline()
        self._unset_keepalive_if_required()
        if self._sending is not None:
            self._sending.cancel()
        self.pipeline.clear()  # nobody waits for their answers
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read, within the bounds."""
        self._head_bytes += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refuse(431, f"The request's head is larger than {MAX_HEAD_BYTES:,} bytes.")
        elif self._is_idle:
            self._set_deadline()

    def on_message_begin(self) -> None:
        """Begin a request."""
        if len(self.pipeline) >= MAX_PIPELINED:
            raise ValueError("too many requests at once")  # the parser stops, and the connection
        self._head_bytes, self._in_head = 0, True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Hand a request to the application."""
        self._in_head = False
        self._clear_deadline()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a part of its body."""
        self._head_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End it."""
        self._head_bytes = 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP; uvicorn calls it."""
        self._refuse(400, "This is not HTTP/1.1.")

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection that is not used."""
        super().timeout_keep_alive_handler()
        self._watch_sending()

    def on_response_complete(self) -> None:
        """Go on with the next request."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._watch_sending()

    def pause_writing(self) -> None:
        """Wait until the client has read more."""
        super().pause_writing()
        self._watch_sending()

    @property
    def _is_idle(self) -> bool:
        """Whether no request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def _set_deadline(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(HEAD_TIMEOUT_S, self._let_go)

    def _clear_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _let_go(self) -> None:
        self._deadline = None
        if self._in_head:
            self._refuse(408, f"No request has come within {HEAD_TIMEOUT_S:g} seconds.")
        else:
            self.transport.close()

    def _refuse(self, status: int, detail: str) -> None:
        """Answer, where this is what the client waits for next, and close."""
        if not self.transport.is_closing() and self._awaits_answer:
            body = encode_problem(RequestProblem(status, detail))
            head = (
                f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n"
                f"content-type: {PROBLEM_MEDIA_TYPE}\r\n"
                f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
            )
            self.transport.write(head.encode() + body)
        self.transport.close()
        self._watch_sending()

    @property
    def _awaits_answer(self) -> bool:
        cycle = self.cycle
        if cycle is None or (cycle.response_complete and not cycle.more_body):
            return True
        # A request whose body turns out to be no HTTP, but only if it is the first in line.
        return cycle.more_body and not cycle.response_started and not self.pipeline

    def _watch_sending(self) -> None:
        """Break the connection once the client has read nothing of its answer for a while.

        Closing alone waits for ever until all of it was read.
        """
        left = self.transport.get_write_buffer_size()
        if left and self._sending is None:
            self._sending = self.loop.call_later(SEND_TIMEOUT_S, self._break_if_stuck, left)

    def _break_if_stuck(self, before: int) -> None:
        self._sending = None
        if self.transport.get_write_buffer_size() >= before:
            self.transport.abort()
        else:
            self._watch_sending()
