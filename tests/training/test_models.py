import dataclasses

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch.testing import assert_close

from pixloop.config import ModelConfig
from pixloop.errors import TrainingError
from pixloop.files import pack
from pixloop.imaging import Preprocessing
from pixloop.training import classifiers
from pixloop.training.models import TrainedModel, build_model, load_model, save_model

TINY = ModelConfig(name="test_resnet", pretrained=False, image_size=32)


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.values(), b.values(), strict=True))


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "test_vit", "test_convnext"])
def test_any_family_gives_a_logit_a_class(name):
    built = build_model(TINY.model_copy(update={"name": name}), 5, None)
    assert built.network(torch.zeros(2, 3, 32, 32)).shape == (2, 5)
    assert built.weights_origin == "random initialisation"
    assert not built.pretrained
    assert built.network.training


def test_preprocessing_is_that_of_the_weights():
    config = TINY.model_copy(update={"resize": "squash", "interpolation": "auto"})
    assert build_model(config, 2, None).preprocessing == Preprocessing(
        image_size=32,
        resize="squash",
        crop_share=0.95,
        interpolation="bilinear",
        scaled_decoding=True,
        mean=(0.5,) * 3,
        std=(0.5,) * 3,
    )


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "area"])
@pytest.mark.parametrize("scaled_decoding", [False, True])
def test_how_pictures_are_read_can_be_chosen(interpolation, scaled_decoding):
    chosen = {"interpolation": interpolation, "scaled_decoding": scaled_decoding}
    found = build_model(TINY.model_copy(update=chosen), 2, None).preprocessing
    assert (found.interpolation, found.scaled_decoding) == (interpolation, scaled_decoding)


def test_an_unknown_model_names_the_nearest():
    with pytest.raises(TrainingError, match=r"'resnet81'.*resnet18"):
        build_model(ModelConfig(name="resnet81"), 2, None)


def test_a_size_the_network_cannot_see_is_refused():
    with pytest.raises(TrainingError, match=r"model\..*test_vit"):
        build_model(ModelConfig(name="test_vit", pretrained=False, image_size=17), 2, None)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".pth"])
def test_weights_come_from_a_file_and_the_head_is_new(tmp_path, suffix):
    source = timm.create_model("test_resnet", num_classes=7)
    path = tmp_path / f"weights{suffix}"
    if suffix == ".safetensors":
        save_file(source.state_dict(), path)
    else:
        wrapped = {f"module.{key}": value for key, value in source.state_dict().items()}
        torch.save({"state_dict": wrapped} if suffix == ".pt" else source.state_dict(), path)
    built = build_model(TINY, 3, path)
    found, given = built.network.state_dict(), source.state_dict()
    assert built.pretrained
    assert built.weights_origin == f"file {path.name}"
    assert found.pop("fc.weight").shape == (3, given.pop("fc.weight").shape[1])
    assert len(found.pop("fc.bias")) != len(given.pop("fc.bias"))
    assert same(found, given)


def test_a_head_of_the_right_size_is_kept(tmp_path):
    source = timm.create_model("test_resnet", num_classes=3)
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    assert same(
        build_model(TINY, 3, tmp_path / "w.safetensors").network.state_dict(), source.state_dict()
    )


def test_a_file_without_a_head_will_do(tmp_path):
    source = timm.create_model("test_resnet", num_classes=0)
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    network = build_model(TINY, 3, tmp_path / "w.safetensors").network
    assert torch.equal(network.conv1[0].weight, source.conv1[0].weight)


def test_weights_of_another_network_are_refused_by_name(tmp_path):
    path = tmp_path / "w.safetensors"
    save_file(timm.create_model("test_vit").state_dict(), path)
    with pytest.raises(TrainingError, match=r"w\.safetensors.*test_resnet.*missing, such as conv1"):
        build_model(TINY, 3, path)


def test_a_file_that_would_run_code_is_refused(tmp_path):
    marker = tmp_path / "marker"

    class Hostile:
        def __reduce__(self):
            return marker.touch, ()

    torch.save({"conv1.weight": Hostile()}, tmp_path / "w.pt")
    with pytest.raises(TrainingError, match="cannot be read as plain tensors"):
        build_model(TINY, 3, tmp_path / "w.pt")
    assert not marker.exists()


@pytest.mark.parametrize("name", ["w.safetensors", "w.pt"])
def test_a_damaged_or_missing_file_is_refused(tmp_path, name):
    with pytest.raises(TrainingError, match="there is no file"):
        build_model(TINY, 3, tmp_path / name)
    (tmp_path / name).write_bytes(b"not weights")
    with pytest.raises(TrainingError, match=name):
        build_model(TINY, 3, tmp_path / name)
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(TrainingError, match="not a state_dict"):
        build_model(TINY, 3, tmp_path / "list.pt")


def test_without_the_hub_it_starts_by_chance_and_says_so(monkeypatch, caplog):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    built = build_model(TINY.model_copy(update={"pretrained": True}), 2, None)
    assert not built.pretrained
    assert "cannot be reached" in built.weights_origin
    assert "Training starts from random weights" in caplog.text


def test_without_the_hub_the_cache_is_used(monkeypatch, tmp_path):
    save_file(timm.create_model("test_resnet").state_dict(), tmp_path / "w.safetensors")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr(classifiers, "find_published", lambda name: tmp_path / "w.safetensors")
    built = build_model(TINY.model_copy(update={"pretrained": True}), 2, None)
    assert built.pretrained
    assert built.weights_origin == "hub cache test_resnet"


def trained(name="test_resnet", size=32):
    built = build_model(ModelConfig(name=name, pretrained=False, image_size=size), 3, None)
    lineage = {"seed": 3, "config": {"training.epochs": 1}}
    return TrainedModel(built.network, name, ("a", "b", "ö"), built.preprocessing, lineage)


@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_saved_model_comes_back(tmp_path, name, packed):
    model = trained(name, 64)
    save_model(tmp_path / "model", model)
    folder = tmp_path / "model"
    if packed:
        folder = tmp_path / "packed"
        pack(tmp_path / "model", folder / "model.tar.gz")
    loaded = load_model(folder)
    assert dataclasses.replace(loaded, network=model.network) == model
    assert not loaded.network.training
    images = torch.rand(2, 3, 64, 64)
    assert_close(loaded.network(images), model.network.eval()(images))


def test_what_is_no_model_is_refused(tmp_path):
    with pytest.raises(TrainingError, match=r"no model: it has no model\.json"):
        load_model(tmp_path)
    save_model(tmp_path, trained())
    save_file({"a": torch.zeros(1)}, tmp_path / "weights.safetensors")
    with pytest.raises(TrainingError, match=r"weights\.safetensors"):
        load_model(tmp_path)
    (tmp_path / "weights.safetensors").unlink()
    with pytest.raises(TrainingError, match=r"weights\.safetensors"):
        load_model(tmp_path)
    (tmp_path / "model.json").write_text('{"name": 1}')
    with pytest.raises(TrainingError, match=r"model\.json is not what pixloop writes"):
        load_model(tmp_path)
    (tmp_path / "model.json").unlink()
    (tmp_path / "model.tar.gz").write_bytes(b"no archive")
    with pytest.raises(TrainingError, match=r"model\.tar\.gz cannot be unpacked"):
        load_model(tmp_path)
