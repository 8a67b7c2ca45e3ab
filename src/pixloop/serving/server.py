"""Serving one bundle over HTTP, until told to stop."""

import os
import signal
import socket
import threading
from collections import deque
from collections.abc import Callable
from contextlib import nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn
from starlette.types import ASGIApp

from pixloop.bundle import Bundle
from pixloop.config import ServingConfig
from pixloop.errors import ServingError
from pixloop.serving.app import App
from pixloop.serving.engines import EngineSettings, usable_cores
from pixloop.serving.jobs import Version
from pixloop.serving.memory import give_back_large_blocks
from pixloop.serving.models.following import Find, Follower
from pixloop.serving.models.served import Outcome, Served
from pixloop.serving.observing import logs
from pixloop.serving.observing.observers import Observers, observing
from pixloop.serving.origin import OpenTo
from pixloop.serving.predictor import Predictor, choose_graph, open_predictor
from pixloop.serving.protocol import BoundedProtocol
from pixloop.serving.tuning import tune

if TYPE_CHECKING:
    from pixloop.serving.models.multi_model import MultiModelApp

#: How long requests may take to finish once the server was told to stop.
DRAIN_S = 24
#: Versions whose numbers are at ``/metrics``: the one that serves, and the one that did before.
_COUNTED_VERSIONS = 2


def serve(
    bundle_path: Path,
    model_name: str | None,
    settings: ServingConfig,
    ready: Callable[[str], None] | None = None,
    follow: Find | None = None,
    captures: Path = Path("captures"),
    challenger: Find | None = None,
) -> None:
    """Serve a bundle until SIGTERM or Ctrl-C; requests at work are still answered.

    Args:
        bundle_path: a bundle's folder, or its model.tar.gz.
        model_name: what answers give as ``model``; without one, the bundle's own name.
        settings: where to listen, and the limits.
        ready: called with the server's address once it answers. Without one, a line on standard
            output says so.
        follow: gives the bundle to serve from now on; asked every ``settings.follow_s`` seconds.
        captures: the folder for captured requests, where the settings name none.
        challenger: gives the version that answers what is captured as well, unseen.

    Raises:
        BundleError: there is no bundle, or its graph is not the one that was exported.
        ServingError: the address or the port cannot be had, or what the settings ask for is not
            installed.
    """
    give_back_large_blocks(usable_cores())
    with logs.configured(settings.log_format), _listen(settings.host, settings.port) as listener:
        bundle = Bundle.open(bundle_path)
        name = model_name or bundle.manifest.name
        with observing(name, settings, captures, challenger) as observers:
            served, settings = _open(bundle, name, settings, observers)
            app = App(served, settings, observers.each, observers.metrics.routes())
            _watch(app, observers)
            announce = ready or (lambda url: print(f"serving {name} on {url}", flush=True))
            with Follower(served, follow, settings.follow_s) if follow else nullcontext():
                _run(_opened(app, settings), listener, announce)
            app.close()
            served.close()


def serve_models(
    folder: Path,
    settings: ServingConfig,
    ready: Callable[[str], None] | None = None,
    captures: Path = Path("captures"),
) -> None:
    """Serve what is loaded over HTTP, by SageMaker's multi-model API; else as ``serve``.

    Args:
        folder: every bundle that may be loaded lies in it.
        settings: where to listen, and the limits.
        ready: called with the server's address once it answers. Without one, a line on standard
            output says so.
        captures: the folder for captured requests, where the settings name none.

    Raises:
        ServingError: the address or the port cannot be had, or what the settings ask for is not
            installed.
    """
    # Few servers are asked for it.
    from pixloop.serving.models.multi_model import MultiModelApp

    def tell(version: str, outcome: Outcome) -> None:
        observers.tell_swap(version, outcome)
        for current in (app.models.get(name).served.current for name in app.models.names()):
            if outcome == "taken" and current.name == version:
                graph = choose_graph(current.predictor.manifest, settings.graph)
                observers.introduce(current, graph)
        if outcome == "unloaded":
            observers.metrics.forget(version)

    give_back_large_blocks(usable_cores())
    with (
        logs.configured(settings.log_format),
        _listen(settings.host, settings.port) as listener,
        observing("models", settings, captures) as observers,
    ):
        app = MultiModelApp(
            folder,
            settings,
            partial(open_predictor, graph=settings.graph),
            observers.each,
            observers.metrics.routes(),
            tell,
        )
        _watch(app, observers)
        announce = ready or (lambda url: print(f"serving models on {url}", flush=True))
        _run(_opened(app, settings), listener, announce)
        app.close()


