"""Bodies that come in parts, and who makes room for whom."""

import asyncio
import sys
from collections.abc import MutableMapping
from types import SimpleNamespace
from typing import Any

import pytest

from pixloop.serving import bodies
from pixloop.serving.bodies import Bodies, NoRoom

Message = MutableMapping[str, Any]


def part(body: bytes, more: bool = False) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


def test_who_is_slow_for_long_gives_its_memory_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    # Not the module's own clock, which the event loop reads as well.
    monkeypatch.setattr(bodies, "time", SimpleNamespace(monotonic=lambda: now))
    held, chunk = Bodies(most=100, together=150), bytes(80)
    references = sys.getrefcount(chunk)

    async def whole() -> Message:
        return part(bytes(90))

    async def ask() -> None:
        nonlocal now
        parts: asyncio.Queue[Message] = asyncio.Queue()
        parts.put_nowait(part(chunk, more=True))
        slow = asyncio.create_task(held.read(parts.get))
        await asyncio.sleep(0.01)
        assert held.held_bytes == 80
        now += 0.5  # slow, but it has only begun
        with pytest.raises(NoRoom):
            await held.read(whole)
        now += 1.0
        body = await held.read(whole)
        assert len(body) == held.held_bytes == 90
        assert sys.getrefcount(chunk) == references  # before its sender has said another word
        parts.put_nowait(part(bytes(10)))
        with pytest.raises(NoRoom):
            await slow
        held.release(body)
        assert held.held_bytes == 0

    asyncio.run(ask())
