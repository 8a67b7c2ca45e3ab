import pytest
import timm
import torch
from torch import nn

from pixloop.training.cut import cut_network


def build(name: str) -> nn.Module:
    torch.manual_seed(0)
    return timm.create_model(name, num_classes=3).eval()


@pytest.mark.parametrize(
    ("name", "size", "maps"),
    [
        ("test_resnet", 32, (192, 2, 2)),
        ("test_efficientnet", 32, (48, 2, 2)),
        ("test_convnext", 32, (48, 2, 2)),
        ("mobilenetv2_100", 161, (96, 11, 11)),
        ("mobilenetv3_large_100", 64, (112, 4, 4)),
        ("resnet18", 96, (256, 6, 6)),
        ("regnety_002", 64, (152, 4, 4)),
    ],
)
def test_the_halves_do_what_the_whole_does(name, size, maps):
    network = build(name)
    cut = cut_network(network, size)
    pictures = torch.rand(2, 3, size, size)
    with torch.no_grad():
        found = cut.early.forward_features(pictures)
        torch.testing.assert_close(cut.late(found), network(pictures))
    assert found.shape == (2, *maps)


def test_what_the_late_half_learns_the_network_knows():
    network = build("test_resnet")
    before = {name: value.clone() for name, value in network.state_dict().items()}
    cut = cut_network(network, 32)
    with torch.no_grad():
        for parameter in cut.late.parameters():
            parameter.add_(1.0)
    changed = {n for n, value in network.state_dict().items() if not torch.equal(value, before[n])}
    assert {name.split(".")[0] for name in changed} == {"layer4", "fc"}


def test_the_network_stays_as_it_is():
    network = build("test_efficientnet").train()
    names = [name for name, _ in network.named_modules()]
    before = {name: value.clone() for name, value in network.state_dict().items()}
    assert cut_network(network, 32) is not None
    assert network.training
    assert [name for name, _ in network.named_modules()] == names
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not any(module._forward_hooks for module in network.modules())


def test_a_network_of_one_resolution_is_not_cut():
    assert cut_network(build("test_vit"), 160) is None


class Shortcut(nn.Module):
    """A network whose last stage also sees the picture: what is before it cannot be left out."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 2, stride=2)
        self.fc = nn.Linear(3, 2)

    def forward_features(self, pictures: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(pictures) + pictures)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return self.fc(self.forward_features(pictures).mean(dim=(2, 3)))


def test_a_network_whose_halves_do_something_else_is_not_cut():
    assert cut_network(Shortcut(), 8) is None


def test_a_network_that_fails_without_its_layers_is_not_cut():
    class Failing(Shortcut):
        def forward_features(self, pictures: torch.Tensor) -> torch.Tensor:
            return self.second(self.first(pictures) * self.first.weight.mean())

    assert cut_network(Failing(), 8) is None
