from importlib import util
from pathlib import Path

import pytest
import torch

from pixloop.config import ModelConfig
from pixloop.errors import TrainingError
from pixloop.imaging import Preprocessing
from pixloop.training.built_model import normalisation_layers
from pixloop.training.detectors import fasterrcnn_mobilenet_v2_fpn, retinanet_mobilenet_v2_fpn
from pixloop.training.models import DETECTORS, build_model, find_detector

ON_GPU = {name for name in DETECTORS if "resnet50" in name}  # minutes of a CPU, all together
NAMES = [pytest.param(n, marks=pytest.mark.slow if n in ON_GPU else ()) for n in DETECTORS]


def configured(name, **model):
    return ModelConfig(name=name, resize="squash", pretrained=False, **{"image_size": 64} | model)


def target(*boxes):
    labels = [1 + i % 3 for i in range(len(boxes))]
    return {
        "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        "labels": torch.tensor(labels, dtype=torch.int64),
    }


@pytest.mark.parametrize("name", NAMES)
def test_every_detector_learns_and_answers(name):
    torch.manual_seed(0)
    built = build_model(configured(name), 3, None, "detection")
    network = built.network
    assert network.training
    assert built.weights_origin == "random initialisation"
    assert not built.pretrained
    pictures = torch.randn(2, 3, 64, 64)
    found = target((4, 4, 30, 40), (20, 10, 60, 50))
    for targets in ([target(), target()], [found, target()]):
        network.zero_grad()
        losses = network(pictures, targets)
        total = sum(losses.values())
        assert total.isfinite()
        total.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
    torch.optim.SGD(network.parameters(), 1e-4).step()
    network.eval()
    with torch.inference_mode():
        # In a network that is not trained, everything is nearly nothing; here it need not be.
        for size in (64, 96):
            answers = network(list(torch.randn(2, 3, size, size)))
            assert len(answers) == 2
            for answer in answers:
                count = len(answer["scores"])
                assert answer["boxes"].shape == (count, 4)
                assert (answer["boxes"] >= 0).all()
                assert (answer["boxes"] <= size).all()
                assert ((answer["labels"] >= 1) & (answer["labels"] <= 3)).all()
                assert count <= 100


@pytest.mark.parametrize("build", [fasterrcnn_mobilenet_v2_fpn, retinanet_mobilenet_v2_fpn])
def test_pictures_reach_the_network_as_they_are(build):
    torch.manual_seed(0)
    network = build(3).eval()
    seen = []
    network.backbone.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    pictures = torch.randn(2, 3, 64, 64) * 40
    network(pictures)
    network(list(pictures))
    assert all(torch.equal(batch, pictures) for batch in seen)


def test_background_is_never_an_answer():
    network = retinanet_mobilenet_v2_fpn(3).eval()
    with torch.no_grad():  # sure of everything, background included
        network.head.classification_head.cls_logits.bias.fill_(5.0)
        answer = network(torch.randn(1, 3, 64, 64))[0]
    assert len(answer["labels"])
    assert 0 not in answer["labels"]


def test_preprocessing_is_that_of_the_weights():
    config = configured("ssdlite320_mobilenet_v3_large", interpolation="auto")
    found = build_model(config, 3, None, "detection")
    assert found.preprocessing == Preprocessing(
        image_size=64,
        resize="squash",
        interpolation="bilinear",
        scaled_decoding=True,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
    )
    assert not found.fixed_statistics
    assert normalisation_layers(found.network)


def test_how_pictures_are_read_can_be_chosen():
    chosen = {"interpolation": "area", "scaled_decoding": False}
    config = configured("fasterrcnn_mobilenet_v2_fpn", **chosen)
    found = build_model(config, 3, None, "detection").preprocessing
    assert (found.interpolation, found.scaled_decoding) == ("area", False)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("fasterrcnn_resnet_50_fpn", r"'fasterrcnn_resnet_50_fpn'.*fasterrcnn_resnet50_fpn"),
        ("resnet50", r"'resnet50' is a classifier; task: detection.*retinanet_mobilenet_v2_fpn"),
        ("zzz", r"There are .*ssdlite320"),
    ],
)
def test_an_unknown_detector_is_refused(name, message):
    with pytest.raises(TrainingError, match=message):
        build_model(configured(name), 3, None, "detection")


def test_every_detector_says_what_it_is():
    for name in DETECTORS:
        family = find_detector(name)
        assert family.description
        assert family.backbone_url.startswith("https://")


def test_the_documented_models_are_those_there_are():
    root = Path(__file__).parents[2]
    spec = util.spec_from_file_location("generate", root / "docs" / "generate.py")
    generate = util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    assert (root / "docs/models.md").read_text() == generate.render_models()
