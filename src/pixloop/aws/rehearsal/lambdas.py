"""Lambda functions on a laptop: their real packages under AWS's own runtime client.

moto runs functions in Docker; here it hands them to processes of this machine. A zip package sees
what it would see on Lambda, which is itself, the standard library and boto3: a module that was
left out of it fails here as it fails there. A function that is an image runs its command in this
process's Python environment, which has what the image has.
"""

import base64
import hashlib
import importlib.util
import io
import itertools
import json
import logging
import sys
import threading
import time
import zipfile
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from moto.awslambda.models import LambdaFunction
from moto.cloudwatch.models import cloudwatch_backends
from moto.core.utils import unix_time_millis

from pixloop.aws.rehearsal.embedded_metrics import read_metrics
from pixloop.aws.rehearsal.patches import Patches
from pixloop.aws.rehearsal.sandbox import Outcome, Sandbox

#: What a function made from pixloop's image runs.
IMAGE_HANDLER = "pixloop.aws.lambda_server.handler"
#: Lambda tries an asynchronous invocation again after one and after two minutes.
RETRY_DELAYS_S = (0.5, 1.0)
#: What Lambda's Python runtime brings along: its own client, and boto3 with all that it needs.
#: Source: Lambda Developer Guide, "Building Lambda functions with Python".
_RUNTIME_MODULES = (
    "awslambdaric",
    "runtime_client",
    "simplejson",
    "snapshot_restore_py",
    "boto3",
    "botocore",
    "s3transfer",
    "jmespath",
    "dateutil",
    "six",
    "urllib3",
)
_TAIL_BYTES = 4096

log = logging.getLogger(__name__)


