"""Memory that runs out, as a network that cannot have more than so many pictures at once."""

import json

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from pixloop.errors import TrainingError
from pixloop.training.classifier import Classifier
from pixloop.training.detector import Detector
from pixloop.training.late_layers import LateLayers
from pixloop.training.memory import BeginAgain
from pixloop.training.models import load_model
from pixloop.training.train import TrainingSummary, train


@pytest.fixture
def weights(tmp_path):
    """Whoever starts from a file keeps its statistics of batch normalisation."""
    torch.manual_seed(0)
    file = tmp_path / "weights.safetensors"
    save_file(timm.create_model("test_resnet").state_dict(), file)
    return file


@pytest.fixture
def run(tmp_path, dataset, weights):
    def start(config, name="run", data=dataset, start=weights):
        folders = (tmp_path / name / part for part in ("output", "checkpoints", "logs"))
        return train(config, data, *folders, start)

    return start


@pytest.fixture
def limit(monkeypatch):
    """``limit(pictures)``: from now on more of them at once are too many."""
    losses = {learner: learner.loss for learner in (Classifier, Detector)}

    def set_limit(pictures, error=None):
        def refuse(self, batch, compute):
            if len(batch[0]) > pictures:
                raise error or torch.OutOfMemoryError("CUDA out of memory.")
            return compute(self, batch)

        for learner, loss in losses.items():
            monkeypatch.setattr(
                learner, "loss", lambda self, batch, loss=loss: refuse(self, batch, loss)
            )

    return set_limit


def starts_until_it_ends(run, config, **places):
    """How often memory ran out, and what came of it."""
    for times in range(10):
        try:
            return times, run(config, **places)
        except BeginAgain as e:
            assert "From the next start on it takes" in str(e)  # noqa: PT017
    raise AssertionError("It never ended.")


# Steps of late layers, and mirror images for the head, would enlarge the rounding that features
# of other batches bring.
SETTINGS = {
    "batch_size": 9,
    "learning_rate": 1e-3,
    "augmentations": ["vflip"],
    "epochs": 3,
    "late_epochs": 0,
}


def test_parts_learn_what_the_whole_batch_does(run, configure, limit, tmp_path):
    expected = run(configure({"name": "test_resnet"}, **SETTINGS), "whole")
    limit(2)
    config = configure({"name": "test_resnet"}, **SETTINGS, out_of_memory="split")
    times, found = starts_until_it_ends(run, config)
    assert (times, expected.batch_parts, found.batch_parts) == (3, 1, 8)
    for mine, other in zip(found.history[1:], expected.history[1:], strict=True):
        assert mine.train_loss == pytest.approx(other.train_loss, rel=1e-5)
        assert mine.learning_rate == other.learning_rate
    assert found.validation == pytest.approx(expected.validation, rel=1e-4)
    mine, other = (load_file(tmp_path / n / "output/weights.safetensors") for n in ("run", "whole"))
    for name, value in other.items():
        torch.testing.assert_close(mine[name], value, rtol=1e-3, atol=1e-4)
    written = (tmp_path / "run/output/training.json").read_text()
    assert TrainingSummary.model_validate_json(written).batch_parts == 8
    assert load_model(tmp_path / "run/output").lineage["batch_parts"] == 8


def test_late_layers_learn_in_parts_too(run, configure, monkeypatch):
    compute = LateLayers._loss

    def refuse(self, maps, targets):
        if len(targets) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return compute(self, maps, targets)

    monkeypatch.setattr(LateLayers, "_loss", refuse)
    settings = SETTINGS | {"late_epochs": 2, "epochs": 0}
    config = configure({"name": "test_resnet"}, **settings, out_of_memory="split")
    times, found = starts_until_it_ends(run, config)
    assert (times, found.batch_parts, found.best_epoch) == (2, 4, 0)


def test_parts_work_in_bfloat16(run, configure, limit):
    settings = SETTINGS | {"precision": "bfloat16"}
    expected = run(configure({"name": "test_resnet"}, **settings), "whole")
    limit(3)
    config = configure({"name": "test_resnet"}, **settings, out_of_memory="split")
    _, found = starts_until_it_ends(run, config)
    assert found.batch_parts == 4
    for mine, other in zip(found.history[1:], expected.history[1:], strict=True):
        assert mine.train_loss == pytest.approx(other.train_loss, rel=2e-2)


