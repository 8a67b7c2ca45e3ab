import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pixloop.data.dataset import Dataset
from pixloop.errors import TrainingError
from pixloop.training.detector import Detector
from pixloop.training.detectors import retinanet_mobilenet_v2_fpn
from pixloop.training.models import load_model
from pixloop.training.train import TrainingSummary, train

FASTER = {"name": "fasterrcnn_mobilenet_v2_fpn"}


@pytest.fixture
def run(tmp_path, scenes):
    """``run(config)`` trains into tmp_path; keywords replace the folders."""

    def start(config, **folders):
        places = {
            "dataset": scenes,
            "output": tmp_path / "output",
            "checkpoints": tmp_path / "checkpoints",
            "logs": tmp_path / "logs",
        }
        return train(config, **(places | folders))

    return start


def test_it_learns_where_things_are(run, configure_detector, make_scenes, tmp_path):
    data = make_scenes(tmp_path / "data", (1, 2, 3, 1, 2, 4, 0, 3) * 2, (2, 1, 0, 3))
    config = configure_detector(epochs=16, learning_rate=2e-3, augmentations=["flip"], patience=16)
    summary = run(config, dataset=data)
    assert summary.history[-1].train_loss < summary.history[0].train_loss / 2
    assert summary.validation["map_50"] > 0.5
    assert summary.validation == summary.history[summary.best_epoch - 1].validation
    assert summary.precision == "float32"
    assert summary.head_only is None
    model = load_model(tmp_path / "output")
    assert (model.task, model.name) == ("detection", "retinanet_mobilenet_v2_fpn")
    assert model.classes == ("bar", "square")
    assert model.lineage["dataset_sha256"] == Dataset.open(data).info.sha256
    assert set(model.lineage["versions"]) == {"pixloop", "torch", "torchvision"}


def test_tensorboard_gets_numbers_and_pictures(
    run, configure_detector, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("PIXLOOP_PROGRESS", "lines")
    run(configure_detector())
    events = EventAccumulator(str(tmp_path / "logs"))
    events.Reload()
    expected = {"loss/train", "learning rate", "validation/map", "validation/map_50"}
    assert set(events.Tags()["scalars"]) >= expected
    assert set(events.Tags()["images"]) == {"training pictures", "boxes/validation"}
    assert len(events.Scalars("validation/map_50")) == 2
    *_, last = capsys.readouterr().err.splitlines()
    record = json.loads(last.partition(" ")[2])
    assert (record["done"], record["total"]) == (6, 6)
    assert record["note"].startswith("epoch 2/2 loss ")
    assert " AP50 0." in record["note"]


class Interrupted(BaseException):
    """Stands for a kill at a chosen step."""


def results(folder):
    """What must be equal between an interrupted run and another."""
    summary = TrainingSummary.model_validate_json((folder / "training.json").read_text())
    return summary.model_dump(exclude={"seconds"}), load_file(folder / "weights.safetensors")


@pytest.mark.parametrize(("model", "step"), [(FASTER, 4), ({}, 2)])
def test_a_kill_at_any_step_changes_nothing(
    run, configure_detector, tmp_path, monkeypatch, model, step
):
    """Faster R-CNN looks at regions that it draws by chance, so chance must be resumed too."""
    config = configure_detector(model, epochs=2)
    run(config, output=tmp_path / "whole", checkpoints=tmp_path / "c0")
    training_step = Detector.training_step

    def stumble(self, batch, batch_idx):
        if self.global_step == step:
            raise Interrupted
        return training_step(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(Detector, "training_step", stumble)
        with pytest.raises(Interrupted):
            run(config)
    torch.manual_seed(999)
    run(config)
    (summary, weights), (whole, expected) = (
        results(tmp_path / "output"),
        results(tmp_path / "whole"),
    )
    assert summary == whole
    assert weights.keys() == expected.keys()
    assert all(torch.equal(value, expected[key]) for key, value in weights.items())


def test_pretrained_statistics_are_kept(run, configure_detector, tmp_path):
    torch.manual_seed(0)
    source = retinanet_mobilenet_v2_fpn(3)
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    config = configure_detector(epochs=1)
    summary = run(config, weights=tmp_path / "w.safetensors")
    assert summary.weights_origin == "file w.safetensors"
    given, kept = source.state_dict(), load_file(tmp_path / "output" / "weights.safetensors")
    statistics = [key for key in given if "running_" in key]
    assert statistics
    assert all(torch.equal(given[key], kept[key]) for key in statistics)
    learned = "head.regression_head.bbox_reg.weight"
    assert not torch.equal(given[learned], kept[learned])


def test_without_head_first_statistics_are_learned(run, configure_detector, tmp_path):
    source = retinanet_mobilenet_v2_fpn(3)
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    run(configure_detector(epochs=1, head_first=False), weights=tmp_path / "w.safetensors")
    kept = load_file(tmp_path / "output" / "weights.safetensors")
    name = "backbone.body.0.1.running_mean"
    assert not torch.equal(source.state_dict()[name], kept[name])


@pytest.mark.parametrize("validation", [(), (0, 0)])
def test_without_validation_boxes_the_last_epoch_is_kept(
    run, configure_detector, make_scenes, tmp_path, caplog, validation
):
    data = make_scenes(tmp_path / "data", (2, 1), validation)
    summary = run(configure_detector(epochs=2, patience=1), dataset=data)
    assert "no validation boxes" in caplog.text
    assert (summary.best_epoch, summary.epochs, summary.validation) == (2, 2, {})


def test_a_data_set_without_boxes_is_refused(run, configure_detector, make_scenes, tmp_path):
    data = make_scenes(tmp_path / "data", (0, 0), (1,))
    with pytest.raises(TrainingError, match="training needs boxes; there is none"):
        run(configure_detector(), dataset=data)


def test_a_data_set_of_the_other_task_is_refused(run, configure_detector, dataset):
    with pytest.raises(TrainingError, match="is a data set for classification"):
        run(configure_detector(), dataset=dataset)


def test_a_loss_that_is_no_number_says_what_to_try(run, configure_detector, monkeypatch):
    config = configure_detector(learning_rate=1e30, optimizer="sgd", schedule="constant", epochs=3)
    with pytest.raises(TrainingError, match=r"training\.learning_rate=1e\+29"):
        run(config)


def test_one_picture_is_too_little_for_some_networks(
    run, configure_detector, make_scenes, tmp_path
):
    data = make_scenes(tmp_path / "data", (1,), ())
    config = configure_detector({"name": "ssdlite320_mobilenet_v3_large"})
    with pytest.raises(TrainingError, match=r"Try training\.batch_size=2"):
        run(config, dataset=data)
