import copy

import pytest
import timm
import torch

from pixloop.config import TrainingConfig
from pixloop.imaging import Preprocessing
from pixloop.training import frozen_features
from pixloop.training.classifier import Classifier
from pixloop.training.frozen_features import FrozenFeatures


def classifier(name: str = "test_resnet", size: int = 32) -> Classifier:
    torch.manual_seed(0)
    network = timm.create_model(name, num_classes=3)
    return Classifier(network, Preprocessing(image_size=size), TrainingConfig(), 1).eval()


def pictures(count: int, size: int = 32) -> torch.Tensor:
    torch.manual_seed(count)
    return torch.randint(0, 256, (count, size, size, 3), dtype=torch.uint8)


@pytest.fixture
def at_once(monkeypatch):
    """Nothing is left to torch."""
    monkeypatch.setattr(frozen_features, "_PIXELS_BY_TORCH", 0)


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_convnext", "test_efficientnet"])
def test_openvino_computes_what_torch_does(name, monkeypatch):
    size = 160 if name == "test_vit" else 32
    model, given = classifier(name, size), pictures(5, size)
    by_torch = FrozenFeatures(model)(given)
    monkeypatch.setattr(frozen_features, "_PIXELS_BY_TORCH", 0)
    extract = FrozenFeatures(model)
    found = torch.cat([extract(given[:2]), extract(given[2:])])  # batches of any size
    assert extract._compiled is not None
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, by_torch, rtol=1e-3, atol=1e-4)


def test_the_network_stays_as_it_is(at_once):
    model = classifier()
    before = copy.deepcopy(model.state_dict())
    FrozenFeatures(model)(pictures(2))
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert not model.training


def test_what_openvino_refuses_torch_computes(at_once, monkeypatch):
    def refuse(*_):
        raise RuntimeError("no such operation")

    model, given = classifier(), pictures(3)
    monkeypatch.setattr(frozen_features, "_by_openvino", refuse)
    extract = FrozenFeatures(model)
    assert extract(given).shape == extract(given).shape == (3, 96)


def test_openvino_begins_where_it_pays(monkeypatch):
    monkeypatch.setattr(frozen_features, "_PIXELS_BY_TORCH", 4 * 32 * 32)
    extract = FrozenFeatures(classifier())
    extract(pictures(4))
    assert extract._compiled is None
    extract(pictures(1))
    assert extract._compiled is not None
