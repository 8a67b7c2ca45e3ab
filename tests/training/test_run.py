"""What a run makes of its settings, on machines that this one is not."""

import pytest
import torch

from pixloop.data.dataset import Dataset
from pixloop.training import run as run_module
from pixloop.training.models import build_model
from pixloop.training.parts import Parts
from pixloop.training.run import TrainingRun


@pytest.fixture
def run(tmp_path, dataset, configure):
    config = configure(batch_size=24)
    built = build_model(config.model, 3, None)
    folders = tmp_path / "checkpoints", tmp_path / "logs"
    return TrainingRun(config, Dataset.open(dataset), built, *folders, "", parts=Parts(2, 1))


@pytest.mark.parametrize(
    ("world", "on_gpu", "alone", "shared"),
    [(1, False, 12, 12), (1, True, 12, 12), (4, False, 12, 3), (4, True, 3, 3)],
)
def test_a_gpu_is_given_no_more_of_a_batch_than_its_slice(
    run, monkeypatch, world, on_gpu, alone, shared
):
    monkeypatch.setattr(run_module, "plain_loader", lambda *_, **said: said["batch_size"])
    monkeypatch.setattr(run_module, "world", lambda: world)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: on_gpu)
    assert run._plain("train") == alone
    assert run._plain("validation", shared=True) == shared
    assert -(-24 // run._parts_alone.count) == alone  # the late layers' batches too


def test_several_processes_do_not_ask_for_one_apple_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert run_module._accelerator() == "auto"
    monkeypatch.setattr(run_module, "world", lambda: 2)
    assert run_module._accelerator() == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert run_module._accelerator() == "auto"
