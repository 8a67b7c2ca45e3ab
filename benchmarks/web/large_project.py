"""A project that has seen much: everything in it was made the way a user makes it.

A small network learns handwritten digits; its server answers and captures; the monitor looks at
all of it; the queue is filled from it; versions are registered one after the other. Only the
records of earlier runs are copies of the one run.
"""

import io
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pixloop.bundle import MANIFEST
from pixloop.data.samples import read_digits
from pixloop.project import Project
from pixloop.serving.client import Client

_SIDE_PX = 32
_SETTINGS: dict[str, dict[str, Any]] = {
    "model": {
        "name": "test_resnet",
        "pretrained": False,
        "image_size": _SIDE_PX,
        "resize": "squash",
    },
    "training": {"epochs": 8, "batch_size": 32, "learning_rate": 0.003, "augmentations": []},
    "monitoring": {"odds_pictures": 0},
    "robustness": {"pictures": 0},
    "explanations": {"pictures": 0},
    "serving": {"port": 0, "capture_share": 1.0, "capture_max_bytes": 4_000_000_000},
    "review": {"budget": 1000},
}


def make_project(folder: Path, pictures: int, versions: int, runs: int, say: Any = print) -> None:
    """Make it.

    Args:
        folder: the project's; must not exist.
        pictures: that were answered, captured and looked at.
        versions: that are registered.
        runs: that are remembered.
        say: is told how far it is.
    """
    with tempfile.TemporaryDirectory() as temporary:
        digits = _digits()
        _write(digits[:1200], Path(temporary) / "pictures")
        shutil.copytree(Path(temporary) / "pictures", folder / "pictures")
    project = Project.init(folder, str(folder / "pictures"), settings=_SETTINGS)
    say("running the pipeline once")
    project.run()
    project.registry.approve("1")
    say(f"sending {pictures:,} pictures")
    with _serving(project) as url, Client(url) as client:
        for answer in client.predict_each(_stream(digits, pictures)):
            if isinstance(answer, Exception):
                raise answer
    say("looking at them")
    project.monitor().look()
    say("filling the queue")
    project.collect()
    say(f"registering {versions} versions")
    _register(project, versions)
    _remember(project, runs)


def _digits() -> list[tuple[np.ndarray, str]]:
    return [
        (np.asarray(Image.fromarray(pixels).resize((_SIDE_PX, _SIDE_PX))), label)
        for pixels, label in read_digits()
    ]


def _write(digits: list[tuple[np.ndarray, str]], folder: Path) -> None:
    for number, (pixels, label) in enumerate(digits):
        (folder / label).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / label / f"{number:05}.png")


def _stream(digits: list[tuple[np.ndarray, str]], count: int) -> Iterator[bytes]:
    """No two alike: each is a digit with noise of its own."""
    random = np.random.default_rng(0)
    for _ in range(count):
        pixels, _ = digits[random.integers(len(digits))]
        noisy = np.clip(pixels + random.normal(0, 6, pixels.shape), 0, 255).astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(noisy).save(file, "PNG")
        yield file.getvalue()


@contextmanager
def _serving(project: Project) -> Iterator[str]:
    command = [sys.executable, "-m", "pixloop", "serve", "--json", "-C", str(project.folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        text = ""
        for line in server.stdout:
            text += line
            if line.startswith("}"):
                break
        try:
            yield json.loads(text)["url"]
        finally:
            server.terminate()


def _register(project: Project, versions: int) -> None:
    """The same model again and again, each time with a manifest, and so an identity, of its own."""
    run = project.runs()[0]
    bundle = run.folder / "steps/Export/ml/processing/output/bundle/bundle"
    evaluation = run.folder / "steps/Evaluate/ml/processing/output/evaluation/evaluation.json"
    for number in range(2, versions + 1):
        with tempfile.TemporaryDirectory() as temporary:
            copy = shutil.copytree(bundle, Path(temporary) / "bundle")
            manifest = json.loads((copy / MANIFEST).read_text())
            manifest["lineage"]["copy"] = number
            (copy / MANIFEST).write_text(json.dumps(manifest))
            project.registry.register(copy, evaluation)


def _remember(project: Project, runs: int) -> None:
    first = project.runs()[0]
    began = datetime.fromisoformat(first.started)
    for number in range(1, runs):
        at = began - timedelta(hours=number)
        name = f"{at:%Y%m%dT%H%M%S%f}"[:-3] + f"-{number:04x}"
        shutil.copytree(first.folder, first.folder.with_name(name), symlinks=True)
        record = first.model_copy(update={"id": name, "started": at.isoformat()})
        record.folder = first.folder.with_name(name)
        record.save()
