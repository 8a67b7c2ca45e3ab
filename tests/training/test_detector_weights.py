import dataclasses
import hashlib
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch.testing import assert_close

from pixloop.config import ModelConfig
from pixloop.errors import TrainingError
from pixloop.training import models
from pixloop.training.detectors import fasterrcnn_mobilenet_v2_fpn, retinanet_mobilenet_v2_fpn
from pixloop.training.models import DETECTORS, TrainedModel, build_model, load_model, save_model

FASTER, RETINA = "fasterrcnn_mobilenet_v2_fpn", "retinanet_mobilenet_v2_fpn"


def build(name, num_classes, weights=None, pretrained=False):
    config = ModelConfig(name=name, resize="squash", pretrained=pretrained, image_size=64)
    return build_model(config, num_classes, weights, "detection")


def equal_tensors(a, b):
    return {key for key in a if key in b and torch.equal(a[key], b[key])}


@pytest.mark.parametrize(
    ("name", "backbone", "options"),
    [
        (FASTER, "mobilenet_v2", {}),
        (RETINA, "mobilenet_v2", {}),
        ("fasterrcnn_mobilenet_v3_large_fpn", "mobilenet_v3_large", {}),
        ("ssdlite320_mobilenet_v3_large", "mobilenet_v3_large", {"reduced_tail": True}),
        ("retinanet_resnet50_fpn", "resnet50", {}),
    ],
)
def test_a_classifier_gives_its_detector_the_backbone(tmp_path, name, backbone, options):
    torch.manual_seed(0)
    classifier = torchvision.models.get_model(backbone, **options)
    for layer in classifier.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.running_mean.normal_()
    path = tmp_path / "w.safetensors"
    save_file(classifier.state_dict(), path)
    built = build(name, 3, path)
    assert built.weights_origin == "file w.safetensors (backbone)"
    assert built.pretrained
    assert built.fixed_statistics
    assert all(layer.startswith("backbone.") for layer in built.fixed_statistics)
    # The same features, whatever the layers are called.
    body = built.network.eval().backbone
    pictures = torch.randn(1, 3, 64, 64)
    layers = classifier.eval()
    if backbone == "resnet50":
        stem = layers.maxpool(layers.relu(layers.bn1(layers.conv1(pictures))))
        expected = layers.layer4(layers.layer3(layers.layer2(layers.layer1(stem))))
        found = list(body.body(pictures).values())[-1]
    elif name.startswith("ssdlite"):
        expected, found = layers.features(pictures), body(pictures)["1"]
    else:
        last = {RETINA: 17}.get(name, len(layers.features) - 1)
        expected = layers.features[: last + 1](pictures)
        found = list(body.body(pictures).values())[-1]
    # The detector's own epsilon of batch normalisation may differ from MobileNetV3's.
    tolerance = {"rtol": 1e-4, "atol": 1e-4} if "v3" not in name else {"rtol": 0.1, "atol": 0.1}
    assert_close(found, expected, **tolerance)


def test_real_weights_fit(shared_data):
    path = shared_data / "weights" / "mobilenet_v2.torchvision.safetensors"
    assert build(FASTER, 3, path).weights_origin == f"file {path.name} (backbone)"
    assert build(RETINA, 3, path).pretrained


def test_ssdlite_takes_what_fits_of_the_usual_backbone(tmp_path):
    save_file(torchvision.models.mobilenet_v3_large().state_dict(), tmp_path / "w.safetensors")
    built = build("ssdlite320_mobilenet_v3_large", 3, tmp_path / "w.safetensors")
    assert built.pretrained


def test_a_detector_goes_on_from_a_detector(tmp_path):
    source = fasterrcnn_mobilenet_v2_fpn(4)
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    same, other = (
        build(FASTER, 3, tmp_path / "w.safetensors"),
        build(FASTER, 5, tmp_path / "w.safetensors"),
    )
    given = source.state_dict()
    assert same.weights_origin == "file w.safetensors"
    assert equal_tensors(given, same.network.state_dict()) == given.keys()
    found = equal_tensors(given, other.network.state_dict())
    heads = {key for key in given if key.startswith("roi_heads.box_predictor.")}
    assert found == given.keys() - heads
    assert other.network.roi_heads.box_predictor.cls_score.out_features == 6
    assert len(other.fixed_statistics) == 52


def test_retinanet_keeps_all_but_the_last_layer(tmp_path):
    source = retinanet_mobilenet_v2_fpn(4)
    torch.save(source.state_dict(), tmp_path / "w.pt")
    found = build(RETINA, 1, tmp_path / "w.pt").network.state_dict()
    given = source.state_dict()
    lost = given.keys() - equal_tensors(given, found)
    assert lost == {f"head.classification_head.cls_logits.{part}" for part in ("weight", "bias")}