def test_boxes_are_learned_in_parts(run, configure_detector, limit, scenes):
    limit(2)
    config = configure_detector(out_of_memory="split", batch_size=6)
    times, found = starts_until_it_ends(run, config, data=scenes, start=None)
    assert (times, found.batch_parts) == (2, 3)  # the statistics of two pictures at least


def test_a_batch_with_statistics_of_its_own_keeps_two_pictures(run, configure, limit):
    limit(1)
    with pytest.raises(TrainingError, match="each batch in 3 parts: there are no smaller ones"):
        starts_until_it_ends(run, configure(out_of_memory="split"), start=None)


def test_checkpoints_of_other_parts_are_not_gone_on_from(run, configure, limit, caplog):
    config = configure({"name": "test_resnet"}, **SETTINGS, out_of_memory="split")
    run(config)
    limit(4)
    longer = configure({"name": "test_resnet"}, **SETTINGS | {"epochs": 4}, out_of_memory="split")
    with pytest.raises(BeginAgain):
        run(longer)
    caplog.clear()
    limit(99)
    assert run(longer).batch_parts == 2  # it is remembered, and not tried again
    assert "is learned in 2 parts" in caplog.text
    assert run(config).batch_parts == 1  # of another configuration


def test_a_damaged_note_is_left_alone(run, configure, tmp_path, caplog):
    file = tmp_path / "run/checkpoints/parts.json"
    file.parent.mkdir(parents=True)
    for content in ("{", json.dumps({"parts": 2})):
        file.write_text(content)
        assert run(configure(epochs=1), start=None).batch_parts == 1
        assert "parts.json cannot be read" in caplog.text


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    ],
)
def test_memory_runs_out_in_many_words(run, configure, limit, error):
    limit(0, error)
    with pytest.raises(TrainingError, match=r"Or training\.out_of_memory=split"):
        run(configure(), start=None)


@pytest.mark.parametrize(
    ("batch_size", "start", "advice"),
    [
        (64, "weights", r"Try training\.batch_size=13\. Or training"),  # there are 25 pictures
        (9, "weights", r"Try training\.batch_size=5\. Or training"),
        (2, "weights", r"Try training\.batch_size=1\.$"),
        (2, None, r"a batch cannot be smaller\. Try a smaller"),  # it takes its own statistics
        (1, "weights", r"a batch cannot be smaller\. Try a smaller"),
    ],
)
def test_the_advice_is_of_use(run, configure, limit, weights, batch_size, start, advice):
    limit(0)
    config = configure({"name": "test_resnet"}, batch_size=batch_size)
    with pytest.raises(TrainingError, match=advice):
        run(config, start=weights if start else None)


@pytest.mark.parametrize("kind", [MemoryError, RuntimeError])
def test_memory_of_a_loader_is_not_the_networks(run, configure, limit, kind):
    text = f"Caught {kind.__name__} in DataLoader worker process 0.\nOriginal Traceback (most"
    limit(0, kind(f"{text} recent call last):\n{kind.__name__}: cannot allocate memory"))
    with pytest.raises(TrainingError, match=r"Try fewer training\.workers") as caught:
        run(configure(out_of_memory="split"), start=None)
    assert not isinstance(caught.value, BeginAgain)


def test_a_wrong_address_is_not_too_little_memory(run, configure, limit):
    limit(0, RuntimeError("CUDA error: an illegal memory access was encountered"))
    with pytest.raises(RuntimeError, match="illegal memory access"):
        run(configure(out_of_memory="split"), start=None)


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("DataLoader worker (pid 7) is killed by signal: Killed.", "Try fewer training.workers"),
        (
            "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that"
            " dataloader's workers are out of shared memory.",
            "no room in shared memory",
        ),
    ],
)
def test_a_lost_loader_is_explained_and_no_reason_for_smaller_parts(
    run, configure, limit, text, advice
):
    limit(0, RuntimeError(text))
    with pytest.raises(TrainingError, match=advice) as caught:
        run(configure(out_of_memory="split"), start=None)
    assert not isinstance(caught.value, BeginAgain)
