"""Requests' bodies: bounded in size, in time, and in the memory of all of them together."""

import asyncio
import time
from collections.abc import MutableMapping
from typing import Any

from starlette.types import Receive

from pixloop.serving.problems import RequestProblem

#: A client that sends slower than this is let go; sooner than a server that stops lets go of all.
BODY_TIMEOUT_S = 20.0
#: Of a body that is refused, this much is still read: a client that is cut off while it sends
#: sees a broken connection instead of the reason.
_DRAINED_BYTES = 100_000_000
#: Where memory is short, a body that comes slower than this makes room for others. Otherwise a few
#: clients that send much and then stop would keep everybody out until their time is over.
_SLOW_BYTES_PER_S = 250_000
_GRACE_S = 1.0


class Gone(Exception):
    """The client has gone."""


class NoRoom(Exception):
    """The bodies that are held are too large together."""


class Bodies:
    """Reads bodies, and counts what they hold until their requests are answered.

    Attributes:
        held_bytes: of all of them together.
    """

    def __init__(self, most: int, together: int) -> None:
        """Hold nothing yet.

        Args:
            most: bytes of one body.
            together: bytes of all that are held.
        """
        self._most, self._together = most, together
        self.held_bytes = 0
        self._coming: set[_Coming] = set()

    async def read(self, receive: Receive) -> bytes:
        """A request's body. What it holds counts until it is released.

        Raises:
            RequestProblem: 413 where it is too large, 408 where it does not arrive.
            NoRoom: there is no room for it; it was read to its end.
            Gone: its client has gone.
        """
        body = _Coming()
        self._coming.add(body)
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                while self._add(body, await receive()):
                    pass
            if body.size > self._most:
                limit = f"{self._most:,} bytes"
                raise RequestProblem(413, f"The body is larger than {limit}. Send less at once.")
            if not body.fits:
                raise NoRoom
            self.held_bytes += body.size  # as the whole that it is now
            return b"".join(body.chunks)
        except TimeoutError as e:
            detail = f"The body did not arrive within {BODY_TIMEOUT_S:.0f} seconds."
            raise RequestProblem(408, detail) from e
        finally:
            self._coming.discard(body)
            self._give_up(body)

    def release(self, body: bytes) -> None:
        """Count a body that was read no longer."""
        self.held_bytes -= len(body)

    def _add(self, body: "_Coming", message: MutableMapping[str, Any]) -> bool:
        """Take a part; whether more is to come."""
        if message["type"] == "http.disconnect":
            raise Gone
        chunk = message.get("body", b"")
        body.size += len(chunk)
        # Of what once was too much nothing is kept, whatever room there is later.
        if body.fits and body.size <= self._most and self._has_room(len(chunk), body):
            body.chunks.append(chunk)
            body.held += len(chunk)
            self.held_bytes += len(chunk)
        else:
            self._give_up(body)
        return bool(message.get("more_body")) and body.size <= self._most + _DRAINED_BYTES

    def _has_room(self, size: int, body: "_Coming") -> bool:
        while self.held_bytes + size > self._together:
            slow = [each for each in self._coming if each is not body and each.is_slow()]
            if not slow:
                return False
            self._give_up(max(slow, key=lambda each: each.held))
        return True

    def _give_up(self, body: "_Coming") -> None:
        self.held_bytes -= body.held
        body.held, body.fits = 0, False
        body.chunks.clear()


class _Coming:
    """A body that is not complete."""

    __slots__ = ("begun", "chunks", "fits", "held", "size")

    def __init__(self) -> None:
        self.begun = time.monotonic()
        self.chunks: list[bytes] = []
        self.size = self.held = 0
        self.fits = True

    def is_slow(self) -> bool:
        """Whether it may be given up where memory is short."""
        age = time.monotonic() - self.begun
        return self.held > 0 and age > _GRACE_S and self.held < _SLOW_BYTES_PER_S * age


async def drain(receive: Receive) -> None:
    """Read a body that is not wanted, within the bounds."""
    size = 0
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            while size <= _DRAINED_BYTES:
                message = await receive()
                size += len(message.get("body", b""))
                if message["type"] == "http.disconnect" or not message.get("more_body"):
                    return
    except TimeoutError:
        return
