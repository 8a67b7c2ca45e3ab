import re
from collections.abc import Callable
from io import BytesIO

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from pixloop.bundle import Graph, Precision
from pixloop.config import ExportConfig
from pixloop.errors import ExportError, ServingError
from pixloop.export.certificate import GraphParity, choose
from pixloop.export.parity import Reference, compare, input_batches
from pixloop.imaging import Preprocessing
from pixloop.serving.engines import Logits, PixelBatch

LIMITS = ExportConfig()


def reference(pixels: PixelBatch) -> Logits:
    """Three logits that depend on the picture."""
    return np.float32(pixels.mean(axis=(1, 2)) / 15)


def batches() -> list[PixelBatch]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (n, 4, 4, 3), np.uint8) for n in (17, 3, 1)]


def certify(
    engine: Callable[[PixelBatch], Logits],
    limits: ExportConfig = LIMITS,
    precision: Precision = "float32",
) -> GraphParity:
    graph = Graph(format="openvino", file="model.xml", precision=precision)
    (result,) = compare(
        lambda pixels: (reference(pixels),),
        {graph: lambda pixels: (engine(pixels),)},
        batches(),
        limits,
    )
    return result


def test_the_model_itself_agrees() -> None:
    result = certify(reference)
    assert result.verdict == "agrees"
    assert result.pictures == 21
    assert result.top1_agreement == 1
    assert result.largest_probability_difference == 0
    assert result.mean_probability_difference == 0
    assert result.latency_ms is not None


def test_differences_are_measured_in_probabilities() -> None:
    result = certify(lambda pixels: reference(pixels) + np.float32([0.01, 0, 0]))
    assert result.verdict == "refused"
    assert result.largest_probability_difference == pytest.approx(0.0025, rel=0.1)
    assert result.mean_probability_difference is not None
    assert 0 < result.mean_probability_difference < 0.0025
    assert "export.max_probability_difference allows 0.001" in result.reason


def test_a_shift_of_all_logits_changes_nothing() -> None:
    result = certify(lambda pixels: reference(pixels) + 3)
    assert result.verdict == "agrees"


def test_the_limits_decide() -> None:
    loose = ExportConfig(max_accuracy_loss=0.99, max_probability_difference=1)
    result = certify(lambda pixels: reference(pixels[::-1]), loose)
    assert result.verdict == "agrees"
    assert result.top1_agreement is not None
    assert result.top1_agreement < 0.9


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (lambda pixels: reference(pixels[::-1]), "top class"),  # reordered
        (lambda pixels: np.repeat(reference(pixels[:1]), len(pixels), 0), "top class"),
        (lambda pixels: reference(pixels[:1]), r"shape \(1, 3\)"),
        (lambda pixels: reference(pixels) * np.nan, "not finite"),
    ],
)
def test_what_is_wrong_only_in_batches_is_refused(
    wrong: Callable[[PixelBatch], Logits], reason: str
) -> None:
    result = certify(wrong)
    assert result.verdict == "refused"
    assert result.latency_ms is None
    assert re.search(reason, result.reason)


def test_an_engine_that_takes_one_batch_size_is_refused() -> None:
    def fixed(pixels: PixelBatch) -> Logits:
        if len(pixels) != 17:
            raise ServingError("expected 17 pictures")
        return reference(pixels)

    assert certify(fixed).reason == "expected 17 pictures"


REDUCED = ExportConfig(max_accuracy_loss=0.1, max_reduced_difference=0.05)


@pytest.mark.parametrize("precision", ["bfloat16", "int8", "int8-bfloat16"])
def test_reduced_precision_has_a_limit_of_its_own(precision: Precision) -> None:
    def off(by: float) -> Callable[[PixelBatch], Logits]:
        return lambda pixels: reference(pixels) + np.float32([by, 0, 0])

    assert certify(off(0.1), REDUCED).verdict == "refused"
    result = certify(off(0.1), REDUCED, precision)
    assert (result.verdict, result.name) == ("agrees", f"openvino-{precision}"), result.reason
    result = certify(off(0.5), REDUCED, precision)
    assert result.verdict == "refused"
    assert "export.max_reduced_difference allows 0.05" in result.reason


def test_reduced_precision_may_change_no_more_top_classes_than_any() -> None:
    limits = ExportConfig(max_reduced_difference=1)
    result = certify(lambda pixels: reference(pixels)[:, [1, 0, 2]], limits, "int8")
    assert result.verdict == "refused"
    assert "export.max_accuracy_loss allows 0.20%" in result.reason
    assert "difference" not in result.reason


def parity(
    name: str, pictures_per_s: float | None, latency_ms: float = 1.0, verdict: str = "agrees"
) -> GraphParity:
    format_, _, precision = name.partition("-")
    return GraphParity.model_validate(
        {
            "format": format_,
            "precision": precision or "float32",
            "verdict": verdict,
            "reason": "so",
            "latency_ms": latency_ms,
            "pictures_per_s": pictures_per_s,
        }
    )


def refused(name: str) -> GraphParity:
    return parity(name, None, verdict="refused")


def test_the_fastest_that_agrees_is_chosen() -> None:
    assert choose([parity("onnx", 300), parity("openvino", 400, 9.0)]) == "openvino"
    assert choose([parity("onnx", 300), refused("openvino")]) == "onnx"
    assert choose([parity("openvino", 300), parity("openvino-int8", 900)]) == "openvino-int8"
    assert choose([parity("torchscript", 900), parity("onnx", 300)]) == "onnx"
    assert choose([parity("torchscript", 900), refused("onnx")]) == "torchscript"
    with pytest.raises(ExportError, match="onnx: so; openvino-int8: so"):
        choose([refused("onnx"), refused("openvino-int8")])


def test_of_equally_fast_graphs_the_one_that_answers_a_lone_picture_sooner_is_chosen() -> None:
    assert choose([parity("onnx", 400, 3.0), parity("openvino", 395, 2.0)]) == "openvino"
    assert choose([parity("onnx", 400, 3.0), parity("openvino", 380, 2.0)]) == "onnx"


def test_a_model_that_answers_nan_is_named() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    with torch.no_grad():
        network[1].bias[0] = float("nan")
    with pytest.raises(ExportError, match="trained model answers with NaN"):
        Reference(network, Preprocessing(image_size=2))(np.zeros((1, 2, 2, 3), np.uint8))


@given(count=st.integers(1, 90))
def test_every_picture_and_every_batch_size_is_tried(count: int) -> None:
    read: list[int] = []
    picture = _pixel()

    def note(index: int) -> bytes:
        read.append(index)
        return picture

    sizes = [len(b) for b in input_batches(note, range(count), Preprocessing(image_size=1))]
    assert set(read) == set(range(count))
    assert set(sizes) == {1, 3, 17}
    assert len(read) == sum(sizes) < count + 21


def _pixel() -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (1, 1)).save(buffer, "PNG")
    return buffer.getvalue()
