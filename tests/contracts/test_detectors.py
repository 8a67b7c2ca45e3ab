"""What every detector of the table must do: forward, learn, be exported, agree, serve.

The networks are random, but made decisive: their statistics are fitted to pictures, and the layers
that answer are scaled until scores and boxes differ from place to place. Then every picture has
boxes by the dozen, blank ones too, far more than a trained detector's, and what is wrong shows.
Blank pictures are among those fitted to: on what a deep random network has never seen, its scores
are all exactly 1, and rounding chooses among them.
"""

import copy
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from torch import Tensor, nn

from pixloop.bundle import BoxScores, Bundle, Threshold
from pixloop.config import ExportConfig
from pixloop.config_file import parse_config
from pixloop.data.dataset import DatasetWriter, Objects, Row
from pixloop.decoding import decode_image
from pixloop.export.box_matching import Tally
from pixloop.export.box_parity import BoxReference, seen_boxes
from pixloop.export.detector_graph import DetectorGraph
from pixloop.export.export import WRITERS, Draft, calibrate, open_graph, seal, write_graphs
from pixloop.export.limits import limits_of
from pixloop.imaging import Preprocessing, resize_image
from pixloop.records import Decision
from pixloop.serving.detector import Detector
from pixloop.serving.engines import PixelBatch, normalise_batch
from pixloop.serving.predictor import open_predictor
from pixloop.training import models
from pixloop.training.detectors import torchvision_detector
from pixloop.training.models import DETECTORS, TrainedModel, save_model

#: A small one; the others take minutes together.
QUICK = ("retinanet_mobilenet_v2_fpn",)
ONE_OF_EACH_KIND = (*QUICK, "fasterrcnn_mobilenet_v2_fpn")
CLASSES = ("circle", "square", "star")
SIZE = 96
REGIONS = 150
STRICT = limits_of(ExportConfig(max_probability_difference=1e-5, min_box_iou=0.999))
THRESHOLD = Threshold(
    score=0.6, max_error=0.1, confidence=0.95, accepted_share=0.7, error=0.01, pictures=300
)


@dataclass(frozen=True)
class Case:
    name: str
    network: nn.Module
    preprocessing: Preprocessing

    def pixels(self, pictures: list[bytes]) -> PixelBatch:
        return np.stack([resize_image(decode_image(each), self.preprocessing) for each in pictures])

    def images(self, pictures: list[bytes]) -> Tensor:
        return torch.from_numpy(normalise_batch(self.pixels(pictures), self.preprocessing))


def make_picture(seed: int) -> bytes:
    random = np.random.default_rng(seed)
    width, height = (int(side) for side in random.integers(80, 160, 2))
    image = Image.fromarray(random.integers(90, 160, (height, width, 3), dtype=np.uint8))
    draw = ImageDraw.Draw(image)
    for _ in range(4):
        x, y, w, h = (int(value) for value in random.integers(15, 50, 4))
        colour = tuple(int(value) for value in random.integers(0, 256, 3))
        draw.rectangle((x, y, x + w, y + h), fill=colour)
    return encode(image)


def blank_pictures() -> list[bytes]:
    random = np.random.default_rng(0)
    shape = (SIZE, SIZE, 3)
    plain = random.normal(128, 4, shape).astype(np.uint8)
    noise = random.integers(0, 256, shape, dtype=np.uint8)
    return [encode(Image.fromarray(each)) for each in (plain, noise)]


def encode(image: Image.Image) -> bytes:
    buffer = BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def answering_layers(network: nn.Module) -> Iterator[tuple[nn.Module, float]]:
    """The layers that say scores and shifts, each with how far apart its answers are to be."""
    if hasattr(network, "roi_heads"):
        yield network.rpn.head.cls_logits, 2.0
        yield network.rpn.head.bbox_pred, 0.3
        yield network.roi_heads.box_predictor.cls_score, 1.5
        yield network.roi_heads.box_predictor.bbox_pred, 1.0
        return
    scores, shifts = network.head.classification_head, network.head.regression_head
    if hasattr(scores, "module_list"):
        yield from ((block[-1], 1.5) for block in scores.module_list)
        yield from ((block[-1], 1.0) for block in shifts.module_list)
    else:
        yield scores.cls_logits, 1.5
        yield shifts.bbox_reg, 0.5


