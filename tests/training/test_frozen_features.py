import copy

import pytest
import timm
import torch

from pixloop.config import TrainingConfig
from pixloop.imaging import Preprocessing
from pixloop.training import frozen_features
from pixloop.training.classifier import Classifier
from pixloop.training.cut import cut_network
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
@pytest.mark.parametrize("is_cut", [False, True])
def test_openvino_computes_what_torch_does(name, is_cut, monkeypatch):
    size = 160 if name == "test_vit" else 32
    model, given = classifier(name, size), pictures(5, size)
    cut = cut_network(model.network, size) if is_cut else None
    by_torch = FrozenFeatures(model, cut)(given)
    monkeypatch.setattr(frozen_features, "_PIXELS_BY_TORCH", 0)
    extract = FrozenFeatures(model, cut)
    parts = [extract(given[:2]), extract(given[2:])]  # batches of any size
    assert extract._compiled is not None
    for found, expected in zip(zip(*parts, strict=True), by_torch, strict=True):
        assert found[0].dtype == torch.float32
        torch.testing.assert_close(torch.cat(found), expected, rtol=1e-3, atol=1e-4)


def test_features_are_those_of_the_whole_network():
    model, given = classifier(), pictures(3)
    cut = cut_network(model.network, 32)
    features, maps = FrozenFeatures(model, cut)(given)
    torch.testing.assert_close(FrozenFeatures(model)(given)[0], features)
    with torch.no_grad():
        torch.testing.assert_close(cut.late(maps), model(given))


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
    assert extract(given)[0].shape == extract(given)[0].shape == (3, 96)


def test_openvino_begins_where_it_pays(monkeypatch):
    monkeypatch.setattr(frozen_features, "_PIXELS_BY_TORCH", 4 * 32 * 32)
    extract = FrozenFeatures(classifier())
    extract(pictures(4))
    assert extract._compiled is None
    extract(pictures(1))
    assert extract._compiled is not None


def test_what_may_be_in_bfloat16_is_close(at_once):
    model, given = classifier("test_efficientnet"), pictures(4)
    extract = FrozenFeatures(model, bfloat16=True)
    found = extract(given)[0]
    assert extract._compiled is not None
    exact = FrozenFeatures(model)(given)[0]
    torch.testing.assert_close(found, exact, rtol=0.1, atol=0.05 * float(exact.abs().max()))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_a_gpu_computes_in_bfloat16_where_it_may():
    model, given = classifier("test_efficientnet").cuda(), pictures(4)
    found, exact = (FrozenFeatures(model, bfloat16=may)(given)[0] for may in (True, False))
    assert found.dtype == torch.float32
    assert not torch.equal(found, exact)
    torch.testing.assert_close(found, exact, rtol=0.1, atol=0.05 * float(exact.abs().max()))
