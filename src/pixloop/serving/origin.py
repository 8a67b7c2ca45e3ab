"""Letting the pages of one other origin ask this server, and read what it answers.

Browsers keep what a page of another origin asked from that page, unless the answer names its
origin (CORS, of the Fetch standard). Here one may be named, never all. It holds back browsers, not
programs: who can reach the server can ask it.
"""

import re
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: What asking takes. What changes a server (``/models``) is for no other page.
_SHARED = re.compile(r"(?:/models/[^/]+)?/(?:invocations|ping)|/models/[^/]+/invoke")
#: How long a browser remembers that it may ask, in seconds.
_REMEMBERED_S = 600
_VARY = (b"vary", b"Origin")


class OpenTo:
    """Wraps an application. Without an origin there is no need of it, and nothing to pay for it.

    Args:
        app: what answers.
        origin: whose pages may ask, as browsers write it: ``https://page.example``.
    """

    def __init__(self, app: ASGIApp, origin: str) -> None:
        self._app, self._origin = app, origin.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or not _SHARED.fullmatch(scope["path"]):
            await self._app(scope, receive, send)
            return
        headers: dict[bytes, bytes] = dict(scope["headers"])
        added = [_VARY]
        if headers.get(b"origin") == self._origin:
            added.append((b"access-control-allow-origin", self._origin))
            if scope["method"] == "OPTIONS" and b"access-control-request-method" in headers:
                await _answer_preflight(send, added)
                return

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *added]}
            await send(message)

        await self._app(scope, receive, sending)


async def _answer_preflight(send: Send, added: list[tuple[bytes, bytes]]) -> None:
    """Say what the page may send, before it does."""
    headers: list[tuple[bytes, Any]] = [
        *added,
        (b"access-control-allow-methods", b"GET, POST"),
        (b"access-control-allow-headers", b"content-type"),
        (b"access-control-max-age", b"%d" % _REMEMBERED_S),
    ]
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
