"""D-RISE on a detector of our own making, whose answer is known to rest on one thing."""

import numpy as np
import torch
from torch import Tensor, nn

from pixloop.evaluation.explanations.masking import random_masks
from pixloop.evaluation.explanations.methods import METHODS
from pixloop.evaluation.explanations.overlay import positive_share
from pixloop.evaluation.explanations.questions import Question, ask_box
from pixloop.evaluation.explanations.sanity import check_method

SIZE = 64
(D_RISE,) = METHODS["detection"]


class BrightSquares(nn.Module):
    """Finds two boxes, each as surely as the weighted brightness of its own place is high."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("boxes", torch.tensor([[8.0, 8, 24, 24], [36, 40, 60, 56]]))
        self.weight = nn.Parameter(torch.zeros(2, SIZE, SIZE))
        with torch.no_grad():
            self.weight[0, 8:24, 8:24] = 4 / 256
            self.weight[1, 40:56, 36:60] = 4 / 384

    def forward(self, images: Tensor) -> list[dict[str, Tensor]]:
        strengths = torch.einsum("nhw,khw->nk", images.mean(1), self.weight)
        labels = torch.tensor([1, 2])
        return [
            {"boxes": self.boxes, "scores": torch.sigmoid(s - 2), "labels": labels}
            for s in strengths
        ]


def _questions(count: int = 6, which: int = 0) -> list[Question]:
    rng = np.random.default_rng(0)
    network = BrightSquares().eval().requires_grad_(False)
    images = torch.from_numpy(rng.normal(1, 0.2, (count, 3, SIZE, SIZE)).astype(np.float32))
    return [ask_box(network, image, network.boxes[which], which) for image in images]


def test_a_map_lies_in_the_box_that_it_is_of() -> None:
    for which, place in ((0, np.s_[4:28, 4:28]), (1, np.s_[36:60, 32:64])):
        shares = positive_share(D_RISE.explain(_questions(1, which)[0]))
        inside = shares[place].mean()
        assert inside > 4 * shares.mean() * shares[place].size / shares.size
        assert inside > 2 * shares.mean()


def test_it_passes_its_checks_and_is_seeded() -> None:
    questions = _questions()
    torch.manual_seed(0)
    forgetful = BrightSquares()
    with torch.no_grad():
        forgetful.weight.copy_(
            forgetful.weight.flatten()[torch.randperm(2 * SIZE**2)].view(2, SIZE, SIZE)
        )
    check = check_method(D_RISE, questions, forgetful)
    assert check.passed, check
    assert np.array_equal(D_RISE.explain(questions[0]), D_RISE.explain(questions[0]))


def test_another_class_or_place_does_not_count() -> None:
    question = _questions(1)[0]
    network, image = question.network, question.image
    assert question.ask(image[None]) > 0.5
    assert ask_box(network, image, network.boxes[0], 1).ask(image[None]) == 0
    assert ask_box(network, image, torch.tensor([0.0, 40, 10, 60]), 0).ask(image[None]) == 0


def test_masks_are_smooth_and_half_open() -> None:
    masks = random_masks(64, 50)
    assert masks.shape == (64, 50, 50)
    assert 0 <= masks.min() <= masks.max() <= 1
    assert abs(float(masks.mean()) - 0.5) < 0.05
    assert masks.diff(dim=1).abs().max() < 0.5


def test_masks_lie_anywhere_on_their_grid() -> None:
    """The steepest column of a mask is between two of its cells, wherever these are."""
    steepest = random_masks(64, 64, cells=4).diff(dim=2).abs().mean(dim=1).argmax(dim=1) % 16
    assert len(set(steepest.tolist())) > 8
