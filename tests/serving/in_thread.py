"""ASGI applications behind a real server, in a thread of the test's process."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any

import uvicorn

from pixloop.serving.server import _listen


@contextmanager
def serving(app: Any) -> Iterator[str]:
    """The address at which ``app`` answers."""
    with _listen("127.0.0.1", 0) as listener:
        config = uvicorn.Config(
            app, lifespan="off", log_level="critical", timeout_graceful_shutdown=1
        )
        server = uvicorn.Server(config)
        thread = Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()
