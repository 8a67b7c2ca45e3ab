import contextlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from pixloop.aws.rehearsal.model_server import ModelServer
from pixloop.errors import ServingError


def test_whatever_goes_wrong_at_the_start_leaves_no_server(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(server: ModelServer) -> str:
        raise OSError("the log cannot be read")

    monkeypatch.setattr(ModelServer, "_wait_for_address", fail)
    with pytest.raises(ServingError, match="log cannot be read"):
        ModelServer(archive, tmp_path, {})
    running = [p for p in psutil.Process().children() if str(tmp_path / "model") in p.cmdline()]
    assert running == []


#: Starts a server, and is killed.
_STARTER = """
import os, signal, sys
from pathlib import Path
from pixloop.aws.rehearsal.model_server import ModelServer
server = ModelServer(Path(sys.argv[1]), Path(sys.argv[2]), {})
print(server._process.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_server_ends_with_who_started_it(
    archive: Path, tmp_path: Path, wait: Callable[[Callable[[], Any], str], Any]
) -> None:
    command = [sys.executable, "-c", _STARTER, str(archive), str(tmp_path)]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    server = int(said)

    def ended() -> bool:
        try:
            return bool(psutil.Process(server).status() == psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return True

    try:
        wait(ended, "the server's end")
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            psutil.Process(server).kill()
