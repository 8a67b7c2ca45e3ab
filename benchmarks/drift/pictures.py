"""A project whose held-out pictures suffice for streams, and the signals of all of them."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pixloop.bundle import Bundle
from pixloop.data.corruptions import CORRUPTIONS
from pixloop.data.dataset import Dataset, Row
from pixloop.monitoring.corrupted import Original, open_original
from pixloop.monitoring.extractor import Extractor
from pixloop.progress import track
from pixloop.project import Project
from pixloop.serving.predictor import open_predictor

#: About 700 pictures to learn from; 2,540 and some remain.
SETTINGS = {
    "data": {"validation_share": 0.04, "calibration_share": 0.71},
    "model": {"name": "mobilenetv2_100", "resize": "squash", "image_size": 161},
    "training": {"epochs": 6, "augmentations": ["flip", "crop", "color"], "seed": 0},
    "export": {"precisions": ["float32"]},
    "monitoring": {"odds_pictures": 40},
}
WEIGHTS = "mobilenetv2_100.timm.safetensors"
HELD_OUT = ("calibration", "validation", "test")
SEVERITY = 3
CORRUPTED = 400
_BATCH = 32

Values = NDArray[np.float32]


def make_project(data: Path, folder: Path) -> Project:
    """Train on intel from given weights, or take the project that is there."""
    if (folder / "pixloop.yaml").exists():
        return Project.open(folder)
    settings = {
        **SETTINGS,
        "model": {**SETTINGS["model"], "weights": str(data / "weights" / WEIGHTS)},
    }
    project = Project.init(folder, str(data / "intel"), "classification", settings=settings)
    project.run()
    return project


def newest(project: Project, step: str, file: str) -> Path:
    """The folder that a step wrote last."""
    found = (project.state / "steps").glob(f"{step}-*/**/{file}")
    return max(found, key=lambda path: path.stat().st_mtime).parent


def measure(project: Project) -> dict[str, NDArray]:
    """The values of all held-out pictures, and of some of them with each corruption.

    Of corrupted pictures also the scores and what is right, for ``accuracy``. The last pictures of
    the pool, in an order by chance, are the corrupted ones.
    """
    bundle = Bundle.open(newest(project, "Export", "bundle.json"))
    data = Dataset.open(newest(project, "Prepare", "dataset.json"))
    model, extractor = open_predictor(bundle), Extractor.open(bundle)
    rows = [row for name in HELD_OUT for row in data.split(name)]
    rows = [rows[i] for i in np.random.default_rng(0).permutation(len(rows))]
    labels = [data.info.classes[row.label] for row in rows]

    def look(pictures: Sequence[bytes], truth: Sequence[str]) -> tuple[Values, NDArray, NDArray]:
        values, scores, right = [], [], []
        for start in range(0, len(pictures), _BATCH):
            batch = pictures[start : start + _BATCH]
            answers = model.predict(batch)
            values.append(extractor.measure(batch, answers).values)
            scores += [answer.score for answer in answers]
            right += [a.label == t for a, t in zip(answers, truth[start:], strict=False)]
        return np.concatenate(values), np.array(scores, np.float32), np.array(right, np.float32)

    arrays: dict[str, NDArray] = {"signals": _names(extractor)}
    arrays["clean"], arrays["clean_scores"], arrays["clean_right"] = look(_images(rows), labels)
    originals = [open_original(row.image) for row in rows[-CORRUPTED:]]
    truth = labels[-CORRUPTED:]
    # Only encoded again: what that alone does to the signals.
    encoded = [o.encode(o.pixels) for o in originals]
    arrays[f"encoded:{SEVERITY}"] = look(encoded, truth)[0]
    with ThreadPoolExecutor(2) as threads:
        for name in track(CORRUPTIONS, "measuring corrupted pictures", len(CORRUPTIONS)):
            for severity in (1, 2, 3, 4, 5):
                some = originals if severity == SEVERITY else originals[:150]
                pictures = list(threads.map(_corrupt(name, severity), enumerate(some)))
                values, scores, right = look(pictures, truth[: len(some)])
                arrays[f"{name}:{severity}"] = values
                arrays[f"{name}:{severity}:scores"] = scores
                arrays[f"{name}:{severity}:right"] = right
    return arrays


def _corrupt(name: str, severity: int):
    def corrupt_one(numbered: tuple[int, Original]) -> bytes:
        return numbered[1].corrupted(name, severity, numbered[0])

    return corrupt_one


def _images(rows: Sequence[Row]) -> list[bytes]:
    return [row.image for row in rows]


def _names(extractor: Extractor) -> NDArray:
    return np.array([[s.name, s.group, s.words] for s in extractor.signals], np.str_)
