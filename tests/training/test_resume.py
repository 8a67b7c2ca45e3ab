"""A run that ends in the middle of an epoch goes on at the next batch, as if nothing had been."""

import os
import signal

import pytest
import torch
from safetensors.torch import load_file

from pixloop.data import dataset as dataset_module
from pixloop.data.dataset import Dataset, Split
from pixloop.training import checkpoints
from pixloop.training.checkpoints import EpochKeeper
from pixloop.training.learner import Learner
from pixloop.training.train import TrainingSummary, train

STEPS = 4  # of an epoch: 25 pictures in batches of 8


class Interrupted(BaseException):
    """Stands for a kill at a chosen step."""


@pytest.fixture(autouse=True)
def after_every_step(monkeypatch):
    monkeypatch.setattr(checkpoints, "_SECONDS_BETWEEN", 0.0)


@pytest.fixture
def run(tmp_path, dataset):
    """``run(config, name)`` trains, with folders of that name."""

    def start(config, name="resumed", data=dataset, **more):
        places = [tmp_path / name / part for part in ("model", "checkpoints", "logs")]
        return train(config, data, *places, **more)

    return start


def results(tmp_path, name):
    folder = tmp_path / name / "model"
    summary = TrainingSummary.model_validate_json((folder / "training.json").read_text())
    return summary.model_dump(exclude={"seconds"}), load_file(folder / "weights.safetensors")


def assert_resumed_as_whole(tmp_path):
    found, expected = results(tmp_path, "resumed"), results(tmp_path, "whole")
    assert found[0] == expected[0]
    assert found[1].keys() == expected[1].keys()
    assert all(torch.equal(value, expected[1][key]) for key, value in found[1].items())


@pytest.fixture
def at_step(monkeypatch):
    """``at_step(number, act)`` calls ``act`` as that step begins; the answer lists all steps."""
    training_step, seen = Learner.training_step, []

    def follow(wanted, act):
        def step(self, batch, batch_idx):
            if self.global_step == wanted:
                act()
            seen.append(self.global_step)
            return training_step(self, batch, batch_idx)

        monkeypatch.setattr(Learner, "training_step", step)
        return seen

    return follow


def interrupt():
    raise Interrupted


# Dropout, so that random numbers must be as they were; and batch normalisation's statistics.
NETWORKS = {
    "vit": {"name": "test_vit", "image_size": 32},
    "resnet": {"name": "test_resnet", "image_size": 32},
}
SLOWLY = pytest.mark.slow


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # more than there are cores
@pytest.mark.parametrize(
    ("network", "step", "workers"),
    [
        ("vit", STEPS + 2, 0),
        *[pytest.param("vit", step, 0, marks=SLOWLY) for step in (1, 3, 4, 11)],
        *[pytest.param("resnet", step, 2, marks=SLOWLY) for step in (1, 4, 6)],
        *[pytest.param("vit", 6, workers, marks=SLOWLY) for workers in (1, 3)],
    ],
)
def test_a_kill_in_the_middle_of_an_epoch_costs_no_step(
    run, configure, tmp_path, at_step, network, step, workers
):
    config = configure(NETWORKS[network], epochs=3, patience=9, workers=workers, learning_rate=1e-3)
    run(config, "whole")
    steps = at_step(step, interrupt)
    with pytest.raises(Interrupted):
        run(config)
    at_step(-1, interrupt)
    torch.manual_seed(999)
    run(config)
    assert steps == list(range(3 * STEPS))  # each once, in both runs together
    assert_resumed_as_whole(tmp_path)


def test_what_was_learned_is_not_even_read_again(run, configure, at_step, monkeypatch, dataset):
    at_step(3, interrupt)
    config = configure(epochs=1)
    with pytest.raises(Interrupted):
        run(config)
    at_step(-1, interrupt)
    rows, read = [], Split.read
    monkeypatch.setattr(Split, "read", lambda self, row: rows.append(row) or read(self, row))
    run(config)
    pictures = Dataset.open(dataset).info.pictures
    assert len(rows) == 6 + pictures["validation"]  # of 25 in batches of 7, 6, 6 and 6


