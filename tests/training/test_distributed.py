"""Several processes train as one would: each run is started as SageMaker starts it."""

import json
import os
import shutil
import socket
import subprocess
import sys

import psutil
import pytest
import timm
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pixloop.config import flatten
from pixloop.files import write_json
from pixloop.training.distributed import share
from pixloop.training.train import TrainingSummary, train

# Nothing is learned at this rate, so that scores are those of the same weights.
STILL = {"learning_rate": 1e-12, "schedule": "constant", "epochs": 1, "weight_decay": 0.0}


@given(st.integers(1, 50), st.integers(1, 9))
def test_shares_are_of_one_length_and_hold_every_row(total, world):
    shares = [share(range(total), rank, world) for rank in range(world)]
    assert {len(rows) for rows in shares} == {-(-total // world)}
    assert [row for rows in zip(*shares, strict=True) for row in rows][:total] == [*range(total)]


@pytest.fixture
def weights(tmp_path):
    """Whoever starts from a file keeps its statistics of batch normalisation."""
    torch.manual_seed(0)
    file = tmp_path / "weights.safetensors"
    save_file(timm.create_model("test_resnet").state_dict(), file)
    return file


@pytest.fixture
def lay_out(tmp_path, dataset, weights):
    """``lay_out(name, config)`` → a host's /opt/ml with a training job in it."""

    def make(name, config, data=dataset, start=weights, **resources):
        root = tmp_path / name
        channels = {"dataset": data} | ({"weights": start} if start else {})
        for channel, source in channels.items():
            place = root / "input" / "data" / channel
            if source.is_file():
                place = place / source.name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(source)
        settings = {
            key: json.dumps(value) if isinstance(value, list | bool) else str(value)
            for key, value in flatten(config).items()
            if key.startswith(("task", "model.", "training.")) and value is not None
        }
        documents = {
            "hyperparameters": settings,
            "inputdataconfig": {channel: {} for channel in channels},
            "resourceconfig": {"current_host": "algo-1", "hosts": ["algo-1"]} | resources,
        }
        for document, content in documents.items():
            write_json(root / "input" / "config" / f"{document}.json", content)
        return root

    return make


#: A checkpoint every five steps, where else minutes would pass.
OFTEN = """
import sys
from pixloop.pipeline import steps
from pixloop.training import checkpoints
checkpoints._SECONDS_BETWEEN, checkpoints._STEPS_BETWEEN_QUESTIONS = 0.0, 5
sys.exit(steps.main(["train"]))
"""
#: Not so often; but the job is told to end at step 31, as where a spot instance is taken back.
TOLD = """
import os, signal, sys
from pixloop.pipeline import steps
from pixloop.training import checkpoints, learner
checkpoints._STEPS_BETWEEN_QUESTIONS = 5
training_step = learner.Learner.training_step
def step(self, *batch):
    if self.global_step == 31 and os.environ["RANK"] == "0":
        os.kill(int(os.environ["PIXLOOP_PARENT"]), signal.SIGTERM)
    return training_step(self, *batch)
learner.Learner.training_step = step
sys.exit(steps.main(["train"]))
"""


def start(root, processes=2, command=("-m", "pixloop.pipeline.steps", "train"), **more):
    environment = {
        "PIXLOOP_ML": str(root),
        "PIXLOOP_PROCESSES": str(processes),
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": "1",
    }
    return subprocess.Popen(
        [sys.executable, *command],
        env=os.environ | environment | more,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(*processes):
    """What they printed."""
    printed = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes), printed
    return printed


def read_summary(model):
    return TrainingSummary.model_validate_json((model / "training.json").read_text())


def assert_close(found, expected, relative):
    """Two runs' histories, of which the sums were made in another order."""
    assert len(found.history) == len(expected.history)
    for mine, other in zip(found.history, expected.history, strict=True):
        if mine.epoch > 0:
            assert mine.train_loss == pytest.approx(other.train_loss, rel=relative)
        assert mine.validation == pytest.approx(other.validation, rel=relative, abs=1e-6)


@pytest.fixture
def train_alone(tmp_path, dataset, weights):
    def run(config, data=dataset, start=weights):
        folder = tmp_path / "alone"
        folders = (folder / "model", folder / "checkpoints", folder / "logs")
        return train(config, data, *folders, start)

    return run


@pytest.mark.slow
@pytest.mark.parametrize(
    ("processes", "batch_size", "epochs"),
    [
        (2, 9, 3),  # 25 pictures: batches of 9, 8 and 8, slices of 5 and 4
        (4, 9, 2),  # slices of 3 and 2
        (3, 2, 1),  # more processes than pictures in a batch
    ],
)
def test_the_loss_is_that_of_one_process(
    configure, lay_out, train_alone, tmp_path, processes, batch_size, epochs
):
    config = configure(
        {"name": "test_resnet"},
        batch_size=batch_size,
        epochs=epochs,
        learning_rate=1e-3,
        augmentations=["flip"],
        patience=9,
    )
    expected = train_alone(config)
    root = lay_out("several", config)
    (printed,) = finish(start(root, processes))
    # Adam divides by the gradients' size, which enlarges the last digits' differences.
    assert_close(read_summary(root / "model"), expected, relative=1e-4)
    assert printed.count("fitting the head:") == printed.count("training:") == 1
    events = EventAccumulator(str(root / "output" / "tensorboard"))
    events.Reload()
    assert len(events.Scalars("validation/f1_macro")) == epochs
    assert len(list((root / "output" / "tensorboard").rglob("events.*"))) == 1


@pytest.mark.slow
def test_validation_scores_are_those_of_one_process(
    configure, lay_out, train_alone, make_dataset, tmp_path
):
    data = make_dataset(tmp_path / "odd", validation=5)  # 15 pictures for two processes
    config = configure({"name": "test_vit"}, **STILL)
    expected = train_alone(config, data, None)
    root = lay_out("several", config, data, None)
    finish(start(root))
    found = read_summary(root / "model")
    assert found.validation == pytest.approx(expected.validation, abs=1e-6)
    assert 0.1 < found.validation["accuracy"] < 1.0


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 4])
def test_batches_have_the_statistics_of_all_their_slices(
    configure, lay_out, train_alone, processes
):
    config = configure({"name": "test_resnet"}, batch_size=9, epochs=3, learning_rate=1e-3)
    expected = train_alone(config, start=None)
    root = lay_out("several", config, start=None)
    finish(start(root, processes))
    found = read_summary(root / "model")
    assert_close(found, expected, relative=1e-3)
    assert found.history[-1].train_loss < found.history[0].train_loss
    assert found.head_only is None


