"""Attacks on a detector that is simple enough to know what must come of them."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from tests.evaluation.detection.cases import found, objects
from torch import Tensor, nn

from pixloop.bundle import Graph, Manifest, Threshold, now
from pixloop.evaluation.robustness.alterations import Scene
from pixloop.evaluation.robustness.box_attacks import attack_boxes
from pixloop.evaluation.robustness.outcomes import BoxOutcome
from pixloop.evaluation.robustness.sample import Sample
from pixloop.imaging import Preprocessing

SIDE = 64
LIMIT = 120.0
CLASSES = ("square", "unknown")


class Finder(nn.Module):
    """Learns that what is in a box is bright; its loss falls with the boxes' brightness."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.dropped = nn.Dropout(0.5)
        self.asked: list[dict[str, Tensor]] = []

    def forward(self, pictures: Tensor, targets: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        assert self.training
        self.asked += targets
        seen = self.dropped(self.norm(pictures))
        means = [
            picture[:, int(y1) : int(y2), int(x1) : int(x2)].mean()
            for picture, own in zip(seen, targets, strict=True)
            for x1, y1, x2, y2 in own["boxes"]
        ]
        return {"dark": -torch.stack([*means, seen.sum() * 0]).sum()}


@pytest.fixture
def manifest() -> Manifest:
    """Of a detector that knows one of the data set's classes."""
    return Manifest(
        name="x",
        created=now(),
        task="detection",
        classes=("square",),
        preprocessing=Preprocessing(image_size=SIDE, resize="squash", interpolation="area"),
        graphs=(Graph(format="onnx", file="model.onnx"),),
        chosen_graph="onnx",
        temperature=1.0,
        threshold=Threshold(
            score=0.5, max_error=0.1, confidence=0.9, accepted_share=1, error=0.0, pictures=9
        ),
        lineage={},
        versions={},
    )


@pytest.fixture
def squares() -> Sample:
    """Eight pictures, each with a square that is more or less brighter than the limit, and with a
    thing that the detector does not know and a crowd."""
    scenes = []
    for i in range(8):
        pixels = np.full((SIDE, SIDE, 3), 20, np.uint8)
        pixels[8:32, 8:32] = int(LIMIT) + 2 + 4 * i
        crowd = ((0, 0, 4, 4), 0, True)
        scenes.append(Scene(pixels, objects(((8, 8, 32, 32), 0), ((40, 40, 60, 60), 1), crowd)))
    return Sample(tuple(range(8)), tuple(map(str, range(8))), (-1,) * 8, tuple(scenes))


def examine(scenes: Sequence[Scene]) -> BoxOutcome:
    """Finds the square where it is brighter than the limit."""
    answers = [
        found(((8, 8, 32, 32), 0, 0.9))
        if scene.pixels[8:32, 8:32].mean() > LIMIT
        else found(side=SIDE)
        for scene in scenes
    ]
    truth = tuple(objects(((8, 8, 32, 32), 0)) for _ in scenes)
    return BoxOutcome(("square",), tuple(answers), truth)


def test_each_square_is_lost_when_its_margin_is_used_up(
    manifest: Manifest, squares: Sample
) -> None:
    network = Finder().eval()
    content, shown = attack_boxes(network, manifest, examine, squares, CLASSES, [16, 1, 64])
    assert content["pictures"] == 8
    assert content["clean"]["map_50"] == pytest.approx(1)
    for method in ("fgsm", "pgd"):
        rows = content[method]
        assert [row["strength"] for row in rows] == [1, 16, 64]
        # The margins are 2, 6, 10, 14, 18 ...: half of the squares are within 16 levels.
        assert [row["map_50"] for row in rows] == pytest.approx([1, 0.5, 0], abs=0.01)
        for row in rows:
            assert row["interval"][0] <= row["map_50"] <= row["interval"][1]
    assert shown is not None
    assert shown.before.right
    assert not shown.after.right


def test_it_is_asked_about_what_it_learned_only_and_learns_nothing(
    manifest: Manifest, squares: Sample
) -> None:
    network = Finder().eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    attack_boxes(network, manifest, examine, squares, CLASSES, [1])
    for target in network.asked:
        assert target["labels"].tolist() == [1]
        assert target["boxes"].tolist() == [[8, 8, 32, 32]]
    after = network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_the_same_attack_finds_the_same(manifest: Manifest, squares: Sample) -> None:
    first, second = (
        attack_boxes(Finder().eval(), manifest, examine, squares, CLASSES, [14])[0]
        for _ in range(2)
    )
    assert first == second
