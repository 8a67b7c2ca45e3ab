import re
from collections.abc import Callable
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from pixloop.bundle import Graph, Precision
from pixloop.config import ExportConfig
from pixloop.errors import ExportError, ServingError
from pixloop.export.box_conditions import BOX_BATCH_SIZES, Batch, box_batches
from pixloop.export.box_parity import BoxReference, compare_boxes
from pixloop.export.certificate import GraphParity
from pixloop.imaging import Preprocessing
from pixloop.serving.engines import Engine, Outputs, PixelBatch

LIMITS = ExportConfig()
PREPROCESSING = Preprocessing(image_size=64, resize="letterbox")
PLACES = 20


class Finder(nn.Module):
    """Stands for a trained detector: boxes follow from the picture; label 0 is the background."""

    score_thresh = 0.05
    detections_per_img = PLACES

    def forward(self, images: list[torch.Tensor]) -> list[dict[str, torch.Tensor]]:
        return [self._find(image.double()) for image in images]

    def _find(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        values = image.reshape(3, -1)[:, : 4 * 15 * 7 : 7].flatten()[:60].reshape(15, 4).sigmoid()
        corners = values[:, :2] * 30
        boxes = torch.cat([corners, corners + 10 + 20 * values[:, 2:]], 1)
        scores = (0.1 + 0.8 * (values.sum(1) * 37 % 1)).sort(descending=True).values
        there = scores > (2.0 if image.std() < 0.1 else 0.0)
        labels = 1 + torch.arange(15) % 3
        return {"boxes": boxes[there], "scores": scores[there], "labels": labels[there]}


REFERENCE = BoxReference(Finder(), PREPROCESSING)


@pytest.fixture(scope="module")
def batches() -> list[Batch]:
    def read(index: int) -> bytes:
        random = np.random.default_rng(index)
        buffer = BytesIO()
        rgb = random.integers(0, 256, (40 + index, 60, 3), dtype=np.uint8)
        Image.fromarray(rgb).save(buffer, "PNG")
        return buffer.getvalue()

    return list(box_batches(read, range(20), PREPROCESSING))


def certify(
    engine: Engine,
    batches: list[Batch],
    limits: ExportConfig = LIMITS,
    precision: Precision = "float32",
) -> GraphParity:
    graph = Graph(format="openvino", file="model.xml", precision=precision)
    (result,) = compare_boxes(REFERENCE, {graph: engine}, batches, limits)
    return result


def change(alter: Callable[[Outputs], Outputs]) -> Engine:
    return lambda pixels: alter(REFERENCE(pixels))


def noise(count: int) -> PixelBatch:
    return np.random.default_rng(0).integers(0, 256, (count, 64, 64, 3), np.uint8)


def test_every_condition_is_there(batches: list[Batch]) -> None:
    sizes: dict[str, set[int]] = {}
    for batch in batches:
        assert batch.pixels.shape[1:] == (64, 64, 3)
        assert len(batch.fitted) == len(batch.pixels)
        sizes.setdefault(batch.condition, set()).add(len(batch.pixels))
    assert {f"test pictures, {size} at a time" for size in BOX_BATCH_SIZES} <= sizes.keys()
    assert 2 not in BOX_BATCH_SIZES  # the batch that is traced
    for shape in ("very wide", "very tall", "tiny", "large"):
        assert sizes[f"{shape} pictures"] == {1}
    assert sizes["pictures of all shapes together"] == {5}
    assert sizes["pictures with no object"] == {1}
    assert sizes["pictures with no object among others"] == {3, 5}
    fitted = {batch.condition: batch.fitted[0] for batch in batches}
    assert fitted["very wide pictures"][1] < 12
    assert fitted["very tall pictures"][0] < 20


def test_the_model_itself_agrees(batches: list[Batch]) -> None:
    result = certify(REFERENCE, batches)
    assert result.verdict == "agrees", result.reason
    assert result.boxes is not None
    assert result.boxes > 300
    assert (result.matched_share, result.smallest_iou) == (1.0, 1.0)
    assert result.largest_score_difference == 0
    assert result.latency_ms is not None
    assert result.conditions is not None
    assert sum(each.pictures for each in result.conditions) == result.pictures


def shift(outputs: Outputs) -> Outputs:
    boxes, scores, labels = outputs
    return np.where(scores[..., None] > 0, boxes + np.float32(0.5), boxes), scores, labels


def of_first(outputs: Outputs) -> Outputs:
    return tuple(np.repeat(output[:1], len(output), 0) for output in outputs)


@pytest.mark.parametrize(
    "wrong",
    [
        shift,
        of_first,
        lambda outputs: tuple(output[::-1] for output in outputs),
        lambda outputs: (outputs[0], outputs[1] * np.float32(0.99), outputs[2]),
        lambda outputs: (outputs[0], outputs[1], (outputs[2] + 1) % 3),
        lambda outputs: (outputs[0], np.where(outputs[1] < 0.5, 0, outputs[1]), outputs[2]),
    ],
)
def test_wrong_boxes_are_refused(wrong: Callable[[Outputs], Outputs], batches: list[Batch]) -> None:
    result = certify(change(wrong), batches)
    assert result.verdict == "refused"
    assert result.latency_ms is None
    assert "export.max_accuracy_loss allows 0.20%" in result.reason


def shake(outputs: Outputs, shift: float = 0.2, fall: float = 0.05) -> Outputs:
    """Boxes shifted by a part of a pixel, scores a little lower."""
    boxes, scores, labels = outputs
    there = scores > 0
    moved = np.where(there[..., None], boxes + np.float32(shift), boxes)
    return moved, np.where(there, scores - np.float32(fall), scores), labels


def test_reduced_precision_may_shake_boxes_and_float32_may_not(batches: list[Batch]) -> None:
    shaken = change(shake)
    assert certify(shaken, batches).verdict == "refused"
    result = certify(shaken, batches, precision="int8")
    assert (result.verdict, result.name) == ("agrees", "openvino-int8"), result.reason
    assert result.largest_score_difference == pytest.approx(0.05, abs=1e-6)
    for further in ({"shift": 2.0}, {"fall": 0.12}):
        limits = ExportConfig(max_reduced_difference=0.1, min_reduced_box_iou=0.9)
        engine = change(lambda outputs, further=further: shake(outputs, **further))
        result = certify(engine, batches, limits, precision="int8-bfloat16")
        assert result.verdict == "refused"
        assert "overlap under 0.9, score off by over 0.1" in result.reason


def test_what_is_wrong_in_batches_only_is_named(batches: list[Batch]) -> None:
    result = certify(change(of_first), batches)
    assert "test pictures, 3 at a time" in result.reason
    assert "test pictures, 1 at a time" not in result.reason


def test_a_ghost_on_an_empty_picture_is_refused(batches: list[Batch]) -> None:
    def haunt(outputs: Outputs) -> Outputs:
        boxes, scores, labels = (output.copy() for output in outputs)
        empty = ~scores.any(1)
        boxes[empty, 0], scores[empty, 0] = (5, 5, 20, 20), 0.3
        return boxes, scores, labels

    mean_colour = np.full((1, 64, 64, 3), (124, 116, 104), np.uint8)
    blank = Batch("pictures with no object", mean_colour, ((64, 64),))
    conditions = [*batches, blank] * 3
    assert certify(REFERENCE, conditions).verdict == "agrees"
    result = certify(change(haunt), conditions)
    assert result.verdict == "refused"
    assert result.reason == "3 boxes on pictures in which the model finds nothing"


def test_boxes_in_the_margin_and_thin_ones_do_not_count() -> None:
    def add(outputs: Outputs) -> Outputs:
        boxes, scores, labels = (output.copy() for output in outputs)
        boxes[:, -2:] = [[2, 40, 20, 60], [3, 3, 3.05, 20]]  # below the picture; a hair
        scores[:, -2:] = 0.5
        return boxes, scores, labels

    pixels = noise(1)
    assert certify(change(add), [Batch("wide", pixels, ((64, 35),))]).verdict == "agrees"
    assert certify(change(add), [Batch("square", pixels, ((64, 64),))]).verdict == "refused"


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (lambda outputs: tuple(o[:1] for o in outputs), r"5 pictures gave .*\(\(1, 20, 4\)"),
        (lambda outputs: outputs[:2], "shapes"),
        (lambda outputs: (outputs[0] * np.nan, *outputs[1:]), "not finite"),
    ],
)
def test_answers_of_the_wrong_form_are_refused(
    wrong: Callable[[Outputs], Outputs], reason: str, batches: list[Batch]
) -> None:
    result = certify(change(wrong), batches)
    assert result.verdict == "refused"
    assert re.search(reason, result.reason)


def test_an_engine_that_fails_names_the_condition(batches: list[Batch]) -> None:
    def fixed(pixels: PixelBatch) -> Outputs:
        if len(pixels) != 5:
            raise ServingError("expected 5 pictures")
        return REFERENCE(pixels)

    assert certify(fixed, batches).reason == "test pictures, 3 at a time: expected 5 pictures"


def test_the_background_is_no_answer() -> None:
    class Background(Finder):
        def _find(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
            found = super()._find(image)
            return {**found, "labels": found["labels"] - 1}

    _, scores, labels = BoxReference(Background(), PREPROCESSING)(noise(2))
    assert (scores > 0).sum(1).tolist() == [10, 10]
    assert set(labels[scores > 0]) == {0, 1}


def test_a_model_that_answers_nan_is_named() -> None:
    class Broken(Finder):
        def _find(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
            found = super()._find(image)
            return {**found, "scores": found["scores"] * float("nan")}

    with pytest.raises(ExportError, match="trained model answers with NaN"):
        BoxReference(Broken(), PREPROCESSING)(noise(1))
