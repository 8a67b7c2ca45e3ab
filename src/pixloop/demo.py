"""``pixloop demo``: the whole loop on real pictures that come with a dependency."""

import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from pixloop.config import FILE_NAME
from pixloop.data.samples import write_digits
from pixloop.errors import ConfigError, ServingError
from pixloop.pipeline.display import Listener
from pixloop.project import Project
from pixloop.run_summary import RunSummary
from pixloop.serving.client import Client

PICTURES = "pictures"
_EVERY = 15  # every 15th test picture is sent to the server: a moment's work

#: Small pictures, a small network and no weights to fetch: the loop in less than a minute.
SETTINGS: dict[str, dict[str, object]] = {
    # A promise about 2 % takes at least 149 calibration pictures; this gives 299.
    "data": {"calibration_share": 0.2},
    "model": {"name": "test_resnet", "pretrained": False, "image_size": 32, "resize": "squash"},
    "training": {
        "epochs": 8,
        "batch_size": 32,
        "learning_rate": 0.003,
        "augmentations": ["rotate"],
        # Converting costs a network this small more than bfloat16 saves.
        "precision": "float32",
    },
}


class DemoSummary(BaseModel):
    """What the demo made, and how the server did."""

    model_config = ConfigDict(frozen=True)

    folder: str
    run: RunSummary
    asked: int
    right: int
    latency_ms: float


def run_demo(
    folder: str, overrides: Iterable[str] = (), listener: Listener | None = None
) -> DemoSummary:
    """Make a project of handwritten digits, run its loop, serve it, ask it, stop it.

    A folder that holds the demo already is run again: finished steps are reused.

    Raises:
        ConfigError: the folder holds something else.
    """
    root = Path(folder).resolve()
    if not (root / FILE_NAME).exists():
        if root.exists() and any(root.iterdir()) and not (root / PICTURES).exists():
            raise ConfigError(f"{root} is not empty. Choose another with --dir.")
        write_digits(root / PICTURES)
        Project.init(root, str(root / PICTURES), settings=SETTINGS)
    project = Project.open(root, overrides)
    summary = project.run(listener)
    pictures = sorted((root / PICTURES / "test").rglob("*.png"))[::_EVERY]
    with _serving(project.bundle(summary.version)[1].path) as url, Client(url) as client:
        started = time.monotonic()
        answers = [client.predict([path.read_bytes()])[0] for path in pictures]
        latency_ms = (time.monotonic() - started) * 1000 / len(pictures)
    return DemoSummary(
        folder=str(root),
        run=summary,
        asked=len(pictures),
        right=sum(a.label == p.parent.name for a, p in zip(answers, pictures, strict=True)),
        latency_ms=latency_ms,
    )


@contextmanager
def _serving(bundle: Path) -> Iterator[str]:
    """A server in a process of its own, as a user would start it; gives its address."""
    command = [sys.executable, "-m", "pixloop.serving", str(bundle), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            line = server.stdout.readline() if server.stdout else ""
            if " on http://" not in line:
                raise ServingError("The server did not start; its message stands above.")
            yield line.split(" on ")[1].strip()
        finally:
            server.terminate()