class Lambdas:
    """The processes of all functions.

    Attributes:
        cold_starts: for each function, the milliseconds from the start of a process until it
            asked for its first event; Lambda calls it init duration.
        first_answers: for each function, the milliseconds until its first event was
            answered, counted from the process's start.
    """

    def __init__(self, environment: Mapping[str, str], folder: Path) -> None:
        """
        Args:
            environment: what functions need to reach the stand-in cloud: AWS_ENDPOINT_URL and its
                kin, and credentials.
            folder: for unpacked code (``code/``) and logs (``logs/<function>/``).
        """
        self.cold_starts: dict[str, list[float]] = defaultdict(list)
        self.first_answers: dict[str, list[float]] = defaultdict(list)
        self._environment, self._folder = dict(environment), folder
        self._patches = Patches()
        self._lock = threading.Lock()
        self._idle: dict[str, list[Sandbox]] = defaultdict(list)
        self._all: dict[Sandbox, str] = {}
        self._later: set[threading.Thread] = set()
        self._closed = threading.Event()
        self._numbers = itertools.count(1)

    def install(self) -> None:
        """Take moto's invocations over, until ``close``."""
        lambdas = self

        def _invoke_lambda(function: Any, event: Any = None) -> tuple[str, bool, str]:
            outcome, lines = lambdas.run(function, json.dumps(event or {}).encode())
            return outcome.payload.decode(), outcome.failed, lines

        def invoke(function: Any, body: Any, headers: Any, answer_headers: Any) -> bytes:
            event = body.encode() if isinstance(body, str) else (body or b"{}")
            kind = headers.get("X-Amz-Invocation-Type") or headers.get("x-amz-invocation-type")
            if kind == "Event":
                lambdas.run_later(function, event)
                return b""
            if kind == "DryRun":
                return b""
            outcome, lines = lambdas.run(function, event)
            if outcome.failed:
                answer_headers["x-amz-function-error"] = "Unhandled"
            tail = lines.encode()[-_TAIL_BYTES:]
            answer_headers["x-amz-log-result"] = base64.b64encode(tail).decode()
            return outcome.payload

        self._runtime = _link_runtime(self._folder / "runtime")
        self._patches.replace(LambdaFunction, "_invoke_lambda", _invoke_lambda)
        self._patches.replace(LambdaFunction, "invoke", invoke)

    def close(self) -> None:
        """Give moto its own way back and end every process."""
        self._patches.undo()
        self._closed.set()
        with self._lock:
            sandboxes, later = list(self._all), list(self._later)
        for sandbox in sandboxes:
            sandbox.close()
        for thread in later:
            thread.join()

    def processes(self, function: str) -> list[int]:
        """The process ids of a function that run now."""
        with self._lock:
            return [
                sandbox.pid
                for sandbox, key in self._all.items()
                if sandbox.alive and key.startswith(f"{function}@")
            ]

    def run(self, function: Any, event: bytes) -> tuple[Outcome, str]:
        """Invoke a function of moto's; also the lines that it logged.

        As many invocations run at once as are asked for, each in a process of its own.
        """
        sandbox, new = self._take(function)
        seen = sandbox.log.stat().st_size if not new else 0
        started = time.monotonic()
        outcome = sandbox.invoke(event, function.function_arn, float(function.timeout))
        spent_ms = (time.monotonic() - started) * 1000
        if new and sandbox.start_ms is not None:
            self.cold_starts[function.function_name].append(sandbox.start_ms)
            self.first_answers[function.function_name].append(spent_ms)
        with sandbox.log.open("rb") as file:
            file.seek(seen)
            lines = file.read().decode(errors="replace")
        report = f"REPORT Duration: {spent_ms:.2f} ms\tMemory Size: {function.memory_size} MB"
        if new and sandbox.start_ms is not None:
            report += f"\tInit Duration: {sandbox.start_ms:.2f} ms"
        if outcome.failed:
            lines += outcome.payload.decode(errors="replace") + "\n"
        lines += report + "\n"
        _keep_logs(function, sandbox.log.stem, lines)
        self._give_back(sandbox)
        return outcome, lines

    def run_later(self, function: Any, event: bytes) -> None:
        """An asynchronous invocation: tried three times, as Lambda does."""
        thread = threading.Thread(target=self._try, args=(function, event), daemon=True)
        with self._lock:
            self._later.add(thread)
        thread.start()

    def _try(self, function: Any, event: bytes) -> None:
        try:
            for delay_s in (*RETRY_DELAYS_S, None):
                if self._closed.is_set():
                    return
                outcome, _ = self.run(function, event)
                if not outcome.failed:
                    return
                if delay_s is None or self._closed.wait(delay_s):
                    break
            log.warning("%s failed for good: %s", function.function_name, outcome.payload[:500])
        finally:
            with self._lock:
                self._later.discard(threading.current_thread())

    def _take(self, function: Any) -> tuple[Sandbox, bool]:
        key = _identity(function)
        with self._lock:
            if self._closed.is_set():
                raise RuntimeError(f"{function.function_name}: the stand-in of Lambda is closed")
            self._drop_outdated(function.function_name, function.function_arn, key)
            while self._idle[key]:
                sandbox = self._idle[key].pop()
                if sandbox.alive:
                    return sandbox, False
                self._drop(sandbox)
            sandbox = self._start(function)
            self._all[sandbox] = key
        return sandbox, True

    def _give_back(self, sandbox: Sandbox) -> None:
        with self._lock:
            if sandbox.alive and sandbox in self._all:
                self._idle[self._all[sandbox]].append(sandbox)
            else:
                self._drop(sandbox)

    def _drop_outdated(self, name: str, arn: str, key: str) -> None:
        """Processes of code or settings that were changed answer no more."""
        for other in [k for k in self._idle if k.startswith(f"{name}@{arn}@") and k != key]:
            for sandbox in self._idle.pop(other):
                self._drop(sandbox)

    def _drop(self, sandbox: Sandbox) -> None:
        self._all.pop(sandbox, None)
        sandbox.close()

    def _start(self, function: Any) -> Sandbox:
        name = function.function_name
        logs = self._folder / "logs" / name
        logs.mkdir(parents=True, exist_ok=True)
        stream = f"{next(self._numbers):04d}"
        command, own, folder = self._command(function)
        environment = {
            **_lambda_variables(function, stream),
            **own,
            **self._environment,
            **{key: str(value) for key, value in function.environment_vars.items()},
        }
        return Sandbox(command, environment, folder, logs / f"{stream}.log")

    def _command(self, function: Any) -> tuple[list[str], dict[str, str], Path]:
        """What runs a function: the command, variables of its own, and its folder."""
        if function.package_type == "Image":
            handler = next(iter(function.image_config.cmd), IMAGE_HANDLER)
            handler = IMAGE_HANDLER if handler == "lambda" else handler
            command = [sys.executable, "-m", "awslambdaric", handler]
            return command, {"_HANDLER": handler}, self._folder
        code = self._unpack(function)
        # -S: without this environment's packages; the path has all that Lambda has.
        command = [sys.executable, "-S", "-m", "awslambdaric", function.handler]
        path = f"{code}:{self._runtime}"
        return command, {"PYTHONPATH": path, "LAMBDA_TASK_ROOT": str(code)}, code

    def _unpack(self, function: Any) -> Path:
        code = self._folder / "code" / hashlib.sha256(function.code_bytes).hexdigest()[:16]
        if not code.exists():
            partial = code.with_suffix(".partial")
            with zipfile.ZipFile(io.BytesIO(function.code_bytes)) as package:
                package.extractall(partial)
            partial.rename(code)
        return code


