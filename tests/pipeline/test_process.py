"""The child process of a step, interrupted where it hurts. ``test_local.py`` has its usual ends."""

import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from pixloop.pipeline import process
from pixloop.pipeline.lock import exclusive
from pixloop.pipeline.process import run_command

SLEEP = [sys.executable, "-c", "import time; print('here', flush=True); time.sleep(600)"]


def run(folder: Path) -> None:
    with exclusive(folder / "lock", "busy") as lock:
        run_command(SLEEP, {}, folder, folder / "log.txt", lock, lambda record: None)


def sleepers() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if child.cmdline() == SLEEP]


def interrupt_before(function: Callable[..., Any], number: int) -> Callable[..., Any]:
    def interrupted(*arguments: Any) -> Any:
        signal.raise_signal(number)
        return function(*arguments)

    return interrupted


@pytest.fixture(params=["sign", "start"])
def interrupt(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Interrupts when the child has been started, and nobody waits for it yet."""

    def arrange(number: int) -> None:
        if request.param == "sign":
            monkeypatch.setattr(process, "sign", interrupt_before(process.sign, number))
        else:
            start = interrupt_before(threading.Thread.start, number)
            monkeypatch.setattr(threading.Thread, "start", start)

    return arrange


def test_an_interrupt_at_the_start_leaves_no_process_behind(
    tmp_path: Path, interrupt: Callable[[int], None]
) -> None:
    interrupt(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path)
    assert not sleepers()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_handler_of_sigterm_waits_for_the_start_as_well(
    tmp_path: Path, interrupt: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def leave(*_: Any) -> None:
        raise SystemExit(143)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        interrupt(signal.SIGTERM)
        with pytest.raises(SystemExit):
            run(tmp_path)
        assert signal.getsignal(signal.SIGTERM) is leave
    finally:
        signal.signal(signal.SIGTERM, before)
    assert not sleepers()


def test_in_another_thread_a_command_runs_to_its_end(tmp_path: Path) -> None:
    codes = []

    def work() -> None:
        with exclusive(tmp_path / "lock", "busy") as lock:
            command = [sys.executable, "-c", "import sys; print('said'); sys.exit(3)"]
            ended = run_command(command, {}, tmp_path, tmp_path / "log", lock, lambda _: None)
            codes.append((ended.code, ended.tail))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert codes == [(3, ("said",))]