@pytest.mark.slow
@pytest.mark.parametrize("step", [3, 6])
def test_a_detector_goes_on_too(run, configure_detector, scenes, tmp_path, at_step, step):
    config = configure_detector(epochs=3, patience=9)
    run(config, "whole", scenes)
    at_step(step, interrupt)
    with pytest.raises(Interrupted):
        run(config, data=scenes)
    at_step(-1, interrupt)
    run(config, data=scenes)
    assert_resumed_as_whole(tmp_path)


@pytest.mark.slow
def test_windows_are_taken_up_in_the_middle(
    run, configure, make_dataset, tmp_path, at_step, monkeypatch
):
    monkeypatch.setattr(dataset_module, "SHARD_BYTES", 2_000)
    data = make_dataset(tmp_path / "many")
    assert len(Dataset.open(data).split("train").shard_rows) > 16
    config = configure(NETWORKS["vit"], epochs=3, patience=9, workers=2)
    run(config, "whole", data)
    at_step(6, interrupt)
    with pytest.raises(Interrupted):
        run(config, data=data)
    at_step(-1, interrupt)
    run(config, data=data)
    assert_resumed_as_whole(tmp_path)


@pytest.mark.slow
def test_the_head_is_not_fitted_again(run, configure, tmp_path, at_step, monkeypatch):
    run(configure(NETWORKS["resnet"], epochs=1), "given")
    given = tmp_path / "given" / "model" / "weights.safetensors"
    config = configure(NETWORKS["resnet"], epochs=2, patience=9, head_first=True)
    told = []
    run(config, "whole", weights=given)
    at_step(2, interrupt)
    with pytest.raises(Interrupted):
        run(config, weights=given)
    at_step(-1, interrupt)
    monkeypatch.setattr("pixloop.training.run.warm_start", None)
    run(config, weights=given, on_epoch=told.append)
    assert [epoch.epoch for epoch in told] == [0, 1, 2]
    assert_resumed_as_whole(tmp_path)


def terminate():
    os.kill(os.getpid(), signal.SIGTERM)


def test_a_sigterm_is_obeyed_after_the_step(run, configure, tmp_path, at_step, monkeypatch):
    monkeypatch.setattr(checkpoints, "_SECONDS_BETWEEN", 1e9)
    config = configure(NETWORKS["vit"], epochs=2, patience=9)
    run(config, "whole")
    before = signal.getsignal(signal.SIGTERM)
    steps = at_step(STEPS + 1, terminate)
    with pytest.raises(SystemExit) as end:
        run(config)
    assert end.value.code == 128 + signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) == before
    assert steps == list(range(STEPS + 2))
    at_step(-1, interrupt)
    run(config)
    assert steps == list(range(2 * STEPS))
    assert_resumed_as_whole(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("hook", ["validation_step", "on_validation_epoch_end"])
def test_a_sigterm_during_validation_ends_it_there(run, configure, tmp_path, monkeypatch, hook):
    from pixloop.training.classifier import Classifier

    config = configure(NETWORKS["vit"], epochs=2, patience=9)
    run(config, "whole")
    original = getattr(Classifier, hook)

    def stumble(self, *args):
        if self.current_epoch == 1:
            terminate()
        return original(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Classifier, hook, stumble)
        with pytest.raises(SystemExit):
            run(config)
    run(config)
    assert_resumed_as_whole(tmp_path)


def test_a_checkpoint_is_written_every_few_minutes_only(run, configure, monkeypatch):
    now, written = [0.0], []
    monkeypatch.setattr(checkpoints.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(checkpoints, "_SECONDS_BETWEEN", 25.0)
    write = EpochKeeper._write
    monkeypatch.setattr(
        EpochKeeper, "_write", lambda self, t: written.append(self.position) or write(self, t)
    )
    training_step = Learner.training_step

    def slowly(self, batch, batch_idx):
        now[0] += 10.0
        return training_step(self, batch, batch_idx)

    monkeypatch.setattr(Learner, "training_step", slowly)
    run(configure(epochs=2, batch_size=3))  # 9 steps
    assert written == [(0, 3), (0, 6), (1, 0), (1, 3), (1, 6), (2, 0)]
