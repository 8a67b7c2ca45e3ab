import json
import os
import signal
import subprocess
import sys
import time

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pixloop.data.dataset import Dataset
from pixloop.errors import ConfigError, TrainingError
from pixloop.training import classifiers
from pixloop.training.classifier import Classifier
from pixloop.training.models import load_model
from pixloop.training.train import TrainingSummary, train


@pytest.fixture
def run(tmp_path, dataset):
    """``run(config)`` trains into tmp_path; keywords replace the folders."""

    def start(config, **folders):
        places = {
            "dataset": dataset,
            "output": tmp_path / "output",
            "checkpoints": tmp_path / "checkpoints",
            "logs": tmp_path / "logs",
        }
        return train(config, **(places | folders))

    return start


@pytest.mark.parametrize(
    ("name", "optimizer", "schedule", "precision"),
    [
        ("test_resnet", "adamw", "cosine", "float32"),
        ("test_efficientnet", "sgd", "constant", "float32"),
        ("test_convnext", "lamb", "cosine", "bfloat16"),
        ("test_vit", "adamw", "constant", "float32"),
    ],
)
def test_any_network_learns_with_any_optimizer(
    run, configure, tmp_path, dataset, name, optimizer, schedule, precision
):
    summary = run(
        configure(
            {"name": name},
            optimizer=optimizer,
            schedule=schedule,
            precision=precision,
            learning_rate=5e-3,
            epochs=6,
            augmentations=["flip"],
        )
    )
    first, *_, last = summary.history
    assert last.train_loss < first.train_loss
    assert summary.precision == precision
    assert summary.validation == summary.history[summary.best_epoch - 1].validation
    model = load_model(tmp_path / "output")
    assert (model.name, model.classes) == (name, ("blue", "green", "red"))


def test_it_leaves_a_model_that_says_where_it_comes_from(
    run, configure, tmp_path, dataset, monkeypatch
):
    monkeypatch.setenv("PIXLOOP_COMMIT", "0" * 40)
    summary = run(configure(learning_rate=1e-2, epochs=8, seed=5))
    assert summary.validation["f1_macro"] > 0.9
    lineage = load_model(tmp_path / "output").lineage
    assert lineage["dataset_sha256"] == Dataset.open(dataset).info.sha256
    assert lineage["config"]["training.epochs"] == 8
    assert (lineage["seed"], lineage["commit"]) == (5, "0" * 40)
    assert lineage["weights"] == "random initialisation"
    assert set(lineage["versions"]) == {"pixloop", "torch", "timm"}
    written = (tmp_path / "output" / "training.json").read_text()
    assert TrainingSummary.model_validate_json(written) == summary


def test_tensorboard_gets_numbers_and_pictures(run, configure, tmp_path):
    run(configure())
    events = EventAccumulator(str(tmp_path / "logs"))
    events.Reload()
    assert set(events.Tags()["scalars"]) >= {
        "loss/train",
        "loss/validation",
        "learning rate",
        "validation/f1_macro",
        "validation/precision_macro",
        "validation/recall_macro",
    }
    assert set(events.Tags()["images"]) == {"training pictures", "confusion/validation"}
    assert len(events.Scalars("validation/f1_macro")) == 2


def test_progress_says_how_it_goes(run, configure, monkeypatch, capsys):
    monkeypatch.setenv("PIXLOOP_PROGRESS", "lines")
    run(configure())
    *_, last = capsys.readouterr().err.splitlines()
    record = json.loads(last.partition(" ")[2])
    assert (record["done"], record["total"]) == (8, 8)
    assert record["note"].startswith("epoch 2/2 loss ")
    assert " F1 0." in record["note"]


def results(folder):
    """What must be equal between an interrupted run and another."""
    summary = TrainingSummary.model_validate_json((folder / "training.json").read_text())
    return summary.model_dump(exclude={"seconds"}), load_file(folder / "weights.safetensors")


