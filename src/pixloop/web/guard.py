"""Who may ask, and what: the first thing that every request meets.

A page of another site must not read these pages, nor make them do anything. So a request must name
the server by an address of its own (against DNS rebinding); what changes something must come from
one of its pages, by the browser's word (``Origin``) and by a secret that only those pages hold;
pages may not be framed, and load nothing from elsewhere. Where the server listens to more than this
machine, a token must come along, once in the address and from then on in a cookie.
"""

import secrets
from collections.abc import Iterable
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qsl, urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: A page runs the scripts and styles of this server, shows its pictures and those that it was
#: given, and speaks to this server alone.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; font-src 'self'; manifest-src 'self'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
CSRF_HEADER = "X-CSRF-Token"
COOKIE, TOKEN = "pixloop_token", "token"
_SAFE = ("GET", "HEAD")
_MOST_PATH = 1000


class Guard:
    """Wraps the application.

    Args:
        app: what is guarded.
        csrf: the secret of its pages.
        hosts: names by which the server may be asked; None for any, where a token is needed.
        token: what must come along, or None.
        max_bytes: of a request's body.
    """

    def __init__(
        self,
        app: ASGIApp,
        csrf: str,
        hosts: Iterable[str] | None,
        token: str | None,
        max_bytes: int,
    ) -> None:
        self._app, self._csrf, self._token, self._max = app, csrf, token, max_bytes
        self._hosts = None if hosts is None else frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refused = self._refuse(scope, headers) or self._ask_for_token(scope, headers)
        if refused is not None:
            await refused(scope, receive, _with_headers(send))
            return
        await self._app(scope, _Bounded(receive, self._max), _with_headers(send))

    def _refuse(self, scope: Scope, headers: Headers) -> Response | None:
        host = headers.get("host", "")
        if self._hosts is not None and _name(host) not in self._hosts:
            return _say(403, "This server is asked by its own address only.")
        if len(scope["path"]) > _MOST_PATH:
            return _say(414, "No address here is so long.")
        if _is_embedded(headers):
            return _say(403, "Other sites may link to these pages, and put them into none.")
        if scope["method"] in _SAFE:
            return None
        if headers.get("origin") != f"{scope['scheme']}://{host}":
            return _say(403, "Only this server's own pages may change anything.")
        if not _same(headers.get(CSRF_HEADER, ""), self._csrf):
            return _say(403, "This page is of an earlier start of the server: load it again.")
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length) > self._max:
            return _say(413, f"That is {int(length):,} bytes; at most {self._max:,} are taken.")
        return None

    def _ask_for_token(self, scope: Scope, headers: Headers) -> Response | None:
        if self._token is None:
            return None
        asked = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = [value for key, value in asked if key == TOKEN]
        knows = _same(_cookie(headers), self._token)
        if knows and not given:
            return None
        if scope["method"] not in _SAFE or not (knows or (given and _same(given[0], self._token))):
            return _say(401, "Open the address that 'pixloop web' printed: it holds the token.")
        # The token goes into a cookie and out of the address, which ends up in histories.
        rest = urlencode([(key, value) for key, value in asked if key != TOKEN])
        answer = RedirectResponse(f"/{scope['path'].lstrip('/')}" + (f"?{rest}" if rest else ""))
        answer.set_cookie(
            COOKIE, self._token, httponly=True, samesite="strict", secure=scope["scheme"] == "https"
        )
        return answer


class TooLarge(Exception):
    """A body is larger than it said, or than is taken."""


class _Bounded:
    """What is received, until it is too much."""

    def __init__(self, receive: Receive, most: int) -> None:
        self._receive, self._left = receive, most

    async def __call__(self) -> Message:
        message = await self._receive()
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            raise TooLarge
        return message


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return sending


def _is_embedded(headers: Headers) -> bool:
    """Whether another site's page asks for a part of its own; one may follow its links.

    It could not read the answer, but make the server work, and see whether it did. Browsers say it
    where they trust the connection: on this machine, and by TLS.
    """
    if headers.get("sec-fetch-site", "none") in ("same-origin", "none"):
        return False
    how = headers.get("sec-fetch-mode"), headers.get("sec-fetch-dest")
    return how != ("navigate", "document")


def _name(host: str) -> str:
    """Of ``Host``, without the port."""
    return host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() else host


def _cookie(headers: Headers) -> str:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found else ""


def _same(given: str, right: str) -> bool:
    return secrets.compare_digest(given.encode("utf-8", "replace"), right.encode())


def _say(status: int, text: str) -> Response:
    return PlainTextResponse(text + "\n", status)
