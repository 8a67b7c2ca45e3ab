"""The one operation, as every format computes it, against torchvision's own."""

import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from pixloop.export import onnx as onnx_format
from pixloop.export.suppression import ABSENT, TRANSLATIONS, keep_mask
from pixloop.openvino_runtime import openvino_core

PLACES = 40


class Suppression(nn.Module):
    def forward(self, boxes: Tensor, scores: Tensor) -> Tensor:
        return keep_mask(boxes, scores, 0.5)


def make(rows: int, seed: int, absent: float = 0.3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(rows, PLACES, 2, generator=generator) * 20
    boxes = torch.cat(
        [corners, corners + 1 + 10 * torch.rand(corners.shape, generator=generator)], 2
    )
    scores = torch.rand(rows, PLACES, generator=generator)
    there = torch.rand(rows, PLACES, generator=generator) >= absent
    return boxes, torch.where(there, scores, ABSENT)


def expect(boxes: Tensor, scores: Tensor) -> Tensor:
    kept = torch.zeros_like(scores, dtype=torch.bool)
    for i in range(len(scores)):
        there = torch.where(scores[i] >= 0)[0]
        kept[i, there[torchvision.ops.nms(boxes[i, there], scores[i, there], 0.5)]] = True
    return kept


@pytest.fixture(scope="module")
def onnx_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = {0: torch.export.Dim("R")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own
        program = torch.onnx.export(
            Suppression(),
            make(2, 0),
            input_names=["boxes", "scores"],
            output_names=["kept"],
            opset_version=onnx_format.OPSET,
            dynamo=True,
            dynamic_shapes=(rows, rows),
            custom_translation_table=TRANSLATIONS,
            verbose=False,
        )
    assert program is not None
    file = tmp_path_factory.mktemp("suppression") / "kept.onnx"
    onnx.save(program.model_proto, file)
    return file


CASES = [make(1, 1), make(7, 2), make(3, 3, absent=1.0), make(3, 4, absent=0.0)]


@given(seed=st.integers(0, 10_000), rows=st.integers(1, 4))
@settings(max_examples=30, deadline=None)
def test_rows_are_suppressed_alone(seed: int, rows: int) -> None:
    boxes, scores = make(rows, seed)
    torch.testing.assert_close(keep_mask(boxes, scores, 0.5), expect(boxes, scores))


def test_something_is_kept_and_something_suppressed() -> None:
    boxes, scores = CASES[3]
    kept = keep_mask(boxes, scores, 0.5)
    assert 0.05 < kept.float().mean() < 0.95
    assert keep_mask(boxes, scores, 1.0).all()


def test_among_equals_the_first_is_kept(onnx_file: Path) -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10]]).expand(1, PLACES, 4)
    scores = torch.full((1, PLACES), 0.5)
    for kept in (
        keep_mask(boxes, scores, 0.5),
        run_onnx(onnx_file, boxes, scores),
        run_openvino(onnx_file, boxes, scores),
    ):
        assert np.flatnonzero(np.asarray(kept)[0]).tolist() == [0]


@pytest.mark.parametrize("case", CASES)
def test_onnx_keeps_the_same(onnx_file: Path, case: tuple[Tensor, Tensor]) -> None:
    np.testing.assert_array_equal(run_onnx(onnx_file, *case), expect(*case))


@pytest.mark.parametrize("case", CASES)
def test_openvino_keeps_the_same(onnx_file: Path, case: tuple[Tensor, Tensor]) -> None:
    np.testing.assert_array_equal(run_openvino(onnx_file, *case), expect(*case))


@pytest.mark.filterwarnings("ignore")  # torch calls tracing deprecated
@pytest.mark.parametrize("case", CASES)
def test_torchscript_keeps_the_same_without_pixloop(case: tuple[Tensor, Tensor]) -> None:
    traced = torch.jit.trace(Suppression(), make(2, 0), check_trace=False)
    torch.testing.assert_close(traced(*case), expect(*case))
    assert "pixloop::" not in str(traced.inlined_graph)


def run_onnx(file: Path, boxes: Tensor, scores: Tensor) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    (kept,) = session.run(None, {"boxes": boxes.numpy(), "scores": scores.numpy()})
    return np.asarray(kept)


def run_openvino(file: Path, boxes: Tensor, scores: Tensor) -> np.ndarray:
    model = openvino_core().compile_model(str(file), "CPU")
    return np.asarray(model({"boxes": boxes.numpy(), "scores": scores.numpy()})["kept"])
