"""The training job on every GPU of an instance, and on several instances.

SageMaker starts the same command once on each instance and says in ``resourceconfig.json`` which
one it is. Where that gives more than one process, torch's own launcher (what torchrun starts) runs
the command again, once for each of them, and tells each who it is; see ``training.distributed``.

One that fails leaves its error in a file that the launcher names. The launcher then ends the
others, and the first error becomes the job's. Where memory ran out and smaller parts of a batch are
wanted (``training.out_of_memory``), all begin again, in new processes: their memory is free for
certain.

Source: Amazon SageMaker Developer Guide, "How Amazon SageMaker provides training information",
"Distributed training configuration". Not tried against the real service.
"""

import json
import logging
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pixloop.data.inspection import cores
from pixloop.errors import PipelineError, PixloopError
from pixloop.files import write_json
from pixloop.pipeline.container import Container

#: How many processes train on this host, where that is not the number of its GPUs.
PROCESSES = "PIXLOOP_PROCESSES"
_PORT = "29500"  # torch's usual one

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Hosts:
    """The instances of a training job.

    Attributes:
        current: the name of this one.
        names: of all, in an order that is the same everywhere.
        interface: the network interface by which they reach each other, where it is known.
    """

    current: str = "localhost"
    names: tuple[str, ...] = ("localhost",)
    interface: str | None = None


