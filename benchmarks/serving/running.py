"""A server while it runs: started, asked, watched and stopped."""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from servers import Server, Variant

HERE = Path(__file__).parent
SOURCE = HERE.parents[1] / "src"
_START_S = 240
_STOP_S = 10


@dataclass
class Running:
    """A server that answers."""

    server: Server
    port: int
    startup_s: float  #: from the process's start to the first right answer
    _process: psutil.Process

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}{self.server.path}"

    def ask(self, picture: bytes) -> str:
        """The top class of a picture."""
        status, content = _post(self.port, self.server, picture, timeout=60)
        if status != 200:
            raise RuntimeError(f"{self.server.name} answered {status}: {content[:300]!r}")
        return top_label(json.loads(content))

    def memory_mb(self) -> float:
        """Resident memory of the process and its children.

        Files that several of them map count once, and as a whole: what else on this machine maps
        the same libraries is none of the server's merit. Of other memory, what processes share is
        divided among them (PSS).
        """
        own, files = 0, dict[str, int]()
        for process in self._tree():
            with contextlib.suppress(psutil.Error):
                for part in process.memory_maps(grouped=True):
                    if part.path.startswith("["):
                        own += part.pss
                    else:
                        files[part.path] = max(files.get(part.path, 0), part.rss)
        return (own + sum(files.values())) / 1e6

    def cpu_s(self) -> float:
        """Processor time of the process and its living children."""
        total = 0.0
        for process in self._tree():
            with contextlib.suppress(psutil.Error):
                times = process.cpu_times()
                total += times.user + times.system
        return total

    def settle(self, patience_s: float = 20.0) -> None:
        """Wait until it has worked off what earlier clients left behind."""
        ends = time.monotonic() + patience_s
        while time.monotonic() < ends:
            before = self.cpu_s()
            time.sleep(0.25)
            if self.cpu_s() - before < 0.05:
                return

    def alive(self) -> bool:
        """Whether the process still runs."""
        return self._process.is_running() and self._process.status() != psutil.STATUS_ZOMBIE

    def _tree(self) -> list[psutil.Process]:
        with contextlib.suppress(psutil.Error):
            return [self._process, *self._process.children(recursive=True)]
        return []

    def stop(self) -> None:
        """End it and all that it started."""
        family = self._tree()
        with contextlib.suppress(psutil.Error):
            self._process.send_signal(signal.SIGTERM)
        psutil.wait_procs(family, timeout=_STOP_S)
        for process in family:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(family, timeout=_STOP_S)


@contextmanager
def started(
    server: Server, variant: Variant, model: Path, work: Path, picture: bytes
) -> Iterator[Running]:
    """A server from its start to its end.

    Args:
        server: which.
        variant: its setting.
        model: the folder with model/ and bundle/.
        work: where environments and logs are.
        picture: asked until it is answered.

    Raises:
        RuntimeError: it ended, or gave no answer in time; its log says more.
    """
    port = _free_port()
    log = work / "logs" / f"{server.name}.log"
    log.parent.mkdir(exist_ok=True)
    with log.open("w") as output:
        begun = time.monotonic()
        process = subprocess.Popen(
            _command(server, variant, model, work, port),
            cwd=HERE,
            env=_environment(server, variant, model, work, port),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        running = Running(server, port, 0.0, psutil.Process(process.pid))
        try:
            _wait_for_answer(running, process, picture, log)
            running.startup_s = time.monotonic() - begun
            yield running
        finally:
            running.stop()
            process.wait()


def top_label(answer: object) -> str:
    """The top class in any server's answer."""
    if isinstance(answer, list):
        return top_label(answer[0])
    assert isinstance(answer, dict), answer
    if "predictions" in answer:
        return top_label(answer["predictions"])
    if "label" in answer:
        return str(answer["label"])
    return max(answer, key=lambda name: answer[name])


def _command(server: Server, variant: Variant, model: Path, work: Path, port: int) -> list[str]:
    python = sys.executable
    if server.environment:
        python = str(work / server.environment / "bin" / "python")
    values = {"model": model, "port": port, "workers": variant.workers, "peers": HERE / "peers"}
    return [python, *(part.format(**values) for part in server.arguments)]


def _environment(
    server: Server, variant: Variant, model: Path, work: Path, port: int
) -> dict[str, str]:
    threads = max(1, len(os.sched_getaffinity(0)) // max(1, variant.workers))
    own = {} if server.kind == "pixloop" else {"OMP_NUM_THREADS": str(threads)}
    return {
        **os.environ,
        **own,
        "PYTHONPATH": f"{HERE / 'peers'}:{HERE}:{SOURCE}",
        "BENCH_MODEL": str(model),
        "BENCH_PORT": str(port),
        "BENCH_WORKERS": str(variant.workers),
        "BENCH_BATCH": str(variant.batch),
        # Nobody is told that this runs.
        "BENTOML_DO_NOT_TRACK": "True",
        "RAY_USAGE_STATS_ENABLED": "0",
        "BENTOML_HOME": str(work / "bentoml"),
        **server.variables,
    }


def _wait_for_answer(
    running: Running, process: "subprocess.Popen[bytes]", picture: bytes, log: Path
) -> None:
    ends, last = time.monotonic() + _START_S, b""
    while time.monotonic() < ends:
        if process.poll() is not None:
            break
        with contextlib.suppress(OSError, http.client.HTTPException):
            status, last = _post(running.port, running.server, picture, timeout=_START_S)
            if status == 200:
                return
        time.sleep(0.01)
    end = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
    raise RuntimeError(
        f"{running.server.name} gave no right answer, last {last[:300]!r}; {log} ends with:\n{end}"
    )


def _post(port: int, server: Server, picture: bytes, timeout: float) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        headers = {"Content-Type": server.content_type}
        connection.request("POST", server.path, server.body(picture), headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def _free_port() -> int:
    """A port with two free ones after it, which TorchServe takes too."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        with contextlib.suppress(OSError), socket.socket() as second, socket.socket() as third:
            second.bind(("127.0.0.1", port + 1))
            third.bind(("127.0.0.1", port + 2))
            return port
