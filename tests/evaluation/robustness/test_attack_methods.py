"""What both attacks promise, whatever is attacked."""

import torch
from torch import Tensor

from pixloop.evaluation.robustness.attacks import METHODS, attack_methods


def flat(pixels: Tensor, targets: Tensor) -> Tensor:
    """A loss without a direction: what an attack gives is where it began."""
    return (pixels * 0).sum().view(1)


def test_an_attack_begins_where_it_began_before_and_draws_from_no_other() -> None:
    pixels = torch.full((2, 3, 4, 4), 100.0)
    methods = attack_methods(lambda given: given, flat)
    assert tuple(methods) == METHODS
    begun = methods["pgd"](pixels, torch.zeros(2), 8.0)
    torch.rand(3)  # somebody else's
    assert torch.equal(methods["pgd"](pixels, torch.zeros(2), 8.0), begun)
    assert 0 < (begun - pixels).abs().max() <= 8
    assert torch.equal(methods["fgsm"](pixels, torch.zeros(2), 8.0), pixels)


def test_however_small_a_gradient_is_its_sign_is_followed() -> None:
    pixels = torch.full((2, 3, 4, 4), 100.0)
    methods = attack_methods(lambda given: given, lambda given, _: (given * 1e-12).sum().view(1))
    for name in METHODS:
        assert torch.equal(methods[name](pixels, torch.zeros(2), 8.0), pixels + 8), name
