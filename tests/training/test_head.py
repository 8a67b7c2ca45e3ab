import pytest
import torch
from torch import nn

from pixloop.training.head import PENALTIES, Features, fit_head, linear_layer


def features(count: int, width: int = 5) -> Features:
    """Far from standardised, and telling of the class."""
    torch.manual_seed(count)
    targets = torch.arange(count) % 2
    values = 7 + torch.randn(count, width) * torch.arange(1, width + 1)
    values[:, 0] += 9 * targets
    return Features(values, targets)


def test_the_head_learns_what_the_features_show():
    layer, held_out = nn.Linear(5, 2), features(40)
    scores = fit_head(layer, features(200), held_out)
    assert scores["accuracy"] == 1.0
    # The scores are those of the layer, so the standardisation was folded in rightly.
    loss = nn.functional.cross_entropy(layer(held_out.values), held_out.targets)
    assert float(loss.detach()) == pytest.approx(scores["loss"], rel=1e-3)


def test_without_validation_there_are_no_scores():
    layer, seen = nn.Linear(5, 2), features(200)
    assert fit_head(layer, seen, None) == {}
    assert (layer(seen.values).argmax(1) == seen.targets).all()


def test_it_tells_how_far_it_is():
    told = []
    fit_head(nn.Linear(5, 2), features(50), features(20), lambda: told.append(1))
    assert len(told) == len(PENALTIES)
    fit_head(nn.Linear(5, 2), features(50), None, lambda: told.append(1))
    assert len(told) == len(PENALTIES) + 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_a_gpu_fits_the_head_of_a_network_that_is_on_it():
    here, there = nn.Linear(5, 2), nn.Linear(5, 2).cuda()
    scores = [fit_head(layer, features(200), features(40)) for layer in (here, there)]
    assert there.weight.is_cuda
    assert scores[1] == pytest.approx(scores[0], rel=1e-2)


def test_a_layer_without_bias_is_no_head():
    class Network(nn.Module):
        def get_classifier(self) -> nn.Module:
            return nn.Linear(3, 2, bias=False)

    assert linear_layer(Network()) is None
    assert linear_layer(nn.Linear(3, 2)) is None
