"""The study of robustness, of a detector: boxes instead of labels, attacks included."""

import json
from pathlib import Path

import pytest
import torch
from tests.evaluation.detection.conftest import Maker
from tests.evaluation.test_trained_network import write_traced_bundle

from pixloop.bundle import Bundle
from pixloop.config_file import parse_config
from pixloop.data.corruptions import CORRUPTIONS
from pixloop.data.dataset import Dataset
from pixloop.evaluation.robustness.study import study_robustness
from pixloop.evaluation.section import Subject
from pixloop.export.detector_graph import DetectorGraph
from pixloop.training.models import find_detector

NAME, SIDE = "retinanet_mobilenet_v2_fpn", 64


@pytest.fixture
def untrained(tmp_path: Path) -> Bundle:
    """It knows nothing, but has gradients."""
    torch.manual_seed(2)
    graph = DetectorGraph(find_detector(NAME).build(4).eval(), SIDE).eval()
    return write_traced_bundle(tmp_path / "bundle", graph, NAME, SIDE, "detection")


def test_every_number_is_of_boxes_and_is_json(untrained: Bundle, make_dataset: Maker) -> None:
    settings = [
        "robustness.pictures=4",
        "robustness.severities=[5]",
        "robustness.attack_pictures=10",
        "robustness.attack_strengths=[2]",
    ]
    config = parse_config({"task": "detection", "data": "."}, settings)
    data = Dataset.open(make_dataset(8))
    section = study_robustness(Subject(config, untrained, data, None, None))
    assert section is not None
    content = json.loads(json.dumps(section.content, allow_nan=False))
    assert content["metric"] == "map_50"
    assert set(content["corruptions"]) == set(CORRUPTIONS)
    for row in (content["clean"], *content["curves"]["rotation"]):
        assert {"map_50", "map", "interval"} <= set(row)
    attacks = content["attacks"]
    assert attacks["pictures"] == 2  # a fifth of what a classifier's would be
    for method in ("fgsm", "pgd"):
        (row,) = attacks[method]
        assert row["strength"] == 2
        assert 0 <= row["interval"][0] <= row["interval"][1] <= 1
        assert {"map_50", "map"} <= set(row)
    assert "AP50 under attack" in section.body
    assert "graph that ships</th>" not in section.body
