"""A step's command as a child process: its output read line by line, its end certain."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pixloop.pipeline.lock import sign
from pixloop.progress import parse_line

_TAIL_LINES = 10
_PATIENCE_S = 10.0


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code (negative for a signal) and its last lines."""

    code: int
    tail: tuple[str, ...]


def run_command(
    command: Sequence[str],
    environment: Mapping[str, str],
    folder: Path,
    log: Path,
    lock: int,
    on_progress: Callable[[Mapping[str, object]], None],
) -> Ended:
    """Run a command to its end, in ``folder``, with its output appended to ``log``.

    The command shares ``lock`` (see ``lock.exclusive``). Whatever ends this function, the command
    and all that it started are gone afterwards: they are asked to stop, and killed after a while.
    """
    process: subprocess.Popen[str] | None = None
    reader: threading.Thread | None = None
    tail: deque[str] = deque(maxlen=_TAIL_LINES)
    with log.open("a", encoding="utf-8") as log_file:
        try:
            with _interrupts_wait():  # one that came now would leave a command that nobody knows
                process = _start(command, environment, folder, lock)
                sign(lock, process.pid)
                reader = threading.Thread(
                    target=_read, args=(process.stdout, log_file, tail, on_progress)
                )
                reader.start()
            code = process.wait()
        except BaseException:
            if process is not None:
                _stop(process)
            raise
        finally:
            if process is not None:
                _signal_group(process.pid, signal.SIGKILL)
            if reader is not None:
                reader.join()
    return Ended(code, tuple(tail))


def _start(
    command: Sequence[str], environment: Mapping[str, str], folder: Path, lock: int
) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [_here(command[0]), *command[1:]],
        cwd=folder,
        env={**os.environ, **environment, "PIXLOOP_PARENT": str(os.getpid())},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
        pass_fds=[lock],
        # Its own group: Ctrl-C reaches us alone, and the group can be ended as one.
        start_new_session=True,
    )


@contextlib.contextmanager
def _interrupts_wait() -> Iterator[None]:
    """What Ctrl-C and SIGTERM do here in Python is done at the end of the block instead."""
    if threading.current_thread() is not threading.main_thread():
        yield  # no handler ever runs in another thread
        return
    came: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    handled = {number: handler for number, handler in before.items() if callable(handler)}
    for number in handled:
        signal.signal(number, lambda number, _: came.append(number))
    try:
        yield
    finally:
        for number, handler in handled.items():
            signal.signal(number, handler)
        for late in came:
            signal.raise_signal(late)


def _read(
    output: IO[str],
    log: IO[str],
    tail: deque[str],
    on_progress: Callable[[Mapping[str, object]], None],
) -> None:
    with output:
        for line in output:
            record = parse_line(line)
            if record is not None:
                on_progress(record)
                continue
            log.write(line)
            log.flush()
            if line.strip():
                tail.append(line.rstrip())


def _here(program: str) -> str:
    """A container's Python is this one."""
    return sys.executable if program in ("python", "python3") else program


def _stop(process: subprocess.Popen[str]) -> None:
    _signal_group(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
        process.wait(_PATIENCE_S)
    _signal_group(process.pid, signal.SIGKILL)
    process.wait()


def _signal_group(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
