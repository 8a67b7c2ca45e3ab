"""A step's command as a child process: its output read line by line, its end certain."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
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
    with log.open("a", encoding="utf-8") as log_file:
        process = subprocess.Popen(
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
        sign(lock, process.pid)
        tail: deque[str] = deque(maxlen=_TAIL_LINES)
        output = process.stdout
        assert output is not None  # noqa: S101 - for the type checker: stdout is a pipe
        reader = threading.Thread(target=_read, args=(output, log_file, tail, on_progress))
        reader.start()
        try:
            code = process.wait()
        except BaseException:
            _stop(process)
            raise
        finally:
            _signal_group(process.pid, signal.SIGKILL)
            reader.join()
            output.close()
    return Ended(code, tuple(tail))


def _read(
    output: IO[str],
    log: IO[str],
    tail: deque[str],
    on_progress: Callable[[Mapping[str, object]], None],
) -> None:
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
