from types import SimpleNamespace

import timm
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from pixloop.config import TrainingConfig
from pixloop.imaging import Preprocessing
from pixloop.training.classifier import Classifier
from pixloop.training.parts import WHOLE, Parts, fewest_pictures


@given(st.integers(1, 200), st.integers(1, 64), st.integers(1, 2))
def test_parts_are_the_batch_in_its_order(pictures, count, fewest):
    batch = torch.arange(pictures), [str(number) for number in range(pictures)]
    parts = Parts(count, fewest).split(batch)
    assert torch.equal(torch.cat([part for part, _ in parts]), batch[0])
    assert [target for _, targets in parts for target in targets] == batch[1]
    sizes = [len(part) for part, _ in parts]
    assert max(sizes) - min(sizes) <= 1
    assert min(sizes) >= min(fewest, pictures)
    assert len(parts) == count or pictures // fewest < count


@given(st.integers(1, 200), st.integers(1, 2))
def test_smaller_parts_come_to_an_end_at_the_smallest(pictures, fewest):
    parts, taken = Parts(1, fewest), []
    while smaller := parts.smaller(pictures):
        assert parts.count < smaller.count <= 2 * parts.count
        taken.append(parts)
        parts = smaller
    assert parts.count == max(1, pictures // fewest)
    assert len(taken) <= 8


def test_a_whole_batch_is_not_cut():
    pictures, targets = torch.arange(5), torch.arange(5)
    ((found, found_targets),) = WHOLE.split((pictures, targets))
    assert torch.equal(found, pictures)
    assert torch.equal(found_targets, targets)


def test_two_pictures_are_needed_where_a_batch_has_statistics_of_its_own():
    network = timm.create_model("test_resnet")
    names = frozenset(
        name for name, layer in network.named_modules() if isinstance(layer, nn.BatchNorm2d)
    )
    assert fewest_pictures(network, frozenset()) == 2
    assert fewest_pictures(network, names - {min(names)}) == 2
    assert fewest_pictures(network, names) == 1
    assert fewest_pictures(timm.create_model("test_vit"), frozenset()) == 1


def test_a_batch_that_has_one_part_only_starts_without_gradients_too():
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 2))
    model = Classifier(network, Preprocessing(image_size=8), TrainingConfig(), 1)
    model.parts, cleared = Parts(2), []
    model.optimizers = lambda: SimpleNamespace(zero_grad=lambda: cleared.append(1))
    for count in (1, 2):
        pictures = torch.zeros(count, 8, 8, 3, dtype=torch.uint8)
        model._learn((pictures, torch.zeros(count, dtype=torch.int64)), 0)
    assert len(cleared) == 2