#: Published weights that one process finds, and the other does not.
FOUND_BY_ONE = """
import os, sys
from pathlib import Path
import huggingface_hub.constants
huggingface_hub.constants.HF_HUB_OFFLINE = True
from pixloop.pipeline import steps
from pixloop.training import classifiers
found = Path(os.environ["PUBLISHED"]) if os.environ.get("RANK") == os.environ["FINDER"] else None
classifiers.find_published = lambda name: found
sys.exit(steps.main(["train"]))
"""


@pytest.mark.slow
@pytest.mark.parametrize(("finder", "origin"), [("0", "hub cache test_resnet"), ("1", "random")])
def test_all_start_from_what_the_first_one_found(configure, lay_out, weights, finder, origin):
    config = configure({"name": "test_resnet", "pretrained": True}, epochs=1)
    root = lay_out("several", config, start=None)
    several = start(root, 2, ("-c", FOUND_BY_ONE), PUBLISHED=str(weights), FINDER=finder)
    finish(several)
    found = read_summary(root / "model")
    assert found.weights_origin.startswith(origin)
    assert (found.head_only is not None) == (finder == "0")


#: A network that cannot have more than two pictures at once, in the last process.
TIGHT = """
import sys
import torch
from pixloop.pipeline import steps
from pixloop.training.classifier import Classifier
from pixloop.training.distributed import rank, world
loss = Classifier.loss
def tight(self, batch):
    if len(batch[0]) > 2 and rank() == world() - 1:
        raise torch.OutOfMemoryError("CUDA out of memory.")
    return loss(self, batch)
Classifier.loss = tight
sys.exit(steps.main(["train"]))
"""


@pytest.mark.slow
def test_memory_that_runs_out_in_one_has_all_begin_again(configure, lay_out, train_alone):
    settings = {"batch_size": 9, "epochs": 2, "learning_rate": 1e-3, "augmentations": ["vflip"]}
    settings["late_epochs"] = 0  # see ``test_memory``
    expected = train_alone(configure({"name": "test_resnet"}, **settings))
    config = configure({"name": "test_resnet"}, **settings, out_of_memory="split")
    root = lay_out("several", config)
    (printed,) = finish(start(root, command=("-c", TIGHT)))
    found = read_summary(root / "model")
    assert found.batch_parts == 2
    assert_close(found, expected, relative=1e-4)
    assert printed.count("From the next start on it takes 2 parts.") == 1
    # Whoever begins later takes the parts at once.
    shutil.rmtree(root / "model")
    (printed,) = finish(start(root, command=("-c", TIGHT)))
    assert "Memory ran out before" in printed
    assert "From the next start" not in printed
    assert read_summary(root / "model").history == found.history


