"""The container contract: where a step finds its inputs and leaves its results.

::

    /opt/ml/                                     or the folder that PIXLOOP_ML names
      input/config/hyperparameters.json          Training: settings, every value a string
      input/config/inputdataconfig.json          Training: the channels
      input/config/resourceconfig.json           Training: the hosts
      input/data/<channel>/                      Training: the data
      model/                                     Training: becomes model.tar.gz
      checkpoints/  output/tensorboard/          Training: kept while it runs, and after a kill
      config/processingjobconfig.json            Processing: the request of the job
      config/resourceconfig.json                 Processing: the hosts
      processing/input/<name>/                   Processing: the inputs
      processing/output/<name>/                  Processing: the outputs
      output/epochs.jsonl                        Training: what each epoch reached, as it ends
      output/failure  output/message             why a job failed; 1024 characters are read
      work/                                      scratch, which the local engine keeps after a kill

The exit code decides whether a job succeeded. Source: Amazon SageMaker Developer Guide, "How
Amazon SageMaker provides training information", "How to build your own processing container".
"""

import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

from pixloop.errors import PipelineError
from pixloop.files import write_text

ROOT = "/opt/ml"
FAILURE_CHARACTERS = 1024
EPOCHS = "epochs.jsonl"
_WATCH_EVERY_S = 0.2


class Container:
    """The folders of the job that this process is."""

    def __init__(self, root: Path | None = None) -> None:
        """``root`` is ``/opt/ml``, or what PIXLOOP_ML says, unless it is given."""
        self.root = root or Path(os.environ.get("PIXLOOP_ML", ROOT))
        self.model = self.root / "model"
        self.checkpoints = self.root / "checkpoints"
        self.tensorboard = self.root / "output" / "tensorboard"
        self.epochs = self.root / "output" / EPOCHS
        self.work = self.root / "work"

    def hyperparameters(self) -> dict[str, str]:
        """The settings of a training job, without those that a tuning job adds for itself."""
        found = self._config("input/config/hyperparameters.json")
        return {key: value for key, value in found.items() if not key.startswith("_")}

    def channel(self, name: str) -> Path | None:
        """The folder of a training channel, or None where the job has no such channel."""
        known = self._config("input/config/inputdataconfig.json")
        return self.root / "input" / "data" / name if name in known else None

    def input(self, name: str) -> Path | None:
        """The folder of a processing input, or None where the job has no such input."""
        request = self.input_request(name)
        return self._place(request["LocalPath"]) if request else None

    def input_address(self, name: str) -> str | None:
        """Where a processing input came from."""
        request = self.input_request(name)
        return str(request["S3Uri"]) if request else None

    def input_request(self, name: str) -> dict[str, Any] | None:
        """What the job's request says of a processing input."""
        for item in self._config("config/processingjobconfig.json")["ProcessingInputs"]:
            if item["InputName"] == name:
                return dict(item["S3Input"])
        return None

    def host(self) -> str:
        """The name of the instance of a processing job that this is, such as ``algo-1``."""
        return str(self._config("config/resourceconfig.json")["current_host"])

    def output(self, name: str) -> Path:
        """The folder of a processing output; it exists."""
        folder = self.root / "processing" / "output" / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def fail(self, reason: str) -> None:
        """Leave the reason where the engine reads it."""
        for name in ("failure", "message"):
            write_text(self.root / "output" / name, reason[:FAILURE_CHARACTERS])

    def _place(self, path: str) -> Path:
        return self.root / Path(path).relative_to(ROOT)

    def _config(self, name: str) -> dict[str, Any]:
        file = self.root / name
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError as e:
            raise PipelineError(
                f"{file} is missing: this command runs as a job of a pipeline, which writes it."
            ) from e
        except ValueError as e:
            raise PipelineError(f"{file} is not valid JSON: {e}") from e
        return dict(content)


def sole_file(folder: Path) -> Path | None:
    """The one file that an input holds when its address was a file's, else None.

    The local engine links such a file into the input's folder; the link is followed, so that what
    lies beside the file is found too, as pictures lie beside their labels.
    """
    entries = list(folder.iterdir())
    return entries[0].resolve() if len(entries) == 1 and entries[0].is_file() else None


def die_with_parent() -> None:
    """End this process and all that it started as soon as the engine that started it is gone.

    The engine says its process id in PIXLOOP_PARENT; without it nothing is watched.
    """
    parent = os.environ.get("PIXLOOP_PARENT")
    if parent is None:
        return

    def watch() -> None:
        while os.getppid() == int(parent):
            time.sleep(_WATCH_EVERY_S)
        # The engine makes every step the leader of its own group: loader processes go with it.
        if os.getpgid(0) == os.getpid():
            os.killpg(0, signal.SIGKILL)
        os._exit(1)

    threading.Thread(target=watch, name="die-with-parent", daemon=True).start()