def _identity(function: Any) -> str:
    """What a function is and how it is set up: a process serves one such only."""
    settings = [
        getattr(function, "code_sha_256", ""),
        function.handler,
        function.timeout,
        function.memory_size,
        function.environment_vars,
        function.image_config.cmd,
    ]
    mark = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]
    return f"{function.function_name}@{function.function_arn}@{mark}"


def _lambda_variables(function: Any, stream: str) -> dict[str, str]:
    """Source: Lambda Developer Guide, "Defined runtime environment variables"."""
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LANG": "en_US.UTF-8",
        "TZ": ":UTC",
        "_HANDLER": str(function.handler),
        "AWS_REGION": function.region,
        "AWS_DEFAULT_REGION": function.region,
        "AWS_EXECUTION_ENV": f"AWS_Lambda_{function.run_time or 'Image'}",
        "AWS_LAMBDA_FUNCTION_NAME": function.function_name,
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory_size),
        "AWS_LAMBDA_FUNCTION_VERSION": str(function.version),
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_GROUP_NAME": function.logs_group_name,
        "AWS_LAMBDA_LOG_STREAM_NAME": stream,
    }


def _link_runtime(folder: Path) -> Path:
    """A folder with links to what Lambda's runtime has, and to nothing else of this environment."""
    folder.mkdir(parents=True, exist_ok=True)
    for module in _RUNTIME_MODULES:
        spec = importlib.util.find_spec(module)
        if spec is None or spec.origin is None:
            continue
        origin = Path(spec.origin)
        place = origin.parent if spec.submodule_search_locations else origin
        link = folder / place.name
        if not link.exists():
            link.symlink_to(place)
    return folder


def _keep_logs(function: Any, stream: str, lines: str) -> None:
    """Put what a function logged where CloudWatch has it, and the metrics among it."""
    backend, group = function.logs_backend, function.logs_group_name
    backend.ensure_log_group(group)
    if stream not in backend.groups[group].streams:
        backend.create_log_stream(group, stream)
    events = [{"timestamp": unix_time_millis(), "message": each} for each in lines.splitlines()]
    backend.put_log_events(group, stream, events)
    metrics = cloudwatch_backends[function.account_id][function.region]
    for line in lines.splitlines():
        for namespace, metric in read_metrics(line):
            metrics.put_metric_data(namespace, [metric])