def _watch(app: "App | MultiModelApp", observers: Observers) -> None:
    observers.metrics.watch(
        waiting=lambda: app.batcher.waiting,
        in_flight=lambda: app.invocations.in_flight,
        oldest_waiting_s=app.batcher.oldest_s,
    )
    if observers.shadow is not None:
        observers.shadow.start(lambda: app.batcher.waiting > 0)


def _open(
    bundle: Bundle, name: str, settings: ServingConfig, observers: Observers
) -> tuple[Served, ServingConfig]:
    """The model, ready to answer, and the settings with what was measured about it."""
    tuning = tune(bundle, choose_graph(bundle.manifest, settings.graph), settings)
    engine = EngineSettings(tuning.threads, tuning.streams)
    introduced: deque[str] = deque()

    def open_model(bundle: Bundle) -> Predictor:
        return open_predictor(bundle, settings.graph, engine)

    def tell(version: str, outcome: Outcome) -> None:
        observers.tell_swap(version, outcome)
        if outcome == "taken":
            introduce(served.current)

    def introduce(version: Version) -> None:
        manifest = version.predictor.manifest
        observers.introduce(version, choose_graph(manifest, settings.graph))
        introduced.append(version.name)
        if len(introduced) > _COUNTED_VERSIONS:
            observers.metrics.forget(introduced.popleft())

    predictor = open_model(bundle)
    predictor.warm_up()
    served = Served(Version(name, predictor), open_model, tell)
    introduce(served.current)
    measured = {"streams": tuning.streams, "max_batch": tuning.max_batch}
    return served, settings.model_copy(update=measured)


def _opened(app: ASGIApp, settings: ServingConfig) -> ASGIApp:
    """The application, for the pages of ``settings.allow_origin`` as well, if there is one."""
    return OpenTo(app, settings.allow_origin) if settings.allow_origin else app


def _run(app: ASGIApp, listener: socket.socket, announce: Callable[[str], None]) -> None:
    """Answer until told to stop."""
    host, port = listener.getsockname()[:2]
    address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    config = uvicorn.Config(
        app,
        http=BoundedProtocol,
        ws="none",
        loop="asyncio",
        lifespan="off",
        log_config=None,
        log_level="error",  # it warns of every client that speaks no HTTP
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=DRAIN_S,
    )
    server = _Server(config, lambda: announce(address))
    _stay_quiet_on_signals(server)
    # After a Ctrl-C, uvicorn stops in order and then raises it once more.
    with suppress(KeyboardInterrupt):
        server.run(sockets=[listener])
    if threading.current_thread() is threading.main_thread():
        # Python takes its own handlers away before it has ended; a second SIGTERM would kill it.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


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
    except (OSError, UnicodeError) as e:  # the latter for what cannot be a name
        reason = _reason(e)
        raise ServingError(
            f"cannot listen on {host}:{port}: {reason}. "
            "Choose another with --port (0 takes a free one) or --host."
        ) from e


def _reason(error: OSError | UnicodeError) -> str:
    if isinstance(error, UnicodeError):
        return "it is no name of a host"
    # The resolver's error numbers are not the system's, and come with words of their own.
    named = isinstance(error, socket.gaierror)
    return str(error.strerror) if named else os.strerror(error.errno or 0)


def _stay_quiet_on_signals(server: uvicorn.Server) -> None:
    """Let a drained server end with exit code 0, and hear a signal that comes before it listens.

    uvicorn stops in order on a signal, then raises it again for whoever handled it before.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda *_: setattr(server, "should_exit", True))
