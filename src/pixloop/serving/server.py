"""Serving one bundle over HTTP, until told to stop."""

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import uvicorn

from pixloop.bundle import Bundle
from pixloop.config import ServingConfig
from pixloop.errors import ServingError
from pixloop.serving.app import build_app
from pixloop.serving.predictor import open_predictor

#: How long requests may take to finish once the server was told to stop.
DRAIN_S = 25


def serve(
    bundle_path: Path,
    model_name: str | None,
    settings: ServingConfig,
    ready: Callable[[str], None] | None = None,
) -> None:
    """Serve a bundle until SIGTERM or Ctrl-C; requests at work are still answered.

    Args:
        bundle_path: a bundle's folder, or its model.tar.gz.
        model_name: what answers give as ``model``; without one, the bundle's own name.
        settings: where to listen, and the limits.
        ready: called with the server's address once it answers. Without one, a line on standard
            output says so.

    Raises:
        BundleError: there is no bundle, or its graph is not the one that was exported.
        ServingError: the address or the port cannot be had.
    """
    with _listen(settings.host, settings.port) as listener:
        bundle = Bundle.open(bundle_path)
        name = model_name or bundle.manifest.name
        app = build_app(open_predictor(bundle), name, settings)
        host, port = listener.getsockname()[:2]
        address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        announce = ready or (lambda url: print(f"serving {name} on {url}", flush=True))
        config = uvicorn.Config(
            app,
            lifespan="off",
            http="httptools",
            loop="asyncio",
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=DRAIN_S,
        )
        _stay_quiet_on_signals()
        # After a Ctrl-C, uvicorn stops in order and then raises it once more.
        with contextlib.suppress(KeyboardInterrupt):
            _Server(config, lambda: announce(address)).run(sockets=[listener])


class _Server(uvicorn.Server):
    """A uvicorn server that says when it answers."""

    def __init__(self, config: uvicorn.Config, announce: Callable[[], None]) -> None:
        super().__init__(config)
        self._announce = announce

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._announce()


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket. Who connects before the model is loaded waits instead of failing."""
    try:
        # The first of a name's addresses, as 127.0.0.1 for localhost.
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.create_server(address, family=family, backlog=2048)
        # Accepted connections inherit it. asyncio sets it only for sockets that name their
        # protocol, which these do not; without it every answer waits 40 ms for an ACK.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener
    except OSError as e:
        # The resolver's error numbers are not the system's, and come with words of their own.
        reason = e.strerror if isinstance(e, socket.gaierror) else os.strerror(e.errno or 0)
        raise ServingError(
            f"cannot listen on {host}:{port}: {reason}. "
            "Choose another with --port (0 takes a free one) or --host."
        ) from e


def _stay_quiet_on_signals() -> None:
    """Let a drained server end with exit code 0.

    uvicorn stops in order on a signal, then raises it again for whoever handled it before.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda *_: None)