def assert_equal(found, expected):
    assert found[0] == expected[0]
    assert found[1].keys() == expected[1].keys()
    assert all(torch.equal(value, expected[1][key]) for key, value in found[1].items())


# A network with dropout, so that its random numbers must be resumed too.
DROPOUT = {"name": "test_vit", "image_size": 32}

_TRAIN = """
import sys
from pathlib import Path
from pixloop.config import Config
from pixloop.training.train import train
config, *folders = sys.argv[1:]
train(Config.model_validate_json(config), *map(Path, folders))
"""


def test_a_killed_run_goes_on_to_the_same_end(run, configure, tmp_path, dataset):
    config = configure(epochs=6, learning_rate=3e-3)
    run(config, output=tmp_path / "whole", checkpoints=tmp_path / "c0")
    folders = [dataset, tmp_path / "output", tmp_path / "checkpoints", tmp_path / "logs"]
    command = [sys.executable, "-c", _TRAIN, config.model_dump_json(), *map(str, folders)]
    process = subprocess.Popen(
        command,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"OMP_NUM_THREADS": "1"},  # as here: sums depend on it
    )
    last = tmp_path / "checkpoints" / "last.ckpt"
    while process.poll() is None and not last.exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert last.exists()
    assert not (tmp_path / "output").exists(), "the run was over before it could be killed"
    run(config)
    assert_equal(results(tmp_path / "output"), results(tmp_path / "whole"))


class Interrupted(BaseException):
    """Stands for a kill at a chosen step."""


