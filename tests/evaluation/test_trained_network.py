"""The trained network, taken from a bundle's TorchScript graph."""

from pathlib import Path

import pytest
import torch
from torch import nn

from pixloop.bundle import Bundle, Graph, Manifest, Threshold, now, write_bundle
from pixloop.errors import BundleError
from pixloop.evaluation.trained_network import rebuild_network
from pixloop.export import torchscript
from pixloop.export.detector_graph import DetectorGraph
from pixloop.imaging import Preprocessing
from pixloop.training.classifiers import create_classifier
from pixloop.training.models import find_detector

CLASSES = ("blue", "green", "red")


def write_traced_bundle(
    folder: Path, network: nn.Module, model: str, size: int, task: str = "classification"
) -> Bundle:
    preprocessing = Preprocessing(image_size=size, resize="squash")
    graph = torchscript.write(network, preprocessing, folder)
    threshold = Threshold(
        score=None, max_error=0.1, confidence=0.9, accepted_share=0, error=None, pictures=0
    )
    manifest = Manifest.model_validate(
        {
            "name": "tiny",
            "task": task,
            "created": now(),
            "classes": CLASSES,
            "preprocessing": preprocessing,
            "graphs": [graph],
            "chosen_graph": "torchscript",
            "temperature": 1.0,
            "threshold": threshold,
            "lineage": {"model": model},
            "versions": {},
        }
    )
    return write_bundle(folder, manifest)


def _scrambled(network: nn.Module) -> nn.Module:
    torch.manual_seed(1)
    with torch.no_grad():
        for buffer in network.buffers():
            if buffer.is_floating_point():
                buffer.add_(torch.rand_like(buffer) * 0.1)
    return network.eval()


def test_a_classifier_comes_back_with_its_parameters(tmp_path: Path) -> None:
    network = _scrambled(create_classifier("test_resnet", 3, 32))
    rebuilt = rebuild_network(write_traced_bundle(tmp_path, network, "test_resnet", 32))
    images = torch.randn(3, 3, 32, 32)
    assert torch.allclose(rebuilt(images), network(images), atol=1e-5)
    assert not rebuilt.training
    pixels = images.clone().requires_grad_()
    rebuilt(pixels)[:, 0].sum().backward()
    assert pixels.grad is not None
    assert pixels.grad.abs().sum() > 0


def test_a_detector_comes_back_with_its_parameters(tmp_path: Path) -> None:
    name = "retinanet_mobilenet_v2_fpn"
    torch.manual_seed(2)
    network = find_detector(name).build(4).eval()
    graph = DetectorGraph(network, 64).eval()
    rebuilt = rebuild_network(write_traced_bundle(tmp_path, graph, name, 64, "detection"))
    for key, value in network.state_dict().items():
        assert torch.equal(rebuilt.state_dict()[key], value), key


def test_another_model_is_refused(tmp_path: Path) -> None:
    network = create_classifier("test_resnet", 3, 32).eval()
    with pytest.raises(BundleError, match="is not the trained test_vit"):
        rebuild_network(write_traced_bundle(tmp_path, network, "test_vit", 160))


def test_without_a_torchscript_graph_it_says_what_to_do(tmp_path: Path) -> None:
    network = create_classifier("test_resnet", 3, 32).eval()
    bundle = write_traced_bundle(tmp_path, network, "test_resnet", 32)
    onnx = Graph(format="onnx", file="graphs/model.onnx")
    bundle.manifest = bundle.manifest.model_copy(update={"graphs": (onnx,)})
    with pytest.raises(BundleError, match=r"torchscript to export\.formats"):
        rebuild_network(bundle)


def test_a_graph_that_was_exchanged_is_refused(tmp_path: Path) -> None:
    network = create_classifier("test_resnet", 3, 32).eval()
    bundle = write_traced_bundle(tmp_path, network, "test_resnet", 32)
    bundle.graph_path("torchscript").write_bytes(b"something else")
    with pytest.raises(BundleError, match="not the file that was exported"):
        rebuild_network(bundle)
