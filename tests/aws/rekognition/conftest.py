"""A data set, and what Rekognition says after training, in the form of its documentation."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pixloop.config import DataConfig
from pixloop.data.prepare import prepare

_SUMMARY = {
    "Version": 1,
    "AggregatedEvaluationResults": {
        "ConfusionMatrix": [
            {"GroundTruthLabel": "blue", "PredictedLabel": "blue", "Value": 0.9},
            {"GroundTruthLabel": "blue", "PredictedLabel": "red", "Value": 0.1},
            {"GroundTruthLabel": "red", "PredictedLabel": "red", "Value": 1.0},
        ],
        "F1Score": 0.95,
        "Precision": 0.95,
        "Recall": 0.95,
    },
    "EvaluationDetails": {"NumberOfTestingImages": 30, "NumberOfTrainingImages": 90},
    "LabelEvaluationResults": [
        {
            "Label": name,
            "Metrics": {"F1Score": 0.9, "Precision": 0.8, "Recall": 0.7, "Threshold": 0.6},
            "NumberOfTestingImages": pictures,
        }
        for name, pictures in (("blue", 20), ("red", 10))
    ],
}


@pytest.fixture
def summary() -> dict[str, Any]:
    """A training summary: blue is taken for red in a tenth of its 20 pictures."""
    return _SUMMARY


def _write_colours(folder: Path, count: int, side: int = 80) -> None:
    random = np.random.default_rng(side)
    for name, colour in (("blue", (30, 70, 200)), ("red", (210, 60, 40))):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            pixels = np.clip(random.normal(colour, 30, (side, side, 3)), 0, 255).astype(np.uint8)
            suffix = (".png", ".jpg", ".webp")[i % 3]
            Image.fromarray(pixels).save(folder / name / f"{side}-{i}{suffix}")


@pytest.fixture(scope="session")
def write_colours() -> Callable[..., None]:
    """Writes pictures of two classes, each a PNG, JPEG or WebP."""
    return _write_colours


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared data set, some of whose pictures are too small for Rekognition."""
    folder = tmp_path_factory.mktemp("data")
    _write_colours(folder / "pictures", 30)
    _write_colours(folder / "pictures", 2, side=40)
    prepare(
        DataConfig(train=".", calibration_share=0.3),
        folder / "pictures",
        None,
        folder / "dataset",
        folder / "work",
    )
    return folder / "dataset"
