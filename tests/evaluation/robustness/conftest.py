"""A predictor over any graph, and a sample of pictures of noise."""

from collections.abc import Callable

import numpy as np
import pytest

from pixloop.bundle import Graph, Manifest, Threshold, now
from pixloop.evaluation.robustness.alterations import Scene
from pixloop.evaluation.robustness.sample import Sample
from pixloop.imaging import Preprocessing
from pixloop.serving.classifier import Classifier
from pixloop.serving.engines import Engine

SIDE = 8


@pytest.fixture
def make_classifier() -> Callable[..., Classifier]:
    """From an engine to the predictor of a bundle with the classes a and b."""

    def make(engine: Engine, side: int = SIDE) -> Classifier:
        threshold = Threshold(
            score=0.5, max_error=0.1, confidence=0.9, accepted_share=1, error=0.0, pictures=9
        )
        manifest = Manifest(
            name="x",
            created=now(),
            classes=("a", "b"),
            preprocessing=Preprocessing(image_size=side, resize="squash", interpolation="area"),
            graphs=(Graph(format="onnx", file="model.onnx"),),
            chosen_graph="onnx",
            temperature=1.0,
            threshold=threshold,
            lineage={},
            versions={},
        )
        return Classifier(manifest, engine)

    return make


@pytest.fixture
def noise() -> Sample:
    """Twelve pictures."""
    random = np.random.default_rng(0)
    pictures = random.integers(60, 196, (12, SIDE, SIDE, 3)).astype(np.uint8)
    scenes = tuple(Scene(each) for each in pictures)
    return Sample(tuple(range(12)), tuple(map(str, range(12))), (0,) * 12, scenes)
