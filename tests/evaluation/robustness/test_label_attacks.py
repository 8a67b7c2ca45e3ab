"""Attacks on a network that is simple enough to know what must come of them."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pixloop.evaluation.robustness.label_attacks import attack_labels
from pixloop.evaluation.robustness.sample import Sample
from pixloop.imaging import IMAGENET_STD
from pixloop.serving.classifier import Classifier
from pixloop.serving.engines import Outputs, PixelBatch, normalise_batch

Maker = Callable[..., Classifier]
SIDE = 8


class Brightness(nn.Module):
    """Answers b where the normalised mean is above 0; differentiable, and linear."""

    def forward(self, images: Tensor) -> Tensor:
        mean = images.mean(dim=(1, 2, 3))
        return torch.stack([-mean, mean], dim=1)


@pytest.fixture
def victim(make_classifier: Maker) -> Classifier:
    """The same, as the graph that ships."""

    def engine(pixels: PixelBatch) -> Outputs:
        images = torch.from_numpy(normalise_batch(pixels, classifier.manifest.preprocessing))
        return (Brightness()(images).numpy(),)

    classifier = make_classifier(engine)
    return classifier


def answers(victim: Classifier, sample: Sample) -> tuple[list[str], np.ndarray]:
    """What is answered, and by how many levels all pixels would have to move to change it."""
    pixels = np.stack([scene.pixels for scene in sample.scenes])
    images = normalise_batch(pixels, victim.manifest.preprocessing)
    means = images.mean(axis=(1, 2, 3))
    # A level more in every pixel is a mean of 1 / (255 std) over the channels.
    level = np.mean(1 / (255 * np.array(IMAGENET_STD)))
    return ["b" if mean > 0 else "a" for mean in means], np.abs(means) / level


def test_each_picture_falls_when_its_margin_is_used_up(victim: Classifier, noise: Sample) -> None:
    targets, margins = answers(victim, noise)
    strengths = sorted(np.quantile(margins, [0.2, 0.5, 0.8]).round(3).tolist())
    content, shown = attack_labels(Brightness(), victim, noise, targets, strengths)
    assert content["pictures"] == 12
    assert content["clean"]["accuracy"] == content["clean"]["served_accuracy"] == 1
    for method in ("fgsm", "pgd"):
        for row in content[method]:
            assert row["accuracy"] == pytest.approx(np.mean(margins > row["strength"]), abs=0.09)
            assert row["interval"][0] <= row["accuracy"] <= row["interval"][1]
    assert shown is not None


def test_no_pixel_changes_by_more_than_the_strength(victim: Classifier, noise: Sample) -> None:
    targets, margins = answers(victim, noise)
    strength = float(np.ceil(margins.max()))
    content, shown = attack_labels(Brightness(), victim, noise, targets, [strength])
    assert content["pgd"][0]["accuracy"] == 0
    assert content["pgd"][0]["served_accuracy"] == 0
    assert shown is not None
    change = shown.after.astype(int) - shown.before
    assert 0 < np.abs(change).max() <= strength
    assert np.array_equal(shown.before, noise.scenes[shown.index].pixels)
    assert shown.answer != targets[shown.index]


def test_pixels_stay_between_black_and_white(victim: Classifier, noise: Sample) -> None:
    targets, _ = answers(victim, noise)
    _, shown = attack_labels(Brightness(), victim, noise, targets, [250.0])
    assert shown is not None
    # All pixels went the same way, as far as there is room; beyond it they would start anew.
    assert shown.after.max() <= 5 or shown.after.min() >= 250


def test_what_is_wrong_anyway_stays_wrong_and_stronger_never_helps(
    victim: Classifier, noise: Sample
) -> None:
    targets, _ = answers(victim, noise)
    targets[0] = "a" if targets[0] == "b" else "b"
    content, _ = attack_labels(Brightness(), victim, noise, targets, [4, 0.01, 1])
    assert content["clean"]["accuracy"] == pytest.approx(11 / 12)
    for method in ("fgsm", "pgd"):
        rows = content[method]
        assert [row["strength"] for row in rows] == [0.01, 1, 4]
        accuracies = [row["accuracy"] for row in rows]
        assert accuracies == sorted(accuracies, reverse=True)
        assert accuracies[0] == pytest.approx(11 / 12)


def test_the_same_attack_finds_the_same(victim: Classifier, noise: Sample) -> None:
    targets, _ = answers(victim, noise)
    torch.manual_seed(1)
    drawn = torch.rand(1)
    torch.manual_seed(1)
    first = attack_labels(Brightness(), victim, noise, targets, [2.0])[0]
    assert torch.rand(1) == drawn, "the attack used up randomness of others"
    assert attack_labels(Brightness(), victim, noise, targets, [2.0])[0] == first
