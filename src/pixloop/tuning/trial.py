"""One trial: a training in a process of its own, told after every epoch whether to go on.

The process is forked from a server that has imported torch once, so that a trial begins at once,
and leaves nothing behind in memory when it ends. It ends with the search, however that ends. Where
memory runs out and smaller parts of a batch are wanted (``training.out_of_memory``), the trial goes
on in a new one.
"""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pixloop.config import Config

if TYPE_CHECKING:
    from pixloop.training.checkpoints import Epoch

#: What a trial is judged by, of the validation pictures; as SageMaker's search is.
OBJECTIVES: Mapping[str, str] = {"classification": "f1_macro", "detection": "map_50"}
#: What the server imports for all trials.
_PRELOADED = ("pixloop.training.train",)
_PATIENCE_S = 10.0
_LOOK_S = 0.2


@dataclass(frozen=True, slots=True)
class Training:
    """What a trial trains, and where it may write.

    Attributes:
        config: the settings.
        dataset: the data set; its test split is not read.
        folder: gets checkpoints, TensorBoard's events and log.txt.
        weights: a file to start from.
        threads: cores that it may use; None for all.
        settings: what the search chose, for TensorBoard.
    """

    config: Config
    dataset: Path
    folder: Path
    weights: Path | None
    threads: int | None
    settings: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Ended:
    """How a trial ended: ``done``, ``stopped`` because it was told to, or ``failed``, and why."""

    how: Literal["done", "stopped", "failed"]
    reason: str = ""


#: Is told of an epoch and its score; whether the trial goes on.
OnEpoch = Callable[[int, float], bool]
#: Trains, and calls back after every epoch; is given up as soon as the event is set.
Train = Callable[[Training, OnEpoch, threading.Event], Ended]


class _Stopped(Exception):
    """The search needs no more epochs of this trial."""


def train_apart(training: Training, on_epoch: OnEpoch, given_up: threading.Event) -> Ended:
    """Train in a process of its own; ``on_epoch`` is asked here after every epoch."""
    ended: Ended | None = None
    while ended is None:
        ended = _train_once(training, on_epoch, given_up)
    return ended


def _train_once(training: Training, on_epoch: OnEpoch, given_up: threading.Event) -> Ended | None:
    """None where it begins again, as ``training.memory`` has it: each time in smaller parts."""
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(list(_PRELOADED))
    ours, theirs = processes.Pipe()
    process = processes.Process(target=_run, args=(training, theirs), name="pixloop-trial")
    with _deaf_to_interrupts():
        process.start()
    theirs.close()
    try:
        return _attend(ours, on_epoch, given_up)
    except EOFError:
        process.join()
        code = process.exitcode or 0
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        cause = " (memory may have run out)" if code == -signal.SIGKILL else ""
        return Ended("failed", f"its process ended with {how}{cause}; see {_log(training)}")
    finally:
        ours.close()
        process.join(0 if given_up.is_set() else _PATIENCE_S)
        if process.is_alive():
            process.kill()
            process.join()


@contextlib.contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Ctrl-C never reaches what is started in the block, not even while it imports.

    A terminal sends it to all of us, and the search ends its trials itself. A blocked signal is
    inherited: by the server, and from it by every trial.
    """
    resource_tracker.ensure_running()  # started within the block, it would lift the block
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _attend(connection: Connection, on_epoch: OnEpoch, given_up: threading.Event) -> Ended | None:
    while True:
        while not connection.poll(_LOOK_S):
            if given_up.is_set():
                return Ended("stopped")
        match connection.recv():
            case ("epoch", number, score):
                connection.send(on_epoch(number, score))
            case ("begins again",):
                return None
            case ("ended", how, reason):
                return Ended(how, reason)


def _run(training: Training, connection: Connection) -> None:
    """The process of a trial."""
    _end_with_parent()
    training.folder.mkdir(parents=True, exist_ok=True)
    with _log(training).open("a", encoding="utf-8") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    with contextlib.suppress(BrokenPipeError):  # the search is gone
        connection.send(_train(training, connection))


def _train(training: Training, connection: Connection) -> tuple[str, ...]:
    """What to tell the search at the end."""
    import torch

    from pixloop.errors import PixloopError
    from pixloop.training.memory import BeginAgain
    from pixloop.training.train import train

    if training.threads:
        torch.set_num_threads(training.threads)
    scores: dict[int, float] = {}
    name = OBJECTIVES[training.config.task]

    def on_epoch(epoch: "Epoch") -> None:
        scores[epoch.epoch] = epoch.validation.get(name, 0.0)
        connection.send(("epoch", epoch.epoch, scores[epoch.epoch]))
        if not connection.recv():
            raise _Stopped

    folder = training.folder
    how, reason = "done", ""
    try:
        train(
            training.config,
            training.dataset,
            folder / "model",
            folder / "checkpoints",
            folder / "tensorboard",
            training.weights,
            on_epoch,
        )
    except _Stopped:
        how = "stopped"
    except BeginAgain as e:
        print(e)  # to the log
        return ("begins again",)
    except PixloopError as e:
        how, reason = "failed", str(e)
    except Exception as e:  # one trial's, which the others can do without
        import traceback

        traceback.print_exc()
        how, reason = "failed", f"{type(e).__name__}: {e}"
    _write_hyperparameters(training, scores)
    return "ended", how, reason


def _write_hyperparameters(training: Training, scores: Mapping[int, float]) -> None:
    """The trial in TensorBoard's HParams: what was chosen, and the best score that came of it."""
    from torch.utils.tensorboard import SummaryWriter

    if not scores:
        return
    chosen = {
        key: value if isinstance(value, bool | int | float | str) else str(value)
        for key, value in training.settings.items()
    }
    measured = {"best/validation": max(scores.values()), "best/epochs": max(scores)}
    with SummaryWriter(str(training.folder / "tensorboard")) as writer:
        writer.add_hparams(chosen, measured, run_name=".")


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None  # noqa: S101  (a trial's process was started by one)

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, name="end-with-parent", daemon=True).start()


def _log(training: Training) -> Path:
    return training.folder / "log.txt"