@torch.no_grad()
def make_decisive(network: nn.Module, images: Tensor) -> None:
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = None
            layer.reset_running_stats()
    network.train()
    features = network.backbone(images)
    if hasattr(network, "head"):
        network.head(list(features.values()))
    network.eval()
    for layer, spread in answering_layers(network):
        seen: list[Tensor] = []
        hook = layer.register_forward_hook(lambda _m, _i, output, seen=seen: seen.append(output))
        network(list(images))
        hook.remove()
        layer.weight.mul_(spread / torch.cat([each.flatten() for each in seen]).std())


def marks(name: str) -> tuple[pytest.MarkDecorator, ...]:
    # With other work on the machine, a ResNet50's exports and comparison take minutes.
    return () if name in QUICK else (pytest.mark.slow, pytest.mark.timeout(1200))


@pytest.fixture(scope="module")
def pictures() -> list[bytes]:
    return [make_picture(seed) for seed in range(6)]


@pytest.fixture(scope="module")
def regions() -> Iterator[None]:
    """With 1,000 regions a picture, a ResNet50's comparison would take a quarter of an hour."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("fasterrcnn_resnet50_fpn", "fasterrcnn_resnet50_fpn_v2"):
            build = torchvision_detector(name, rpn_post_nms_top_n_test=REGIONS)
            family = replace(DETECTORS[name], build=build)
            patch.setattr(models, "DETECTORS", {**models.DETECTORS, name: family})
        yield


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=marks(name)) for name in DETECTORS],
)
def case(request: pytest.FixtureRequest, pictures: list[bytes], regions: None) -> Case:
    torch.manual_seed(0)
    family = models.DETECTORS[request.param]
    preprocessing = Preprocessing(
        image_size=SIZE, resize="letterbox", mean=family.mean, std=family.std
    )
    case = Case(request.param, family.build(len(CLASSES) + 1), preprocessing)
    make_decisive(case.network, case.images(pictures + blank_pictures()))
    return case


@pytest.fixture(scope="module")
def draft(case: Case, pictures: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> Draft:
    folder = tmp_path_factory.mktemp("detector")
    writer = DatasetWriter(folder / "dataset", CLASSES, "detection")
    for i, picture in enumerate(pictures):
        height, width = decode_image(picture).shape[:2]
        objects = Objects(np.array([[1.0, 2, 30, 40]]), np.array([i % 3]), np.array([False]))
        writer.add("test", Row(picture, f"{i}.png", -1, width, height, f"{i:064x}", objects))
    writer.finish()
    trained = TrainedModel(case.network, case.name, CLASSES, case.preprocessing, {}, "detection")
    save_model(folder / "model", trained)
    config = parse_config(
        {
            "task": "detection",
            "data": "pictures",
            "name": "shapes",
            "export": {"precisions": ["float32"]},
        }
    )
    return write_graphs(config, folder / "model", folder / "dataset", folder / "bundle")


@pytest.fixture(scope="module")
def bundle(draft: Draft) -> Bundle:
    box_scores = BoxScores(slope=0.5, offset=0.1, minimum=0.3)
    return seal(calibrate(draft, THRESHOLD, box_scores=box_scores))


@pytest.mark.parametrize("size", [SIZE, SIZE + 64])
def test_the_rewriting_answers_as_torchvision_on_any_size_and_batch(
    case: Case, pictures: list[bytes], size: int
) -> None:
    resized = case.preprocessing.model_copy(update={"image_size": size})
    network = copy.deepcopy(case.network)
    other = Case(case.name, network, resized)
    images, pixels = other.images(pictures), other.pixels(pictures)
    make_decisive(network, images)
    graph, reference = DetectorGraph(network, size).eval(), BoxReference(network, resized)
    for count in (1, 3):
        with torch.inference_mode():
            answers = [output.numpy() for output in graph(images[:count])]
        expected = reference(pixels[:count])
        tally = Tally()
        for i in range(count):
            sides = [seen_boxes(each, i, (size, size), 0.0) for each in (expected, answers)]
            tally.add(*sides, STRICT)
        assert tally.expected > 30 * count
        assert tally.unmatched == 0
        assert (np.diff(answers[1]) <= 0).all()
        assert answers[2].dtype == np.int64


def test_one_step_of_optimisation_moves_it(case: Case, pictures: list[bytes]) -> None:
    network = copy.deepcopy(case.network).train()
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    images = case.images(pictures[:3])
    # The last has nothing in it.
    boxes = [
        torch.tensor([[10.0, 12, 50, 60]]),
        torch.tensor([[30.0, 30, 70, 62]]),
        torch.empty(0, 4),
    ]
    targets = [{"boxes": b, "labels": torch.full((len(b),), 2)} for b in boxes]
    losses = network(list(images), targets)
    total = sum(losses.values())
    total.backward()
    torch.optim.SGD(network.parameters(), lr=1e-4).step()
    assert torch.isfinite(total)
    moved = sum(not torch.equal(before[name], p) for name, p in network.named_parameters())
    assert moved > len(before) / 2


def test_every_graph_agrees_under_every_condition(draft: Draft) -> None:
    for parity in draft.certificate.graphs:
        assert parity.verdict == "agrees", f"{parity.format}: {parity.reason}"
        assert parity.boxes is not None
        assert parity.boxes > 1000
        assert parity.matched_share is not None
        assert parity.matched_share > 0.998
        assert parity.smallest_iou is not None
        assert parity.smallest_iou >= 0.99
        assert parity.largest_score_difference is not None
        assert parity.largest_score_difference <= 1e-3
        assert parity.latency_ms is not None
        assert parity.conditions is not None
        assert len(parity.conditions) == 10
        assert all(each.boxes >= 15 for each in parity.conditions)
    assert {parity.format for parity in draft.certificate.graphs} == {
        "torchscript",
        "onnx",
        "openvino",
    }
    assert draft.certificate.batch_sizes == (5, 3, 1)
    assert draft.manifest.task == "detection"


def test_a_picture_is_served(bundle: Bundle) -> None:
    detector = open_predictor(bundle)
    assert isinstance(detector, Detector)
    for picture, expected in stored_pictures(bundle):
        (found,) = detector.find([picture])
        assert len(found.scores) > 10
        np.testing.assert_allclose(found.scores, [b["score"] for b in expected], atol=1e-3)
        (answer,) = detector.predict([picture])
        assert answer.boxes
        assert {box.label for box in answer.boxes} <= set(CLASSES)
        assert {box.decision for box in answer.boxes} <= set(Decision)
        assert min(box.score for box in answer.boxes) >= 0.3


def test_a_picture_with_nothing_in_it_is_served(
    bundle: Bundle, case: Case, pictures: list[bytes]
) -> None:
    detector = open_predictor(bundle)
    assert isinstance(detector, Detector)
    plain = encode(Image.new("RGB", (70, 50), (124, 116, 104)))
    for batch in ([plain], [pictures[0], plain, pictures[1]]):
        answers = detector.predict(batch)
        assert [(a.width, a.height) for a in answers][batch.index(plain)] == (70, 50)
        found = detector.find(batch)[batch.index(plain)]
        inside = (found.boxes >= 0) & (found.boxes <= np.array([70, 50, 70, 50]))
        assert inside.all()


@pytest.mark.parametrize(
    "format_",
    [
        "torchscript",
        pytest.param("onnx", marks=pytest.mark.slow),
        pytest.param("openvino", marks=pytest.mark.slow),
    ],
)
def test_where_the_model_finds_nothing_its_graphs_find_nothing(
    case: Case, format_: str, tmp_path: Path
) -> None:
    if case.name not in ONE_OF_EACH_KIND:
        pytest.skip("the rewriting is the same for all of a kind")
    silent = copy.deepcopy(case.network)
    getattr(silent, "roi_heads", silent).score_thresh = 1.1
    if hasattr(silent, "rpn"):
        silent.rpn.score_thresh = 1.1  # not even a proposal
    pixels = np.full((3, SIZE, SIZE, 3), 124, np.uint8)
    assert not BoxReference(silent, case.preprocessing)(pixels)[1].any()
    graph = WRITERS[format_](  # type: ignore[index]
        DetectorGraph(silent, SIZE).eval(), case.preprocessing, tmp_path, "detection"
    )
    for count in (1, 3):
        outputs = open_graph(tmp_path, graph, "detection", case.preprocessing)(pixels[:count])
        assert [len(output) for output in outputs] == [count] * 3
        assert not any(output.any() for output in outputs)


def stored_pictures(bundle: Bundle) -> Iterator[tuple[bytes, list[dict[str, float]]]]:
    for stored in json.loads((bundle.path / "certificate.json").read_text())["pictures"]:
        yield (bundle.path / stored["file"]).read_bytes(), stored["boxes"]
