"""A tiny classifier whose class is decided by the colour of one corner of the picture."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

SIZE = 32
CORNER = 8  #: the side of the square in the upper left corner that decides


def draw(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Noise with a red, green or blue corner, float32 (count, 3, SIZE, SIZE), and the colours."""
    rng = np.random.default_rng(seed)
    images = rng.normal(0, 0.5, (count, 3, SIZE, SIZE)).astype(np.float32)
    labels = rng.integers(3, size=count)
    images[:, :, :CORNER, :CORNER] = -1
    images[np.arange(count), labels, :CORNER, :CORNER] = 2
    return torch.from_numpy(images), torch.from_numpy(labels)


def build(seed: int = 0) -> nn.Module:
    """Three convolutions and the mean over 8 × 8 places, as most classifiers are built."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 12, 3, padding=1),
        nn.BatchNorm2d(12),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(12, 12, 3, padding=1),
        nn.BatchNorm2d(12),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(12, 12, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(12, 3),
    )


@pytest.fixture(scope="session")
def planted() -> nn.Module:
    """Trained for two seconds, until it reads the corner without a mistake."""
    network = build().train()
    images, labels = draw(512, seed=1)
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-3, weight_decay=0.05)
    for _ in range(8):
        for batch in torch.arange(512).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(images[batch]), labels[batch]).backward()
            optimizer.step()
    network.eval().requires_grad_(False)
    unseen, truth = draw(64, seed=2)
    assert (network(unseen).argmax(1) == truth).all()
    return network
