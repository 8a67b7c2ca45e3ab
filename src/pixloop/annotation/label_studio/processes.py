"""Processes that outlive the command that started them: found again, and ended."""

import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil
from pydantic import BaseModel, ConfigDict, ValidationError

from pixloop.errors import AnnotationError
from pixloop.files import write_text

_STOP_S = 15.0
#: Those that this process has started; Python warns of one that nothing refers to any more.
_STARTED: list[subprocess.Popen[bytes]] = []


class Running(BaseModel):
    """A process, told apart from a later one of the same number by when it began."""

    model_config = ConfigDict(frozen=True)

    pid: int
    began: float
    url: str

    def process(self) -> psutil.Process | None:
        """The process, while it lives."""
        try:
            found = psutil.Process(self.pid)
            # A second either way: the clock that the kernel counts from may be set.
            same = abs(found.create_time() - self.began) < 2.0
            return found if same and found.status() != psutil.STATUS_ZOMBIE else None
        except psutil.Error:
            return None


def read_running(file: Path) -> Running | None:
    """The process that a file tells of, where it still lives."""
    try:
        running = Running.model_validate_json(file.read_bytes())
    except (OSError, ValidationError):
        return None
    return running if running.process() else None


def start(
    command: Sequence[str], environment: Mapping[str, str], url: str, file: Path, log: Path
) -> Running:
    """Start a process that goes on without us; ``file`` tells of it, ``log`` has what it says."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    _STARTED.append(process)
    return remember(process.pid, url, file)


def remember(pid: int, url: str, file: Path) -> Running:
    """Write down that a process serves ``url``."""
    try:
        began = psutil.Process(pid).create_time()
    except psutil.Error:
        began = time.time()  # it has ended already, which waiting for it will find
    running = Running(pid=pid, began=began, url=url)
    write_text(file, running.model_dump_json(indent=2) + "\n")
    return running


def wait_until(
    running: Running, answers: Callable[[], bool], what: str, log: Path, timeout_s: float
) -> None:
    """Wait until a process answers.

    Raises:
        AnnotationError: it ended, or does not answer in time.
    """
    deadline = time.monotonic() + timeout_s
    while not answers():
        _reap()
        if running.process() is None:
            raise AnnotationError(f"{what} ended at once. Its last words are in {log}.")
        if time.monotonic() > deadline:
            raise AnnotationError(
                f"{what} does not answer at {running.url} after {timeout_s:.0f} s; see {log}."
            )
        time.sleep(0.2)


def stop(running: Running) -> None:
    """End a process and its children: in order, and by force after a while."""
    process = running.process()
    if process is None:
        return
    family = [process, *process.children(recursive=True)]
    for each in family:
        with suppress(psutil.Error):
            each.send_signal(signal.SIGTERM)
    _, alive = psutil.wait_procs(family, timeout=_STOP_S)
    for each in alive:
        with suppress(psutil.Error):
            each.kill()
    psutil.wait_procs(alive, timeout=_STOP_S)
    _reap()


def port_is_free(port: int) -> bool:
    """Whether a server on this machine could listen there."""
    with socket.socket() as probe:
        # As servers do: a port that was just left is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def listener(port: int) -> int | None:
    """The number of the process of ours that listens at a port."""
    with suppress(psutil.Error):
        for connection in psutil.net_connections("tcp4"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port:
                return int(connection.pid) if connection.pid else None
    return None


def _reap() -> None:
    """Our own children that have ended are zombies until they are asked for."""
    _STARTED[:] = [process for process in _STARTED if process.poll() is None]