@pytest.mark.slow
def test_boxes_are_scored_as_by_one_process(
    configure_detector, lay_out, train_alone, make_scenes, tmp_path
):
    data = make_scenes(tmp_path / "scenes", (1, 2, 3, 1, 2, 4, 0, 3) * 2, (2, 1, 0, 3, 2))
    train_alone(configure_detector(epochs=14, learning_rate=2e-3, patience=14), data, None)
    learned = (tmp_path / "alone" / "model" / "weights.safetensors").rename(
        tmp_path / "learned.safetensors"
    )
    config = configure_detector(**STILL)
    expected = train_alone(config, data, learned)
    assert expected.validation["map_50"] > 0.3
    root = lay_out("several", config, data, learned)
    finish(start(root))
    assert_close(read_summary(root / "model"), expected, relative=1e-5)


def results(model):
    """What must be equal between an interrupted run and another."""
    summary = read_summary(model)
    return summary.model_dump(exclude={"seconds"}), load_file(model / "weights.safetensors")


def assert_equal(found, expected):
    assert found[0] == expected[0]
    assert all(torch.equal(value, expected[1][key]) for key, value in found[1].items())


def interrupt(processes, checkpoint, victim):
    """Kill the process of that rank as soon as there is a checkpoint."""
    while not checkpoint.exists():
        assert all(process.poll() is None for process in processes)
    workers = [w for process in processes for w in psutil.Process(process.pid).children()]
    (chosen,) = (w for w in workers if w.environ().get("RANK") == str(victim))
    chosen.kill()
    for process in processes:
        process.communicate()
        assert process.returncode == 1


@pytest.mark.slow
def test_a_killed_process_ends_all_and_they_go_on_to_the_same_end(configure, lay_out):
    config = configure({"name": "test_vit"}, epochs=12, learning_rate=1e-3, patience=12)
    whole, root = lay_out("whole", config, start=None), lay_out("root", config, start=None)
    finish(start(whole))
    interrupt([start(root)], root / "checkpoints" / "last.ckpt", victim=1)
    assert not (root / "model").exists(), "the run was over before it could be killed"
    assert "ended by SIGKILL" in (root / "output" / "failure").read_text()
    finish(start(root))
    assert_equal(results(root / "model"), results(whole / "model"))


def read_checkpoint(root):
    """How many steps were taken, and how many of them in an epoch that is not over."""
    content = torch.load(root / "checkpoints" / "last.ckpt", weights_only=True)
    (batches,) = (s["batches"] for s in content["callbacks"].values() if "batches" in s)
    return content["global_step"], batches


@pytest.mark.slow
def test_the_middle_of_an_epoch_is_no_loss(configure, lay_out, make_dataset, tmp_path):
    data = make_dataset(tmp_path / "long", train=(40, 40, 41))  # 61 steps an epoch
    settings = {"epochs": 2, "batch_size": 2, "learning_rate": 1e-3, "patience": 9}
    config = configure({"name": "test_vit"}, **settings)
    whole, root = (lay_out(name, config, data, None) for name in ("whole", "root"))
    finish(start(whole))
    interrupt([start(root, 2, ["-c", OFTEN])], root / "checkpoints" / "last.ckpt", victim=1)
    steps, batches = read_checkpoint(root)
    assert steps == batches in (5, 10, 15, 20, 25)
    told = start(root, 2, ["-c", TOLD])
    _, printed = told.communicate()
    assert told.returncode == 1, printed
    assert "ended by SIGTERM" in (root / "output" / "failure").read_text()
    steps, batches = read_checkpoint(root)
    assert steps > 31, printed
    assert batches > 0
    finish(start(root))
    assert_equal(results(root / "model"), results(whole / "model"))


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_two_hosts_end_together_and_go_on_together(configure, lay_out, victim):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
    hosts = ["127.0.0.1", "127.0.0.2"]
    config = configure({"name": "test_resnet"}, epochs=12, learning_rate=1e-3, patience=12)
    roots = [
        lay_out(host, config, current_host=host, hosts=hosts, network_interface_name="lo")
        for host in hosts
    ]

    def start_both():
        return [start(root, processes=1, MASTER_PORT=port) for root in roots]

    whole = lay_out("whole", config)
    finish(start(whole))
    interrupt(start_both(), roots[0] / "checkpoints" / "last.ckpt", victim)
    failures = [(root / "output" / "failure").read_text() for root in roots]
    assert "ended by SIGKILL" in failures[victim]
    assert "another one's message may say why" in failures[1 - victim]
    assert not (roots[0] / "model").exists(), "the run was over before it could be killed"
    finish(*start_both())
    assert_equal(results(roots[0] / "model"), results(whole / "model"))
    # The other host writes nothing, and needed no checkpoint of its own.
    for name in ("model", "checkpoints", "output/tensorboard"):
        assert not (roots[1] / name).exists()


@pytest.mark.slow
def test_a_wrong_configuration_is_told_with_its_exit_code(configure, lay_out):
    root = lay_out("root", configure(optimizer="adamww"))
    process = start(root)
    process.communicate()
    assert process.returncode == 2
    assert "'adamww'" in (root / "output" / "failure").read_text()
    assert not (root / "model").exists()