def run_training(
    train: Callable[[], None], container: Container, begins_again: bool = False
) -> None:
    """Call ``train`` here, or in as many processes as there is room for.

    Args:
        train: the training. Where it raises ``training.memory.BeginAgain``, it has noted what it
            does otherwise the next time.
        container: the job's folders.
        begins_again: whether it is then called again. It is never called here.

    Raises:
        PipelineError: one of the processes failed; it has its message and its exit code.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ:
        _train_as_told(train)
        return
    hosts, processes = read_hosts(container), _count_processes()
    if len(hosts.names) == processes == 1 and not begins_again:
        train()
        return
    while True:
        try:
            _launch(hosts, processes)
            return
        except _BeginAgain as e:
            if not begins_again or len(hosts.names) > 1:  # the others' launchers know nothing of it
                raise
            _log.warning("%s", e)
            _log.warning("Training begins again.")


class _BeginAgain(PipelineError):
    """What stopped all is dealt with where they are started again."""


def read_hosts(container: Container) -> Hosts:
    """The hosts in ``resourceconfig.json``, or this one where there is no such file.

    Raises:
        PipelineError: it does not say what it should.
    """
    file = container.root / "input" / "config" / "resourceconfig.json"
    if not file.exists():
        return Hosts()
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        names = tuple(sorted(content["hosts"]))
        current = content["current_host"]
        names.index(current)
    except (ValueError, KeyError, TypeError) as e:
        raise PipelineError(f"{file} must name the hosts, with current_host among them: {e}") from e
    return Hosts(current, names, content.get("network_interface_name"))


def asked_processes() -> int | None:
    """What ``PIXLOOP_PROCESSES`` asks for; None where it asks for nothing.

    Raises:
        PipelineError: it is no number of processes.
    """
    asked = os.environ.get(PROCESSES)
    if asked is None:
        return None
    if not asked.isdecimal() or int(asked) < 1:
        raise PipelineError(f"{PROCESSES} is {asked!r}: expected how many processes, 1 or more.")
    return int(asked)


def _count_processes() -> int:
    asked = asked_processes()
    if asked == 1:
        return 1
    import torch  # takes seconds; training needs it anyway

    gpus = torch.cuda.device_count()
    if asked is None:
        return max(1, gpus)
    if 0 < gpus < asked:
        has = "1 GPU" if gpus == 1 else f"{gpus} GPUs"
        raise PipelineError(
            f"{PROCESSES} is {asked}, and this machine has {has}: leave it out, or set {gpus}."
        )
    return asked


def _launch(hosts: Hosts, processes: int) -> None:
    from torch.distributed import DistError
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    # What torch logs of processes that end is said in one error here.
    logging.getLogger("torch.distributed.elastic.multiprocessing.api").setLevel(logging.CRITICAL)
    _set_environment(hosts, processes)
    with tempfile.TemporaryDirectory() as folder:
        config = LaunchConfig(
            min_nodes=len(hosts.names),
            max_nodes=len(hosts.names),
            nproc_per_node=processes,
            run_id="pixloop",
            max_restarts=0,  # a job is started again by whoever started it
            logs_specs=DefaultLogsSpecs(log_dir=folder),
            **_meeting_point(hosts),
        )
        try:
            elastic_launch(config, sys.executable)(*sys.orig_argv[1:])
        except ChildFailedError as e:
            raise _explain(e.failures.values()) from e
        except SignalException as e:
            raise PipelineError(f"Training was ended by {e.sigval.name}.") from e
        except DistError as e:
            raise PipelineError(
                f"The hosts {', '.join(hosts.names)} did not find one another at"
                f" {config.rdzv_endpoint}: {e}"
            ) from e


def _meeting_point(hosts: Hosts) -> dict[str, Any]:
    if len(hosts.names) == 1:
        # A port that is free, so that two jobs can run on one machine.
        return {
            "rdzv_backend": "c10d",
            "rdzv_endpoint": "localhost:0",
            "local_addr": "localhost",
        }
    port = os.environ.get("MASTER_PORT", _PORT)
    return {
        "rdzv_backend": "static",
        "rdzv_endpoint": f"{hosts.names[0]}:{port}",
        "rdzv_configs": {"rank": hosts.names.index(hosts.current)},
    }


def _set_environment(hosts: Hosts, processes: int) -> None:
    """What the processes inherit."""
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores() // processes)))
    os.environ["PIXLOOP_PARENT"] = str(os.getpid())  # they end when this one is killed
    if hosts.interface:
        os.environ["NCCL_SOCKET_IFNAME"] = os.environ["GLOO_SOCKET_IFNAME"] = hosts.interface


def _train_as_told(train: Callable[[], None]) -> None:
    """In one of the processes: an error is left where the launcher reads it."""
    if os.environ["RANK"] != "0":
        logging.disable(logging.WARNING)  # the first one says the same
    try:
        train()
    except Exception as e:
        from pixloop.training.memory import BeginAgain  # training has imported it

        known = isinstance(e, PixloopError)
        lost_connection = not known and _is_lost_connection(e)
        if not known and not lost_connection:  # whose cause is another process's to tell
            traceback.print_exc()
        told: dict[str, Any] = {
            "message": str(e) if known else f"{type(e).__name__}: {e}",
            "exit_code": e.exit_code if isinstance(e, PixloopError) else 1,
            "lost_connection": lost_connection,
            "begin_again": isinstance(e, BeginAgain),
            "timestamp": int(time.time()),  # torch's, in seconds
            "time_ns": time.time_ns(),
        }
        write_json(Path(os.environ["TORCHELASTIC_ERROR_FILE"]), told)
        sys.stderr.flush()
        # At once: an orderly end can wait for a GPU that waits for the other processes.
        os._exit(told["exit_code"])


def _is_lost_connection(error: Exception) -> bool:
    from torch.distributed import DistError

    text = str(error).lower()
    return isinstance(error, DistError) or "gloo" in text or "nccl" in text


def _explain(failures: Iterable[Any]) -> PipelineError:
    """The first error: those that only lost their connection to another process are not it."""
    failures = list(failures)
    told = [f.error_file_data for f in failures if "time_ns" in f.error_file_data]
    told.sort(key=lambda data: (data["lost_connection"], data["time_ns"]))
    if told and not told[0]["lost_connection"]:
        kind = _BeginAgain if told[0]["begin_again"] else PipelineError
        error = kind(told[0]["message"])
        error.exit_code = told[0]["exit_code"]
        return error
    for failure in failures:
        if failure.exitcode < 0 and failure.exitcode != -signal.SIGTERM:  # not by the launcher
            by = failure.signal_name()
            if failure.exitcode == -signal.SIGKILL:
                by += " (by a person, or by the system because memory ran out)"
            return PipelineError(
                f"The training's process {failure.local_rank} on this host was ended by {by}, and"
                " the others with it. Begin again: training goes on from its last checkpoint."
            )
    cause = f" ({told[0]['message']})" if told else ""
    return PipelineError(
        f"The processes of the training lost one another{cause}. Where there are several hosts,"
        " another one's message may say why. Begin again on all: training goes on from its last"
        " checkpoint."
    )
