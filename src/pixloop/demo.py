"""``pixloop demo``: the whole loop on pictures that need no network."""

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from pixloop.bundle import Task
from pixloop.config import FILE_NAME
from pixloop.data.formats import read_samples
from pixloop.data.samples import write_digits, write_shapes
from pixloop.errors import ConfigError, ServingError
from pixloop.pipeline.display import Listener
from pixloop.project import Project
from pixloop.records import Detection, Prediction, Sample
from pixloop.run_summary import RunSummary
from pixloop.serving.client import Client

PICTURES = "pictures"
_ASKED = 25  # test pictures that are sent to the server: a moment's work


@dataclass(frozen=True, slots=True)
class Demo:
    """One demo: its pictures and settings that learn them in a few minutes on two cores.

    Attributes:
        about: what it learns, in a few words.
        write: writes the labelled pictures into a folder.
        task: what is learned.
        settings: sections and keys of pixloop.yaml.
    """

    about: str
    write: Callable[[Path], None]
    task: Task
    settings: Mapping[str, Mapping[str, Any]]


DEMOS: Mapping[str, Demo] = {
    "digits": Demo(
        "handwritten digits",
        write_digits,
        "classification",
        # Small pictures, a small network and no weights to fetch: the loop in less than a minute.
        {
            # What the alarm notices is not measured: it takes a minute or two.
            "monitoring": {"odds_pictures": 0},
            "robustness": {"pictures": 40, "attack_pictures": 20},
            # A promise about 2 % takes at least 149 calibration pictures; this gives 299.
            "data": {"calibration_share": 0.2},
            "model": {
                "name": "test_resnet",
                "pretrained": False,
                "image_size": 32,
                "resize": "squash",
            },
            "training": {
                "epochs": 8,
                "batch_size": 32,
                "learning_rate": 0.003,
                "augmentations": ["rotate"],
                # Converting costs a network this small more than bfloat16 saves.
                "precision": "float32",
            },
        },
    ),
    "shapes": Demo(
        "circles, squares, triangles and stars, each with its box",
        write_shapes,
        "detection",
        {
            "model": {
                "name": "retinanet_mobilenet_v2_fpn",
                "pretrained": False,
                "image_size": 128,
                "resize": "squash",
            },
            "training": {
                "epochs": 12,
                "batch_size": 8,
                "learning_rate": 0.003,
                "augmentations": ["flip", "vflip"],
            },
            "gate": {"minimum": 0.8},
            "monitoring": {"odds_pictures": 0},
            "robustness": {"pictures": 12},
        },
    ),
}


class DemoSummary(BaseModel):
    """What the demo made, and how the server did."""

    model_config = ConfigDict(frozen=True)

    folder: str
    run: RunSummary
    asked: int  #: test pictures that were sent to the server
    right: int  #: of them, those with the right class, or with every object found and no other
    latency_ms: float


def run_demo(
    name: str, folder: str, overrides: Iterable[str] = (), listener: Listener | None = None
) -> DemoSummary:
    """Make a project of the demo's pictures, run its loop, serve it, ask it, stop it.

    A folder that holds the demo already is run again: finished steps are reused.

    Raises:
        ConfigError: there is no such demo, or the folder holds something else.
    """
    if name not in DEMOS:
        raise ConfigError(f"there is no demo {name!r}; there are {' and '.join(DEMOS)}.")
    demo, root = DEMOS[name], Path(folder).resolve()
    if not (root / FILE_NAME).exists():
        if root.exists() and any(root.iterdir()) and not (root / PICTURES).exists():
            raise ConfigError(f"{root} is not empty. Choose another with --dir.")
        demo.write(root / PICTURES)
        Project.init(root, str(root / PICTURES), demo.task, demo.settings)
    project = Project.open(root, overrides)
    if project.config.task != demo.task:
        raise ConfigError(f"{root} holds another demo. Choose another folder with --dir.")
    summary = project.run(listener)
    asked = _some_of_the_test(root / PICTURES, demo.task)
    with _serving(project.bundle(summary.version)[1].path) as url, Client(url) as client:
        started = time.monotonic()
        answers = [client.predict([sample.path.read_bytes()])[0] for sample in asked]
        latency_ms = (time.monotonic() - started) * 1000 / len(asked)
    return DemoSummary(
        folder=str(root),
        run=summary,
        asked=len(asked),
        right=sum(_is_right(a, s) for a, s in zip(answers, asked, strict=True)),
        latency_ms=latency_ms,
    )


def _some_of_the_test(pictures: Path, task: Task) -> Sequence[Sample]:
    samples = read_samples(pictures, task=task)
    test = sorted((s for s in samples if s.split == "test"), key=lambda s: s.path)
    return test[:: max(1, len(test) // _ASKED)]


def _is_right(answer: Prediction | Detection, sample: Sample) -> bool:
    if isinstance(answer, Detection):
        wanted = Counter(box.label for box in sample.boxes or ())
        return Counter(box.label for box in answer.boxes) == wanted
    return answer.label == sample.label


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
