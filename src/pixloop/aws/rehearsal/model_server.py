"""A model's server as a process of this machine, where SageMaker would start its container."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import httpx

from pixloop.errors import ServingError
from pixloop.files import unpack
from pixloop.pipeline.container import die_with_parent

#: How long a server may take until it answers /ping. SageMaker allows minutes for it.
_START_S = 60.0
_STOP_S = 10.0
_LOOK_EVERY_S = 0.05


class ModelServer:
    """``python -m pixloop.serving`` on an unpacked ``model.tar.gz``; it dies with this process."""

    def __init__(self, archive: Path, folder: Path, environment: Mapping[str, str]) -> None:
        """Start it, and wait until it answers.

        Args:
            archive: the model.tar.gz, which SageMaker unpacks to /opt/ml/model.
            folder: for the unpacked model and the log; made here.
            environment: the container's variables.

        Raises:
            ServingError: it ended, or does not answer; its last words are in the message.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._log = folder / "log.txt"
        try:
            unpack(archive, folder / "model")
        except Exception as e:  # tarfile, zlib and the file system each have their own
            raise ServingError(f"the model's archive cannot be unpacked: {e}") from e
        name = environment.get("PIXLOOP_MODEL_NAME")
        command = [sys.executable, "-m", __name__, str(folder / "model"), "--port", "0"]
        with self._log.open("w") as output:
            self._process = subprocess.Popen(
                [*command, *(["--name", name] if name else [])],
                env={**os.environ, **environment, "PIXLOOP_PARENT": str(os.getpid())},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            self.url = self._wait_for_address()
            httpx.get(f"{self.url}/ping", timeout=2).raise_for_status()
        except Exception as e:  # whatever it is, no server may be left that nobody knows
            self.stop()
            raise ServingError(f"the server does not answer /ping: {e}") from e

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    def stop(self) -> None:
        """Stop it; requests at work are answered."""
        self._process.terminate()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _wait_for_address(self) -> str:
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline:
            text = self._log.read_text(encoding="utf-8", errors="replace")
            for line in text.splitlines():
                if line.startswith("serving ") and " on http" in line and text.endswith("\n"):
                    return line.rpartition(" on ")[2].strip()
            if not self.alive:
                raise ServingError(f"it ended with exit code {self._process.returncode}: {text}")
            time.sleep(_LOOK_EVERY_S)
        raise ServingError(f"it said nothing for {_START_S:.0f} s")


if __name__ == "__main__":
    from pixloop.serving.__main__ import main

    die_with_parent()
    sys.exit(main())
