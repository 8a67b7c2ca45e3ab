"""The launcher, with programs that say who they are in place of training."""

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from pixloop.errors import PipelineError
from pixloop.files import write_json
from pixloop.pipeline.container import Container
from pixloop.pipeline.launch import Hosts, read_hosts, run_training

PRELUDE = """
import json, os, pathlib, sys, time
from pixloop.errors import ConfigError, PixloopError
from pixloop.files import write_text
from pixloop.pipeline.container import Container, die_with_parent
from pixloop.pipeline.launch import run_training
die_with_parent()
container, rank = Container(), os.environ.get("RANK")
def note(name, text):
    write_text(container.root / name, text)
def wait_for_error(rank):
    mine = pathlib.Path(os.environ["TORCHELASTIC_ERROR_FILE"])
    while not (mine.parent.parent / rank / mine.name).exists():
        time.sleep(0.01)
"""
END = """
try:
    run_training(train, container, begins_again="AGAIN" in os.environ)
except PixloopError as e:
    note("failure", str(e))
    sys.exit(e.exit_code)
"""
WAIT = """
def train():
    note("process-" + rank, str(os.getpid()))
    time.sleep(600)
"""


@contextmanager
def start(root: Path, program: str, **environment: str) -> Iterator["subprocess.Popen[str]"]:
    """A process that trains as ``program`` says, in the place of /opt/ml that ``root`` is."""
    root.mkdir(parents=True, exist_ok=True)
    file = root / "program.py"
    file.write_text(PRELUDE + textwrap.dedent(program) + END)
    process = subprocess.Popen(
        [sys.executable, str(file)],
        env=os.environ | {"PIXLOOP_ML": str(root), "CUDA_VISIBLE_DEVICES": ""} | environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def run(root: Path, program: str, **environment: str) -> int:
    with start(root, program, **environment) as process:
        process.communicate()
    return process.returncode


def wait_for(condition: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    while not condition():
        assert process.poll() is None


def write_hosts(root: Path, current: str, *hosts: str, **more: str) -> None:
    content: dict[str, Any] = {"current_host": current, "hosts": list(hosts), **more}
    write_json(root / "input" / "config" / "resourceconfig.json", content)


def test_without_the_file_there_is_this_host(tmp_path: Path) -> None:
    assert read_hosts(Container(tmp_path)) == Hosts("localhost", ("localhost",), None)


def test_hosts_are_in_the_same_order_on_each(tmp_path: Path) -> None:
    write_hosts(tmp_path, "algo-2", "algo-2", "algo-1", network_interface_name="eth0")
    assert read_hosts(Container(tmp_path)) == Hosts("algo-2", ("algo-1", "algo-2"), "eth0")


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"hosts": ["a"]}', '{"hosts": ["a"], "current_host": "b"}']
)
def test_a_file_that_does_not_name_the_hosts_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "input" / "config" / "resourceconfig.json"
    file.parent.mkdir(parents=True)
    file.write_text(content)
    with pytest.raises(PipelineError, match=r"resourceconfig\.json must name the hosts"):
        read_hosts(Container(tmp_path))


@pytest.mark.parametrize("wanted", ["0", "two", ""])
def test_a_number_of_processes_that_is_none_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: str
) -> None:
    monkeypatch.setenv("PIXLOOP_PROCESSES", wanted)
    with pytest.raises(PipelineError, match="PIXLOOP_PROCESSES is"):
        run_training(lambda: None, Container(tmp_path))


def test_more_processes_than_gpus_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIXLOOP_PROCESSES", "4")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    with pytest.raises(PipelineError, match="has 2 GPUs: leave it out, or set 2"):
        run_training(lambda: None, Container(tmp_path))


def test_one_process_has_no_launcher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIXLOOP_PROCESSES", "1")
    write_hosts(tmp_path, "algo-1", "algo-1")
    processes = []
    run_training(lambda: processes.append(os.getpid()), Container(tmp_path))
    assert processes == [os.getpid()]


SAY = """
def train():
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "NCCL_SOCKET_IFNAME")
    note("process-" + rank, json.dumps([os.environ.get(name) for name in names]))
"""


def said(root: Path) -> dict[str, list[str | None]]:
    return {file.name: json.loads(file.read_text()) for file in root.glob("process-*")}


def test_every_process_of_a_host_is_told_who_it_is(tmp_path: Path) -> None:
    assert run(tmp_path, SAY, PIXLOOP_PROCESSES="2") == 0
    assert said(tmp_path) == {
        "process-0": ["0", "2", "0", "2", None],
        "process-1": ["1", "2", "1", "2", None],
    }


