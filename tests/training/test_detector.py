import pytest
import torch

from pixloop.config import TrainingConfig
from pixloop.imaging import Preprocessing
from pixloop.training.detector import Detector
from pixloop.training.detectors import retinanet_mobilenet_v2_fpn
from pixloop.training.scores import score_boxes

TINY = Preprocessing(image_size=64, resize="squash")


def found(*boxes, scores=None, **more):
    boxes = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    scores = {} if scores is None else {"scores": torch.tensor(scores)}
    labels = torch.ones(len(boxes), dtype=torch.int64)
    return {"boxes": boxes, "labels": labels, **scores, **more}


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "lamb", "muon"])
@pytest.mark.parametrize(("pretrained", "share"), [(True, 0.3), (False, 1.0)])
def test_a_pretrained_backbone_learns_slower(optimizer, pretrained, share):
    network = retinanet_mobilenet_v2_fpn(3)
    config = TrainingConfig(optimizer=optimizer, learning_rate=0.1, weight_decay=0.2)
    detector = Detector(network, TINY, config, 100, pretrained=pretrained)
    chosen = detector.configure_optimizers()["optimizer"]
    of = {id(p): group for group in chosen.param_groups for p in group["params"]}
    assert len(of) == len(list(network.parameters()))
    for name, parameter in network.named_parameters():
        group = of[id(parameter)]
        expected = 0.1 * share if name.startswith("backbone.body.") else 0.1
        assert group["initial_lr"] == pytest.approx(expected)
        spared = parameter.ndim == 1
        assert group["weight_decay"] == (0.0 if spared else 0.2)
    assert chosen.param_groups[-1]["initial_lr"] == 0.1  # what TensorBoard shows


def test_every_box_found_scores_one():
    box = (10, 10, 30, 30)
    none = torch.zeros(1, dtype=torch.int64)
    assert score_boxes([found(box, scores=[0.9])], [found(box, iscrowd=none)]) == {
        "map": pytest.approx(1.0),
        "map_50": pytest.approx(1.0),
        "map_75": pytest.approx(1.0),
    }


def test_a_box_that_is_a_bit_off_counts_at_50_only():
    truth = found((10, 10, 30, 30), iscrowd=torch.zeros(1, dtype=torch.int64))
    scores = score_boxes([found((10, 10, 30, 24), scores=[0.9])], [truth])
    assert scores["map_50"] == pytest.approx(1.0)
    assert scores["map_75"] == 0.0
    assert 0.0 < scores["map"] < 1.0


def test_what_is_found_in_a_crowd_is_no_error():
    truth = found((10, 10, 30, 30), (40, 0, 64, 64), iscrowd=torch.tensor([0, 1]))
    answer = found((41, 2, 50, 60), (10, 10, 30, 30), scores=[0.9, 0.8])
    assert score_boxes([answer], [truth])["map_50"] == pytest.approx(1.0)


def test_nothing_to_find_scores_nothing():
    assert score_boxes([found(scores=[])], [found(iscrowd=torch.zeros(0, dtype=torch.int64))]) == {
        "map": 0.0,
        "map_50": 0.0,
        "map_75": 0.0,
    }
