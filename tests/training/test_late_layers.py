import copy

import pytest
import timm
import torch

from pixloop.config import TrainingConfig
from pixloop.errors import TrainingError
from pixloop.training.cut import cut_network
from pixloop.training.late_layers import LateLayers, _epoch
from pixloop.training.maps import Maps
from pixloop.training.parts import WHOLE, Parts
from pixloop.training.scores import score

SETTINGS = {"batch_size": 8, "late_epochs": 2, "learning_rate": 1e-3}


def layers():
    torch.manual_seed(0)
    return cut_network(timm.create_model("test_resnet", num_classes=2), 32).late


def maps(count: int) -> Maps:
    """Maps that tell the class, by one of their channels."""
    torch.manual_seed(count)
    targets = torch.arange(count) % 2
    values = torch.rand(count, 192, 2, 2)
    values[:, :40] += targets.view(-1, 1, 1, 1)
    return Maps(values.half(), targets)


def learn(late=None, training=None, validation=None, parts=WHOLE, **settings):
    late = late or layers()
    told, steps = [], []
    config = TrainingConfig(**(SETTINGS | settings))
    scores = LateLayers(late, config, False, parts).learn(
        training or maps(36), validation, lambda: steps.append(1), told.append
    )
    return late, scores, told, len(steps)


def test_late_layers_learn():
    held_out = maps(20)
    late, scores, told, steps = learn(validation=held_out)
    assert scores["accuracy"] == 1.0
    assert len(told) == 2
    assert steps == LateLayers(late, TrainingConfig(**SETTINGS), False).steps(maps(36)) == 10
    with torch.no_grad():  # what is kept is what was scored
        kept = score(late.eval()(held_out.values.float()), held_out.targets)
    assert kept == pytest.approx(scores, rel=1e-5)


@pytest.mark.parametrize("bfloat16", [False, True])
def test_they_learn_in_either_precision(bfloat16):
    late, config, seen = layers(), TrainingConfig(**SETTINGS), {True: set(), False: set()}
    late.register_forward_hook(lambda layers, _, logits: seen[layers.training].add(logits.dtype))
    scores = LateLayers(late, config, bfloat16).learn(maps(36), maps(20))
    assert scores["accuracy"] == 1.0
    assert seen[True] == {torch.bfloat16 if bfloat16 else torch.float32}
    assert seen[False] == {torch.float32}  # what is scored
    assert all(value.dtype != torch.bfloat16 for value in late.state_dict().values())


def test_parts_of_a_batch_learn_what_the_whole_does():
    # In plain steps, which do not enlarge the rounding.
    settings = {"optimizer": "sgd", "learning_rate": 0.01, "weight_decay": 0.0}
    expected, late, sizes = learn(**settings)[0].state_dict(), layers(), []
    assert not torch.equal(late.state_dict()["fc.weight"], expected["fc.weight"])
    late.register_forward_pre_hook(lambda _, given: sizes.append(len(given[0])))
    learn(late, parts=Parts(3), **settings)
    for name, value in late.state_dict().items():
        torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-5)
    learn(late, validation=maps(20), parts=Parts(3))
    assert max(sizes) == 3  # of batches of 8


def test_statistics_are_kept():
    late = layers()
    before = {k: v.clone() for k, v in late.state_dict().items() if "running" in k}
    learn(late)
    assert all(torch.equal(value, late.state_dict()[key]) for key, value in before.items())


def test_the_same_seed_learns_the_same():
    first, again, other = learn()[0], learn()[0], learn(seed=1)[0]
    weights = [late.state_dict()["layer4.0.conv2.weight"] for late in (first, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_the_rate_follows_the_schedule():
    before = layers().state_dict()["layer4.0.conv2.weight"]
    moved = {}
    for schedule in ("cosine", "constant"):
        late = learn(schedule=schedule, optimizer="sgd", weight_decay=0.0, learning_rate=1e-3)[0]
        moved[schedule] = (late.state_dict()["layer4.0.conv2.weight"] - before).norm()
    # Over ten steps of which one warms up, a cosine's rates add up to half of a constant one's.
    assert 0.3 < moved["cosine"] / moved["constant"] < 0.8


def test_a_rate_that_is_far_too_high_is_told():
    with pytest.raises(TrainingError, match=r"as the late layers learned. Try a tenth .*=1e\+29"):
        learn(learning_rate=1e30, optimizer="sgd", schedule="constant")


def test_if_nothing_gets_better_all_stays():
    late, held_out = learn()[0], maps(20)
    before = copy.deepcopy(late.state_dict())
    wrong = Maps(maps(36).values, 1 - maps(36).targets)
    scores = learn(late, wrong, held_out)[1]
    assert all(torch.equal(value, late.state_dict()[key]) for key, value in before.items())
    assert scores is None


def test_an_epoch_takes_one_view_of_each_picture():
    single = maps(36)
    views = [single.values, -single.values]
    both = Maps(torch.stack(views, dim=1).flatten(0, 1), single.targets.repeat_interleave(2), 2)
    assert both.pictures == 36
    rows = _epoch(both, torch.Generator().manual_seed(0))
    assert sorted((rows // 2).tolist()) == list(range(36))
    assert 0 < int((rows % 2).sum()) < 36
    assert learn(training=both)[3] == 10


def test_without_validation_the_last_epoch_is_kept():
    late, scores, told, _ = learn()
    assert scores == {}
    assert told == [{}, {}]
    with torch.no_grad():
        assert (late.eval()(maps(20).values.float()).argmax(1) == maps(20).targets).all()
