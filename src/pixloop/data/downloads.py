"""Downloading one file over https, going on after a break, also one of this machine."""

import ipaddress
import json
import time
from pathlib import Path

import httpx

from pixloop.errors import SourceError
from pixloop.files import write_json
from pixloop.progress import progress

# Waits after attempts that brought nothing; after one that brought something they start anew.
_WAITS_S = (0.5, 1.0, 2.0, 4.0)
_TIMEOUT_S = 30.0
_RETRIED = (408, 425, 429, 500, 502, 503, 504)
_MEGABYTE = 1_000_000


class _TryAgainError(Exception):
    """An attempt failed in a way that another may not."""


def download(url: str, target: Path) -> None:
    """Download ``url`` to ``target``.

    The content grows in ``target`` with ``.part`` appended; a later call goes on there if the
    server says that its file is still the same.

    Raises:
        SourceError: the address is not https, the server refuses, or several attempts broke.
    """
    check_address(url)
    part = target.with_name(target.name + ".part")
    part.parent.mkdir(parents=True, exist_ok=True)
    fruitless, cause = 0, ""
    with httpx.Client(
        follow_redirects=True,
        timeout=_TIMEOUT_S,
        headers={"Accept-Encoding": "identity"},
        # A redirect may not lead away from https either.
        event_hooks={"request": [lambda request: check_address(str(request.url))]},
    ) as client:
        while fruitless <= len(_WAITS_S):
            before = _size(part)
            try:
                _attempt(client, url, part)
                part.replace(target)
                _validator_file(part).unlink(missing_ok=True)
                return
            except (_TryAgainError, httpx.TransportError) as e:
                cause = str(e) or type(e).__name__
            except httpx.HTTPError as e:
                raise SourceError(f"{shown(url)} cannot be downloaded: {e}") from e
            fruitless = 0 if _size(part) > before else fruitless + 1
            time.sleep(_WAITS_S[min(fruitless, len(_WAITS_S)) - 1] if fruitless else 0)
    raise SourceError(
        f"{shown(url)} cannot be downloaded: {cause}. What has come is kept; run again to go on."
    )


def check_address(url: str) -> None:
    """Refuse what is not https; plain http is for this machine alone.

    Raises:
        SourceError: it is something else.
    """
    parsed = httpx.URL(url)
    if parsed.scheme == "https" or (parsed.scheme == "http" and _is_loopback(parsed.host)):
        return
    raise SourceError(f"{shown(url)}: only https:// is downloaded, so that nobody changes it.")


def shown(url: str) -> str:
    """An address without what may be secret in it: user, password and query.

    >>> shown("https://me:pass@host/a.zip?token=1")
    'https://host/a.zip'
    """
    parsed = httpx.URL(url)
    return str(parsed.copy_with(username=None, password=None, query=None, fragment=None))


def _attempt(client: httpx.Client, url: str, part: Path) -> None:
    start, validator = _size(part), _read_validator(part)
    headers = {}
    if start and validator:
        headers = {"Range": f"bytes={start}-", "If-Range": validator}
    with client.stream("GET", url, headers=headers) as response:
        if response.status_code == 416:
            part.unlink()
            raise _TryAgainError("the file has changed on the server")
        if response.status_code in _RETRIED:
            raise _TryAgainError(f"the server answered {response.status_code}")
        if response.status_code not in (200, 206):
            raise SourceError(f"{shown(url)}: the server answered {response.status_code}.")
        resumed = response.status_code == 206
        if resumed and not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            part.unlink()
            raise _TryAgainError("the server sent another part than it was asked for")
        write_json(_validator_file(part), _validator(response))
        _receive(response, part, start if resumed else 0)


def _receive(response: httpx.Response, part: Path, start: int) -> None:
    length = response.headers.get("Content-Length", "")
    total = (start + int(length)) // _MEGABYTE if length.isdigit() else None
    name = Path(response.url.path).name or response.url.host
    with (
        progress(f"downloading {name} (MB)", total) as advance,
        part.open("ab" if start else "wb") as file,
    ):
        advance(start // _MEGABYTE)
        received = start
        # As it comes: blocks of a fixed size would lose the last one to a break.
        for block in response.iter_raw():
            file.write(block)
            advance((received + len(block)) // _MEGABYTE - received // _MEGABYTE)
            received += len(block)
    if length.isdigit() and received != start + int(length):
        raise _TryAgainError(f"{received} of {start + int(length)} bytes came")


def _validator(response: httpx.Response) -> str | None:
    """What a range request may be tied to: a strong ETag, else the time of the last change."""
    etag: str = response.headers.get("ETag", "")
    if etag and not etag.startswith("W/"):
        return etag
    changed: str | None = response.headers.get("Last-Modified")
    return changed


def _validator_file(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _read_validator(part: Path) -> str | None:
    try:
        validator = json.loads(_validator_file(part).read_text())
    except (OSError, ValueError):
        return None
    return validator if isinstance(validator, str) else None


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
