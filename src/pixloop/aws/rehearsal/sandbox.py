"""One process of a Lambda function, and the Runtime API it asks for its events.

What AWS calls an execution environment: AWS's own runtime client (``awslambdaric``) runs the
handler and speaks the documented Runtime API to a small server here. It answers one event at a
time; whoever wants more at once starts more of them.
"""

import contextlib
import json
import queue
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

#: Lambda gives a function this long to start; a heavy image on a busy laptop gets its own timeout.
_INIT_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Outcome:
    """How an invocation ended: what the function returned, or its error as Lambda words it.

    Attributes:
        payload: the JSON that the caller gets.
        failed: whether ``payload`` is an error.
    """

    payload: bytes
    failed: bool


class Sandbox:
    """A running function. Not for several threads at once, but for ``close``."""

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], folder: Path, log: Path
    ) -> None:
        """Start the process; it gets nothing of this process's environment.

        Args:
            command: what runs the handler, usually ``python -m awslambdaric HANDLER``.
            environment: all of the process's environment but ``AWS_LAMBDA_RUNTIME_API``.
            folder: the working directory.
            log: the file that standard output and error are appended to.
        """
        self.log = log
        self.start_ms: float | None = None  # from the process's start to its first question
        self._events: queue.Queue[tuple[str, bytes, str, float] | None] = queue.Queue()
        self._outcomes: queue.Queue[Outcome] = queue.Queue()
        self._asked, self._died = threading.Event(), threading.Event()
        self._init_error: bytes | None = None
        self._server = _RuntimeApi(self)
        with log.open("ab") as output:
            self._started = time.monotonic()
            self._process = subprocess.Popen(
                list(command),
                cwd=folder,
                env={**environment, "AWS_LAMBDA_RUNTIME_API": self._server.address},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return not self._died.is_set()

    def invoke(self, event: bytes, function_arn: str, timeout_s: float) -> Outcome:
        """The function's answer; a process that runs out of time is killed, as Lambda does it."""
        request = str(uuid.uuid4())
        if not self._asked.wait(max(_INIT_TIMEOUT_S, timeout_s)):
            self.close()
            return _error(request, "Sandbox.Timedout", "the function did not start in time")
        if not self.alive or self._init_error is not None:
            return self._death(request)
        self._events.put((request, event, function_arn, timeout_s))
        try:
            outcome = self._outcomes.get(timeout=timeout_s)
        except queue.Empty:
            self.close()
            return _error(
                request, "Sandbox.Timedout", f"Task timed out after {timeout_s:.2f} seconds"
            )
        return outcome if outcome is not _DIED else self._death(request)

    def close(self) -> None:
        """End the process and the server; safe to call again and from other threads."""
        self._process.kill()
        self._process.wait()
        self._watcher.join()
        self._events.put(None)
        self._server.close()

    def _watch(self) -> None:
        self._process.wait()
        self._died.set()
        self._outcomes.put(_DIED)
        self._asked.set()

    def _death(self, request: str) -> Outcome:
        if self._init_error is not None:
            return Outcome(self._init_error, failed=True)
        code = self._process.wait()
        how = f"signal: {-code}" if code < 0 else f"exit status {code}"
        if code == -9:
            how = "signal: killed"
        return _error(request, "Runtime.ExitError", f"Runtime exited with error: {how}")

    # What the process asks and says; called by the server's threads.

    def _next(self) -> tuple[str, bytes, str, float] | None:
        if self.start_ms is None:
            self.start_ms = (time.monotonic() - self._started) * 1000
        self._asked.set()
        return self._events.get()

    def _take(self, outcome: Outcome) -> None:
        self._outcomes.put(outcome)

    def _fail_init(self, error: bytes) -> None:
        self._init_error = error
        self._asked.set()


_DIED = Outcome(b"", failed=True)


def _error(request: str, kind: str, message: str) -> Outcome:
    document = {"errorType": kind, "errorMessage": f"RequestId: {request} Error: {message}"}
    return Outcome(json.dumps(document).encode(), failed=True)


class _RuntimeApi:
    """The server of https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(sandbox))
        self._http.daemon_threads = True
        self.address = f"127.0.0.1:{self._http.server_port}"
        serve: Callable[[float], None] = self._http.serve_forever
        self._thread = threading.Thread(target=serve, args=(0.02,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


def _handler(sandbox: Sandbox) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle(self) -> None:
            with contextlib.suppress(OSError):  # the process died
                super().handle()

        def do_GET(self) -> None:
            asked = sandbox._next()
            if asked is None:  # closed
                self.close_connection = True
                return
            request, event, function_arn, timeout_s = asked
            headers = {
                "Content-Type": "application/json",
                "Lambda-Runtime-Aws-Request-Id": request,
                "Lambda-Runtime-Deadline-Ms": str(int((time.time() + timeout_s) * 1000)),
                "Lambda-Runtime-Invoked-Function-Arn": function_arn,
            }
            self._answer(200, event, headers)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            said = self.path.rsplit("/", 1)[-1]
            if self.path.endswith("/init/error"):
                sandbox._fail_init(body)
            else:
                sandbox._take(Outcome(body, failed=said == "error"))
            self._answer(202, b"", {})

        def _answer(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the base has it
            pass

    return Handler
