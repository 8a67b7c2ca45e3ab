"""The checks of explanations, and that what passes them points at a cue that was planted."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.evaluation.explanations.conftest import CORNER, SIZE, build, draw
from torch import nn

from pixloop.evaluation.explanations.methods import METHODS, Map, Method
from pixloop.evaluation.explanations.overlay import positive_share
from pixloop.evaluation.explanations.questions import Question, ask_class
from pixloop.evaluation.explanations.randomised import randomise
from pixloop.evaluation.explanations.sanity import check_method, check_methods

CHANCE = (CORNER / SIZE) ** 2
BY_NAME = {method.name: method for method in METHODS["classification"]}


def _questions(network: nn.Module, count: int = 6) -> list[Question]:
    images, labels = draw(count, seed=3)
    return [ask_class(network, x, int(k)) for x, k in zip(images, labels, strict=True)]


def _mass_in_corner(values: Map) -> float:
    """The share of what speaks that lies in the corner, with half a corner's width around it."""
    shares = positive_share(values)
    return float(shares[: CORNER * 3 // 2, : CORNER * 3 // 2].sum() / max(shares.sum(), 1e-9))


@pytest.mark.parametrize("name", BY_NAME)
def test_the_planted_corner_lights_up(name: str, planted: nn.Module) -> None:
    found = [_mass_in_corner(BY_NAME[name].explain(q)) for q in _questions(planted)]
    assert np.mean(found) > 0.6  # by chance 0.14
    assert min(found) > 2.5 * CHANCE


def test_without_what_was_learned_the_corner_is_as_dark_as_the_rest(planted: nn.Module) -> None:
    questions = _questions(planted, 12)
    random = randomise(planted, torch.stack([q.image for q in questions]))
    for method in BY_NAME.values():
        learned = np.mean([_mass_in_corner(method.explain(q)) for q in questions])
        shuffled = [method.explain(replace(q, network=random)) for q in questions]
        assert np.mean([_mass_in_corner(m) for m in shuffled]) < learned - 0.25, method.name


def test_methods_that_point_at_the_corner_pass(planted: nn.Module) -> None:
    checks = {
        check.method: check
        for check in check_methods(_questions(planted), METHODS["classification"])
    }
    for name in ("integrated-gradients", "occlusion"):
        check = checks[name]
        assert check.passed, check
        assert check.deletion is not None
        assert check.deletion.low <= check.deletion.mean


def test_a_method_that_always_points_at_the_corner_fails(planted: nn.Module) -> None:
    values = np.zeros((SIZE, SIZE), np.float32)
    values[:CORNER, :CORNER] = np.linspace(1, 2, CORNER)
    method = Method("fixed", "Fixed", "", lambda question: values)
    (check,) = check_methods(_questions(planted), [method])
    assert not check.passed
    assert check.similarity == pytest.approx(1)
    assert "shuffled" in check.failures[0]
    assert check.deletion is not None
    assert check.deletion.low > 0.05  # it points at the right place, but not for a reason


def test_a_method_that_says_nothing_fails_every_check(planted: nn.Module) -> None:
    flat = Method("flat", "Flat", "", lambda question: np.ones((SIZE, SIZE), np.float32))
    (check,) = check_methods(_questions(planted), [flat])
    assert check.similarity == 1
    assert len(check.failures) >= 2


def test_a_method_that_explains_another_network_fails(planted: nn.Module) -> None:
    questions = _questions(planted)
    other = randomise(planted, torch.stack([q.image for q in questions]))
    occlude = BY_NAME["occlusion"].explain
    blind = Method("blind", "Blind", "", lambda q: occlude(replace(q, network=other)))
    (check,) = check_methods(questions, [blind])
    assert not check.passed


def test_a_network_that_learned_nothing_is_not_explained() -> None:
    network = build(seed=5).eval().requires_grad_(False)
    checks = check_methods(_questions(network), METHODS["classification"])
    assert not any(check.passed for check in checks)


def test_a_method_that_cannot_be_used_says_why(planted: nn.Module) -> None:
    flat = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE * SIZE, 3)).eval()
    check = check_method(BY_NAME["grad-cam"], _questions(flat), flat)
    assert "no convolutional stage" in check.failures[0]


def test_shuffling_keeps_the_values_and_leaves_the_network_alone(planted: nn.Module) -> None:
    images, _ = draw(8, seed=4)
    before = {name: value.clone() for name, value in planted.state_dict().items()}
    random = randomise(planted, images)
    assert all(torch.equal(value, before[name]) for name, value in planted.state_dict().items())
    for name, value in random.named_parameters():
        assert torch.equal(value.flatten().sort().values, before[name].flatten().sort().values)
    assert not torch.allclose(random(images), planted(images), atol=0.1)
    assert not random.training
