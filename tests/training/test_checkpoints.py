from types import SimpleNamespace

import pytest
import torch

from pixloop.training import checkpoints
from pixloop.training.checkpoints import AtomicCheckpoints, Epoch, EpochKeeper


def epoch(number, f1, loss=1.0):
    return Epoch(epoch=number, validation={"f1_macro": f1, "loss": loss})


@pytest.mark.parametrize(
    ("new", "old", "better"),
    [
        (epoch(2, 0.9), epoch(1, 0.8), True),
        (epoch(2, 0.8), epoch(1, 0.9), False),
        (epoch(2, 0.9), epoch(1, 0.9), False),
        (epoch(2, 0.9, loss=0.5), epoch(1, 0.9), True),
        (epoch(1, 0.1), None, True),
        (Epoch(epoch=2), Epoch(epoch=1), True),
    ],
)
def test_the_better_epoch_has_the_higher_f1_then_the_lower_loss(new, old, better):
    assert new.better_than(old) is better


def test_a_process_on_another_host_needs_no_checkpoint_there(monkeypatch, tmp_path):
    for name, value in {"TORCHELASTIC_RUN_ID": "x", "RANK": "1", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)

    def receive(box, src):
        assert (box, src) == ([None], 0)
        box[0] = {"epoch": 3}

    monkeypatch.setattr(torch.distributed, "broadcast_object_list", receive)
    assert AtomicCheckpoints().load_checkpoint(tmp_path / "nowhere") == {"epoch": 3}


@pytest.mark.parametrize(
    ("steps", "asked"),
    [(61, [20, 40, 60]), (58, [20, 40, 57]), (7, [3, 6]), (3, [1, 2]), (2, [1]), (1, [])],
)
def test_several_processes_ask_one_another_in_short_epochs_too(monkeypatch, tmp_path, steps, asked):
    keeper, told = EpochKeeper(tmp_path, "", patience=1), []
    monkeypatch.setattr(checkpoints, "world", lambda: 2)
    monkeypatch.setattr(checkpoints, "mean", lambda _: told.append(keeper.position[1]) or 0.0)
    trainer = SimpleNamespace(num_training_batches=steps)
    for batch in range(steps):
        keeper.on_train_batch_end(trainer, None, None, None, batch)
    assert told == asked
