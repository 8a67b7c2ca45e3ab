"""What the graphs' files hold, beyond answering right (tests/contracts/test_engines.py)."""

import re
from pathlib import Path

import onnx as onnx_library
import pytest
import torch
from torch import nn

from pixloop.errors import ExportError
from pixloop.export import onnx, openvino, torchscript
from pixloop.imaging import Preprocessing

PREPROCESSING = Preprocessing(image_size=32)


def test_onnx_is_one_file_of_equal_bytes(network: nn.Module, tmp_path: Path) -> None:
    for name in ("a", "b"):
        onnx.write(network, PREPROCESSING, tmp_path / name)
        assert [f.name for f in (tmp_path / name / "graphs").iterdir()] == ["model.onnx"]
    first, second = ((tmp_path / name / onnx.FILE).read_bytes() for name in ("a", "b"))
    assert first == second


def test_onnx_names_and_shapes(network: nn.Module, tmp_path: Path) -> None:
    onnx.write(network, PREPROCESSING, tmp_path)
    graph = onnx_library.load(tmp_path / onnx.FILE).graph
    (images,), (logits,) = graph.input, graph.output
    assert (images.name, logits.name) == ("images", "logits")
    assert images.type.tensor_type.elem_type == onnx_library.TensorProto.FLOAT
    dims = images.type.tensor_type.shape.dim
    assert dims[0].dim_param
    assert [d.dim_value for d in dims[1:]] == [3, 32, 32]
    assert not any(node.metadata_props for node in graph.node)


def test_openvino_keeps_float32_and_any_batch(network: nn.Module, tmp_path: Path) -> None:
    openvino.write(network, PREPROCESSING, tmp_path)
    assert {f.name for f in (tmp_path / "graphs").iterdir()} == {"model.xml", "model.bin"}
    xml = (tmp_path / openvino.FILE).read_text()
    assert "f16" not in xml
    assert re.search(r'name="images"[^/]*/?>\s*<data shape="\?,3,32,32"', xml)


def test_a_network_that_cannot_be_exported_is_an_export_error(tmp_path: Path) -> None:
    class Erratic(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            raise ValueError("no such thing")

    for module in (torchscript, onnx, openvino):
        with pytest.raises(ExportError, match="the network cannot be"):
            module.write(Erratic().eval(), PREPROCESSING, tmp_path)
    assert not [f for f in tmp_path.rglob("*") if f.is_file()]


def test_exports_say_nothing(
    network: nn.Module, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for module in (torchscript, onnx, openvino):
        module.write(network, PREPROCESSING, tmp_path)
    assert capfd.readouterr() == ("", "")
