import pytest
import timm
import torch
from hypothesis import given
from hypothesis import strategies as st

from pixloop.config import TrainingConfig
from pixloop.errors import TrainingError
from pixloop.imaging import Preprocessing, normalise
from pixloop.training.classifier import Classifier
from pixloop.training.learner import warm_cosine

TINY = Preprocessing(image_size=16, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))


def classifier(**settings):
    network = timm.create_model("test_resnet", num_classes=2)
    return Classifier(network, TINY, TrainingConfig(**settings), 10)


def test_pictures_are_normalised_as_for_serving():
    pictures = torch.randint(0, 256, (2, 16, 16, 3), dtype=torch.uint8)
    found = classifier().normalise(pictures)
    assert found.is_contiguous(memory_format=torch.channels_last)
    for picture, one in zip(pictures, found, strict=True):
        torch.testing.assert_close(one, torch.from_numpy(normalise(picture.numpy(), TINY)))


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "lamb", "muon"])
def test_biases_and_norms_are_spared_weight_decay(optimizer):
    chosen = classifier(optimizer=optimizer, weight_decay=0.3).configure_optimizers()["optimizer"]
    decays = {
        parameter.ndim: group["weight_decay"]
        for group in chosen.param_groups
        for parameter in group["params"]
    }
    assert decays == {1: 0.0, 2: 0.3, 4: 0.3}


@pytest.mark.parametrize(
    ("name", "says"), [("adamww", r"Did you mean .*adamw\b"), ("gradient", r"timm has .*adamw\b")]
)
def test_an_unknown_optimizer_names_the_nearest_or_all(name, says):
    with pytest.raises(TrainingError, match=rf"'{name}' cannot be used.*{says}"):
        classifier(optimizer=name).configure_optimizers()


@given(st.integers(1, 500))
def test_the_rate_rises_then_falls(steps):
    rates = [warm_cosine(step, steps) for step in range(steps + 1)]
    peak = rates.index(max(rates))
    assert rates[:peak] == sorted(rates[:peak])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert max(rates) == 1.0
    assert all(0.0 < rate <= 1.0 for rate in rates[:-1])
