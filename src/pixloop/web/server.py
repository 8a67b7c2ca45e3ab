"""The process that serves the pages."""

import importlib
import ipaddress
import secrets
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import uvicorn

from pixloop.errors import ConfigError, PixloopError
from pixloop.web.app import LOCAL_NAMES, make_app
from pixloop.web.guard import TOKEN
from pixloop.web.monitoring import page as monitoring
from pixloop.web.site import Site

HOST, PORT = "127.0.0.1", 8765
_WARM_AFTER_S = 1.0


def serve_pages(
    folder: Path,
    ready: Callable[[str], None],
    host: str = HOST,
    port: int = PORT,
    overrides: Sequence[str] = (),
    path: str = "/",
    annotator: str = "",
) -> None:
    """Serve a project's pages until the process is told to stop.

    Args:
        folder: the project's.
        ready: is called with the address to open; it holds a token where others could ask too.
        host: the address to listen on. Any but this machine's own asks for a token.
        port: a free one, where it is 0.
        overrides: ``key=value``, as ``Project.open`` takes them.
        path: of the page that the address names.
        annotator: who answers on the page ``/review``; see ``Site``.

    Raises:
        ConfigError: there is no project, or the address cannot be had.
    """
    local = is_local(host)
    site = Site(folder, None if local else secrets.token_urlsafe(24), overrides, annotator)
    _ = site.project  # raises where there is none
    with _listen(host, port) as listener:
        config = uvicorn.Config(
            make_app(site, LOCAL_NAMES if local else None),
            log_level="warning",
            access_log=False,
            # Open pages listen for ever.
            timeout_graceful_shutdown=1,
        )
        threading.Thread(target=_warm, args=(site,), daemon=True).start()
        ready(_address(host, listener.getsockname()[1], path, site.token))
        uvicorn.Server(config).run(sockets=[listener])


def is_local(host: str) -> bool:
    """Whether only this machine reaches an address.

    >>> is_local("127.0.0.1"), is_local("localhost"), is_local("0.0.0.0")
    (True, True, False)
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as e:
        raise ConfigError(f"--host {host}: {e.strerror}. Leave it out for this machine.") from e
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(128)
    except OSError as e:
        listener.close()
        raise ConfigError(
            f"the pages cannot have {host}:{port}: {e.strerror}. Choose another port with --port; "
            "0 takes a free one."
        ) from e
    return listener


def _address(host: str, port: int, path: str, token: str | None) -> str:
    shown = f"[{host}]" if ":" in host and not host.startswith("[") else host
    return f"http://{shown}:{port}{path}" + (f"?{TOKEN}={token}" if token else "")


def _warm(site: Site) -> None:
    """Have ready what later pages would wait for."""
    # The first page is asked for at once, and should have the processor to itself.
    time.sleep(_WARM_AFTER_S)
    # pyarrow brings it along with the first column that becomes an array.
    importlib.import_module("pandas")
    with suppress(PixloopError):
        monitoring.warm(site)  # which asks for the versions first