@pytest.mark.slow
def test_every_host_is_told_which_it_is(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
    hosts = ("127.0.0.1", "127.0.0.2")
    for host in hosts:
        write_hosts(tmp_path / host, host, *hosts, network_interface_name="lo")
    more = {"PIXLOOP_PROCESSES": "2", "MASTER_PORT": port}
    with (
        start(tmp_path / hosts[1], SAY, **more) as other,
        start(tmp_path / hosts[0], SAY, **more) as first,
    ):
        for process in (first, other):
            process.communicate()
            assert process.returncode == 0
    assert said(tmp_path / hosts[0]) == {
        "process-0": ["0", "4", "0", "2", "lo"],
        "process-1": ["1", "4", "1", "2", "lo"],
    }
    assert said(tmp_path / hosts[1]) == {
        "process-2": ["2", "4", "0", "2", "lo"],
        "process-3": ["3", "4", "1", "2", "lo"],
    }


def test_the_first_error_is_the_jobs_and_ends_the_others(tmp_path: Path) -> None:
    program = """
    def train():
        note("process-" + rank, str(os.getpid()))
        if rank == "1":
            while len(list(container.root.glob("process-*"))) < 4:
                time.sleep(0.01)  # one that starts late would be ended before it says who it is
            raise ConfigError("There is no such optimizer.")
        wait_for_error("1")
        if rank == "2":
            raise ValueError("This came later.")
        if rank == "3":  # as torch says it
            raise RuntimeError("[gloo/transport/tcp/pair.cc:547] Connection closed by peer")
        time.sleep(600)
    """
    assert run(tmp_path, program, PIXLOOP_PROCESSES="4") == 2
    assert (tmp_path / "failure").read_text() == "There is no such optimizer."
    ids = [int(file.read_text()) for file in tmp_path.glob("process-*")]
    assert len(ids) == 4
    assert not any(psutil.pid_exists(pid) for pid in ids)


def test_a_lost_connection_is_no_cause_where_there_is_another(tmp_path: Path) -> None:
    program = """
    def train():
        if rank == "0":
            leave = os._exit
            os._exit = lambda code: (wait_for_error("1"), leave(code))
            raise RuntimeError("NCCL error: remote process exited")
        wait_for_error("0")
        raise ConfigError("There is no such optimizer.")
    """
    assert run(tmp_path, program, PIXLOOP_PROCESSES="2") == 2
    assert (tmp_path / "failure").read_text() == "There is no such optimizer."


def test_a_lost_connection_alone_points_to_the_other_hosts(tmp_path: Path) -> None:
    program = """
    def train():
        raise RuntimeError("NCCL error: remote process exited")
    """
    assert run(tmp_path, program, PIXLOOP_PROCESSES="2") == 1
    message = (tmp_path / "failure").read_text()
    assert "lost one another (RuntimeError: NCCL error" in message
    assert "another one's message may say why" in message


AGAIN = """
from pixloop.training.memory import BeginAgain
def train():
    starts = len(list(container.root.glob("start-*"))) // int(os.environ["WORLD_SIZE"])
    note(f"start-{starts}-{rank}", str(os.getpid()))
    while len(list(container.root.glob(f"start-{starts}-*"))) < int(os.environ["WORLD_SIZE"]):
        time.sleep(0.01)
    if starts < 2 and rank == "0":
        raise BeginAgain("Memory ran out. From the next start on it takes 2 parts.")
    if starts < 2:
        time.sleep(600)
"""


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_where_memory_ran_out_all_begin_again_in_new_processes(
    tmp_path: Path, processes: int
) -> None:
    with start(tmp_path, AGAIN, PIXLOOP_PROCESSES=str(processes), AGAIN="1") as process:
        _, printed = process.communicate()
    assert process.returncode == 0, printed
    assert printed.count("Memory ran out. From the next start on it takes 2 parts.") == 2
    ids = [int(file.read_text()) for file in tmp_path.glob("start-*")]
    assert len(set(ids)) == 3 * processes
    assert not any(psutil.pid_exists(pid) for pid in ids)


@pytest.mark.slow
def test_where_it_is_not_wanted_nothing_begins_again(tmp_path: Path) -> None:
    assert run(tmp_path, AGAIN, PIXLOOP_PROCESSES="2") == 1
    assert (tmp_path / "failure").read_text().startswith("Memory ran out.")
    assert len(list(tmp_path.glob("start-*"))) == 2


def test_an_unexpected_error_is_named(tmp_path: Path) -> None:
    program = """
    def train():
        raise KeyError("a defect")
    """
    assert run(tmp_path, program, PIXLOOP_PROCESSES="2") == 1
    assert (tmp_path / "failure").read_text() == "KeyError: 'a defect'"


def test_a_killed_process_ends_all_and_is_named(tmp_path: Path) -> None:
    with start(tmp_path, WAIT, PIXLOOP_PROCESSES="2") as process:
        wait_for(lambda: len(list(tmp_path.glob("process-*"))) == 2, process)
        os.kill(int((tmp_path / "process-1").read_text()), signal.SIGKILL)
        process.communicate()
    assert process.returncode == 1
    assert "was ended by SIGKILL" in (tmp_path / "failure").read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_processes_end_with_the_launcher(tmp_path: Path, number: signal.Signals) -> None:
    with start(tmp_path, WAIT, PIXLOOP_PROCESSES="2") as process:
        wait_for(lambda: len(list(tmp_path.glob("process-*"))) == 2, process)
        workers = [psutil.Process(int(f.read_text())) for f in tmp_path.glob("process-*")]
        process.send_signal(number)
        process.communicate()
    psutil.wait_procs(workers)
    if number == signal.SIGTERM:
        assert (tmp_path / "failure").read_text() == "Training was ended by SIGTERM."