@pytest.mark.parametrize("step", [1, 4, 6, 11])
def test_a_kill_at_any_step_changes_nothing(run, configure, tmp_path, monkeypatch, step):
    config = configure(epochs=3, patience=2, head_first=True)
    run(config, output=tmp_path / "whole", checkpoints=tmp_path / "c0")
    training_step = Classifier.training_step

    def stumble(self, batch, batch_idx):
        if self.global_step == step:
            raise Interrupted
        return training_step(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(Classifier, "training_step", stumble)
        with pytest.raises(Interrupted):
            run(config)
    torch.manual_seed(999)
    run(config)
    assert_equal(results(tmp_path / "output"), results(tmp_path / "whole"))


def test_a_finished_run_is_not_trained_again(run, configure, tmp_path, monkeypatch):
    # Nothing gets better at this rate, so that patience ends it.
    config = configure(epochs=9, patience=1, learning_rate=1e-9, schedule="constant")
    first = run(config)
    assert first.epochs < 9
    expected = results(tmp_path / "output")
    monkeypatch.setattr(Classifier, "training_step", None)
    run(config)
    assert_equal(results(tmp_path / "output"), expected)


def test_another_configuration_starts_anew(run, configure, caplog):
    run(configure())
    summary = run(configure(epochs=1))
    assert "another configuration or data" in caplog.text
    assert len(summary.history) == 1


def test_what_began_by_chance_does_not_go_on_as_pretrained(
    run, configure, tmp_path, monkeypatch, caplog
):
    file = tmp_path / "w.safetensors"
    save_file(timm.create_model("test_efficientnet").state_dict(), file)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr(classifiers, "find_published", lambda name: None)
    config = configure({"pretrained": True}, epochs=1)
    assert run(config).head_only is None
    monkeypatch.setattr(classifiers, "find_published", lambda name: file)
    summary = run(config)
    assert "another configuration or data" in caplog.text
    assert summary.head_only is not None
    assert summary.weights_origin == "hub cache test_efficientnet"


def test_a_damaged_checkpoint_starts_anew(run, configure, tmp_path, caplog):
    run(configure(epochs=1))
    expected = results(tmp_path / "output")
    (tmp_path / "checkpoints" / "last.ckpt").write_bytes(b"damaged")
    run(configure(epochs=1))
    assert "last.ckpt cannot be read" in caplog.text
    assert_equal(results(tmp_path / "output"), expected)


def test_the_head_is_kept_where_the_rest_makes_it_worse(run, configure, tmp_path, capsys):
    torch.manual_seed(0)
    weights = tmp_path / "w.safetensors"
    save_file(timm.create_model("test_efficientnet").state_dict(), weights)
    config = configure(epochs=2, learning_rate=0.1, schedule="constant")
    summary = run(config, weights=weights)
    assert "fitting the head: 13/13 F1 " in capsys.readouterr().err
    assert summary.weights_origin == "file w.safetensors"
    assert summary.best_epoch == 0
    assert summary.validation == summary.head_only == summary.history[0].validation
    given, kept = load_file(weights), load_file(tmp_path / "output" / "weights.safetensors")
    assert torch.equal(given["conv_stem.weight"], kept["conv_stem.weight"])


def test_what_another_run_began_in_the_same_folder_changes_nothing(
    run, configure, tmp_path, monkeypatch
):
    torch.manual_seed(0)
    weights = tmp_path / "w.safetensors"
    save_file(timm.create_model("test_efficientnet").state_dict(), weights)
    # At this rate all that comes after the head makes it worse.
    settings = {"epochs": 2, "learning_rate": 0.1, "schedule": "constant"}
    config = configure(**settings)
    assert run(config, weights=weights).best_epoch == 0
    expected = results(tmp_path / "output")

    def stumble(self, batch, batch_idx):
        raise Interrupted

    with monkeypatch.context() as patch:
        patch.setattr(Classifier, "training_step", stumble)
        with pytest.raises(Interrupted):
            run(configure(**settings, augmentations=["vflip"]), weights=weights)
    run(config, weights=weights)
    assert_equal(results(tmp_path / "output"), expected)


def test_the_last_layers_alone(run, configure, tmp_path):
    torch.manual_seed(0)
    weights = tmp_path / "w.safetensors"
    save_file(timm.create_model("test_efficientnet").state_dict(), weights)
    summary = run(configure(epochs=0, learning_rate=3e-3), weights=weights)
    assert (summary.epochs, summary.best_epoch, len(summary.history)) == (0, 0, 1)
    given, kept = load_file(weights), load_file(tmp_path / "output" / "weights.safetensors")
    changed = {name.split(".")[0] for name in kept if not torch.equal(given[name], kept[name])}
    assert "classifier" in changed
    assert not changed & {"conv_stem", "bn1"}


def test_nothing_to_learn_is_an_error(run, configure):
    with pytest.raises(TrainingError, match=r"training\.epochs=0 leaves nothing to do"):
        run(configure(epochs=0))


def test_without_validation_the_last_epoch_is_kept(run, configure, make_dataset, tmp_path, caplog):
    data = make_dataset(tmp_path / "data", validation=0)
    summary = run(configure(epochs=3, patience=1), dataset=data)
    assert "no validation pictures" in caplog.text
    assert (summary.best_epoch, summary.epochs, summary.validation) == (3, 3, {})


def test_the_largest_seed_is_taken_and_a_larger_one_named(run, configure):
    assert run(configure(epochs=1, seed=10**13)).epochs == 1
    with pytest.raises(ConfigError, match=r"training\.seed"):
        configure(seed=20250101123000)


def test_one_class_is_refused(run, configure, make_dataset, tmp_path):
    data = make_dataset(tmp_path / "data", train=(0, 5, 0))
    with pytest.raises(TrainingError, match="at least two classes; there is only 'green'"):
        run(configure(), dataset=data)


def test_a_loss_that_is_no_number_says_what_to_try(run, configure):
    config = configure(learning_rate=1e30, optimizer="sgd", schedule="constant", epochs=3)
    with pytest.raises(TrainingError, match=r"training\.learning_rate=1e\+29"):
        run(config)


def test_too_little_memory_says_which_batch_to_try(run, configure, monkeypatch):
    def exhaust(self, batch, batch_idx):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Classifier, "training_step", exhaust)
    with pytest.raises(TrainingError, match=r"Try training\.batch_size=4\."):
        run(configure(batch_size=8))
