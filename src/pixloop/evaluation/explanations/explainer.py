"""A bundle's model, asked why."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from pixloop.bundle import Bundle
from pixloop.evaluation.explanations.methods import METHODS, Method
from pixloop.evaluation.explanations.overlay import Floats, positive_share, spread_map
from pixloop.evaluation.explanations.questions import Question, ask_box, ask_class
from pixloop.evaluation.explanations.sanity import Check, check_methods
from pixloop.evaluation.trained_network import rebuild_network
from pixloop.imaging import fit_boxes, normalise, read_input
from pixloop.records import Xyxy


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer to a picture: its class, and of a detector the box that is of this class."""

    picture: bytes  #: encoded
    label: str
    box: Xyxy | None = None  #: in pixels of the upright picture


class Explainer:
    """Explains the answers of a bundle's model."""

    def __init__(self, bundle: Bundle) -> None:
        """Rebuild the trained network; errors are those of ``rebuild_network``."""
        self.manifest = bundle.manifest
        self.network: nn.Module = rebuild_network(bundle)

    @property
    def methods(self) -> tuple[Method, ...]:
        """The methods that there are for the model's task."""
        return METHODS[self.manifest.task]

    def check(self, answers: Iterable[Answer]) -> tuple[Check, ...]:
        """Check each method on answers to held-out pictures, three or more; the best first."""
        return check_methods([self._ask(answer)[0] for answer in answers], self.methods)

    def explain(self, answer: Answer, method: Method) -> Floats:
        """Which pixels spoke for an answer.

        Returns:
            float32, (height, width) of the upright picture: 0 to 1, the strongest; NaN where the
            model sees nothing.

        Raises:
            ImageError: the picture cannot be read.
            ValueError: the method cannot be used with this network; its check says so.
        """
        question, (width, height) = self._ask(answer)
        shares = positive_share(method.explain(question))
        return spread_map(shares, width, height, self.manifest.preprocessing)

    def _ask(self, answer: Answer) -> tuple[Question, tuple[int, int]]:
        preprocessing = self.manifest.preprocessing
        pixels, (width, height) = read_input(answer.picture, preprocessing)
        image = torch.from_numpy(normalise(pixels, preprocessing))
        label = self.manifest.classes.index(answer.label)
        if answer.box is None:
            return ask_class(self.network, image, label), (width, height)
        box = fit_boxes(np.array([answer.box]), width, height, preprocessing)[0]
        question = ask_box(self.network, image, _tensor(box), label)
        return question, (width, height)


def best_method(methods: Sequence[Method], checks: Sequence[Check]) -> Method | None:
    """The method that passed its check best; None where none did. ``checks``: the best first."""
    passed = next((check.method for check in checks if check.passed), None)
    return next((method for method in methods if method.name == passed), None)


def _tensor(box: np.ndarray[tuple[int], np.dtype[np.float64]]) -> Tensor:
    return torch.from_numpy(box.astype(np.float32))
