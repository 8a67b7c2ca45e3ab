import functools

import pytest
import timm
import torch

from pixloop.config import TrainingConfig
from pixloop.imaging import Preprocessing
from pixloop.training import warm_start as warm_start_module
from pixloop.training.classifier import Classifier
from pixloop.training.late_layers import LateLayers
from pixloop.training.maps import look
from pixloop.training.scores import score
from pixloop.training.warm_start import warm_start


def classifier(name: str = "test_resnet", classes: int = 2) -> Classifier:
    torch.manual_seed(0)
    network = timm.create_model(name, num_classes=classes)
    return Classifier(network, Preprocessing(image_size=32), TrainingConfig(), 1)


def batches(count):
    """Dark pictures and bright ones."""
    torch.manual_seed(count)
    targets = torch.arange(count) % 2
    pictures = torch.randint(0, 60, (count, 32, 32, 3)) + 150 * targets.view(-1, 1, 1, 1)
    return [(pictures.to(torch.uint8), targets)]


def changed(model, train) -> set[str]:
    """The stages whose weights ``train`` changes."""
    before = {k: v.clone() for k, v in model.network.state_dict().items()}
    train()
    after = model.network.state_dict()
    return {k.split(".")[0] for k, value in before.items() if not torch.equal(after[k], value)}


@pytest.mark.parametrize(("late_epochs", "stages"), [(0, {"fc"}), (2, {"fc", "layer4"})])
def test_only_the_last_layers_learn(late_epochs, stages):
    model, found, told = classifier(), [], []
    config = TrainingConfig(late_epochs=late_epochs, batch_size=8, augmentations=("flip",))
    held_out = batches(10)

    def train() -> None:
        found.append(warm_start(model, config, 32, batches(24), held_out, after_epoch=told.append))

    # Where no epoch is better than the head, the late layers stay as they are.
    assert changed(model, train) <= stages
    head, kept = found[0]
    assert model.network.training
    assert len(told) == 1 + late_epochs
    assert told[0] == head
    assert kept["accuracy"] == 1.0
    with torch.no_grad():
        logits = model.eval()(held_out[0][0])
    assert score(logits, held_out[0][1])["loss"] == pytest.approx(kept["loss"], rel=1e-2)


def test_late_layers_learn_too():
    model = classifier()
    config = TrainingConfig(late_epochs=2, batch_size=8)
    assert changed(model, lambda: warm_start(model, config, 32, batches(24), None)) == {
        "fc",
        "layer4",
    }


def test_what_is_kept_is_scored_on_all_pictures_and_not_on_rounded_maps(monkeypatch):
    # Maps of a fifth of the pictures, whose scores are others.
    few = functools.partial(look, most_bytes=5 * 192 * 2 * 2 * 2)
    monkeypatch.setattr(warm_start_module, "look", few)
    monkeypatch.setattr(LateLayers, "learn", change)
    config, told = TrainingConfig(late_epochs=1, batch_size=8), []
    model, held_out = classifier(), batches(25)
    head, kept = warm_start(model, config, 32, batches(24), held_out, after_epoch=told.append)
    assert kept not in (told[1], head)
    with torch.no_grad():
        logits = model.eval()(held_out[0][0])
    assert kept == pytest.approx(score(logits, held_out[0][1]), rel=1e-4)


def change(self, training, validation, each_step, after_epoch):
    """Late layers that are better for certain, by the maps that there are."""
    with torch.no_grad():
        for weights in self._layers.parameters():
            weights.mul_(0.9)
    scores = self._look(validation)
    after_epoch(scores)
    return scores


def test_maps_are_not_kept_where_nobody_learns_from_them(monkeypatch):
    monkeypatch.setattr(warm_start_module, "cut_network", None)  # it cannot be called
    config = TrainingConfig(late_epochs=0)
    assert warm_start(classifier(), config, 32, batches(24), None) is not None


def test_a_network_that_cannot_be_cut_gets_its_head(monkeypatch):
    monkeypatch.setattr(warm_start_module, "cut_network", lambda network, size: None)
    model, told = classifier(), []
    held_out = batches(10)

    def train() -> None:
        head, kept = warm_start(
            model, TrainingConfig(), 32, batches(24), held_out, after_epoch=told.append
        )
        assert head == kept
        assert head["accuracy"] == 1.0

    assert changed(model, train) == {"fc"}
    assert len(told) == 1


def test_a_network_without_a_linear_head_is_left_alone():
    model = classifier(classes=0)
    assert (
        changed(model, lambda: warm_start(model, TrainingConfig(), 32, batches(4), None)) == set()
    )
    assert model.network.training