def test_what_does_not_fit_is_refused_by_name(tmp_path):
    path = tmp_path / "w.safetensors"
    save_file(torchvision.models.resnet18().state_dict(), path)
    with pytest.raises(TrainingError, match=r"w\.safetensors holds neither.*mobilenet_v2.*bn1"):
        build(FASTER, 3, path)
    save_file(retinanet_mobilenet_v2_fpn(4).state_dict(), path)
    with pytest.raises(TrainingError, match=r"w\.safetensors does not .*fasterrcnn_mobilenet_v2"):
        build(FASTER, 3, path)
    save_file(fasterrcnn_mobilenet_v2_fpn(4, channels=64).state_dict(), path)
    with pytest.raises(TrainingError, match=r"w\.safetensors does not fit"):
        build(FASTER, 3, path)


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A stand-in for PyTorch's server: its folder, and ``publish(tensors, name) -> url``."""
    folder = tmp_path / "server"
    folder.mkdir()
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))

    def handler(*args):
        return _Quiet(*args, directory=str(folder))

    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()

        def publish(tensors, name):
            torch.save(tensors, folder / name)
            digits = hashlib.sha256((folder / name).read_bytes()).hexdigest()[:8]
            (folder / name).rename(folder / f"{name}-{digits}.pth")
            return f"http://127.0.0.1:{http.server_port}/{name}-{digits}.pth"

        yield publish
        http.shutdown()


@pytest.fixture
def publish_as(monkeypatch):
    """Gives RETINA other addresses."""

    def change(**changes):
        family = dataclasses.replace(DETECTORS[RETINA], **changes)
        monkeypatch.setattr(models, "DETECTORS", {**DETECTORS, RETINA: family})

    return change


NOWHERE = "http://127.0.0.1:9/none-01234567.pth"


def test_published_weights_are_fetched_once(server, publish_as, tmp_path, capsys):
    source = retinanet_mobilenet_v2_fpn(91)
    url = server(source.state_dict(), "coco")
    publish_as(coco_url=url)
    built = build(RETINA, 3, pretrained=True)
    assert built.weights_origin == f"torchvision {RETINA} (COCO)"
    found, given = built.network.state_dict(), source.state_dict()
    assert torch.equal(found["backbone.body.0.0.weight"], given["backbone.body.0.0.weight"])
    assert found["head.classification_head.cls_logits.bias"].shape == (9 * 4,)
    assert capsys.readouterr().out == ""
    publish_as(coco_url=url.replace("127.0.0.1", "unknown.invalid"))  # from the cache, then
    assert build(RETINA, 3, pretrained=True).weights_origin == f"torchvision {RETINA} (COCO)"


def test_without_a_whole_detector_the_backbone_is_taken(server, publish_as):
    url = server(torchvision.models.mobilenet_v2().state_dict(), "imagenet")
    publish_as(coco_url=NOWHERE, backbone_url=url)
    built = build(RETINA, 3, pretrained=True)
    assert built.weights_origin == "torchvision mobilenet_v2 (ImageNet, backbone)"
    assert built.pretrained


def test_without_any_it_starts_by_chance_and_says_so(server, publish_as, caplog):
    publish_as(coco_url=None, backbone_url=NOWHERE)
    built = build(RETINA, 3, pretrained=True)
    assert not built.pretrained
    assert built.weights_origin == "random initialisation (127.0.0.1:9 cannot be reached)"
    assert "Training starts from random weights" in caplog.text


def test_a_download_that_is_not_what_was_published_is_not_used(server, publish_as, tmp_path):
    url = server(retinanet_mobilenet_v2_fpn(91).state_dict(), "coco")
    (file,) = (tmp_path / "server").iterdir()
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    publish_as(coco_url=url, backbone_url=NOWHERE)
    assert not build(RETINA, 3, pretrained=True).pretrained
    assert not list((tmp_path / "hub").rglob("*.pth"))


def test_weights_of_no_epsilon_give_the_same_answers(server, publish_as):
    """As torchvision's first COCO weights, which know of no epsilon in batch normalisation."""
    torch.manual_seed(0)
    source = retinanet_mobilenet_v2_fpn(4).eval()
    for layer in source.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.running_var.uniform_(1e-4, 1e-3)
    publish_as(coco_url=server(source.state_dict(), "coco"), zero_epsilon=True)
    network = build(RETINA, 3, pretrained=True).network.eval()
    for layer in source.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.eps = 0.0
    pictures = torch.randn(1, 3, 64, 64)
    found, expected = network.backbone(pictures)["0"], source.backbone(pictures)["0"]
    assert (found - expected).norm() < 1e-4 * expected.norm()


@pytest.mark.parametrize("name", [FASTER, RETINA, "ssdlite320_mobilenet_v3_large"])
def test_a_saved_detector_comes_back(tmp_path, name):
    built = build(name, 2)
    model = TrainedModel(
        built.network.eval(), name, ("a", "ö"), built.preprocessing, {"seed": 3}, "detection"
    )
    save_model(tmp_path, model)
    loaded = load_model(tmp_path)
    assert dataclasses.replace(loaded, network=model.network) == model
    assert not loaded.network.training
    pictures = torch.randn(2, 3, 96, 96)
    with torch.inference_mode():
        for one, other in zip(loaded.network(pictures), model.network(pictures), strict=True):
            assert_close(one, other)


def test_a_model_of_an_unknown_detector_is_refused(tmp_path):
    built = build(RETINA, 2)
    names = ("a", "b")
    model = TrainedModel(built.network, "retinanet_v9", names, built.preprocessing, {}, "detection")
    save_model(tmp_path, model)
    with pytest.raises(TrainingError, match="retinanet_v9"):
        load_model(tmp_path)
