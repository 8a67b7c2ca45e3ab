"""Test pictures worth looking at: the worst mistakes, the least sure answers, some right ones."""

import base64
import io
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from pixloop.data.dataset import Split
from pixloop.decoding import decode_image
from pixloop.evaluation.predictions import Predictions

WORST, UNSURE, RIGHT = 12, 6, 6

_SIDE_PX = 200  # the longest side of a thumbnail
_TINY_PX = 64  # up to here, pixels are shown as they are


@dataclass(frozen=True, slots=True)
class Example:
    """A picture and what the model made of it."""

    path: str
    label: str
    predicted: str
    score: float
    accepted: bool
    image: str  #: a data: address
    tiny: bool  #: to be scaled up without smoothing

    @property
    def right(self) -> bool:
        """Whether the answer is the label."""
        return self.label == self.predicted


@dataclass(frozen=True, slots=True)
class Examples:
    """The three groups, each in the order in which it is to be shown."""

    worst: tuple[Example, ...]  #: wrong, the surest first
    unsure: tuple[Example, ...]  #: the lowest scores that are not among the worst
    right: tuple[Example, ...]  #: right, each of another class while there are any


def choose_examples(predictions: Predictions, pictures: Split) -> Examples:
    """Pick the pictures and read them; ``pictures`` are in the predictions' order."""
    scores, correct = predictions.scores, predictions.correct
    rising = np.argsort(scores, kind="stable")
    worst = [i for i in rising[::-1] if not correct[i]][:WORST]
    unsure = [i for i in rising if i not in worst][:UNSURE]
    shown = {*worst, *unsure}
    sure = [i for i in rising[::-1] if correct[i] and i not in shown]
    _, first = np.unique(predictions.targets[sure], return_index=True)
    one_a_class = [sure[i] for i in sorted(first)]
    right = [*one_a_class, *(i for i in sure if i not in one_a_class)][:RIGHT]

    def read(indices: Iterable[int]) -> tuple[Example, ...]:
        return tuple(_read(predictions, pictures, int(i)) for i in indices)

    return Examples(read(worst), read(unsure), read(right))


def _read(predictions: Predictions, pictures: Split, index: int) -> Example:
    image, tiny = thumbnail(pictures.read(index).image)
    return Example(
        path=predictions.paths[index],
        label=predictions.classes[predictions.targets[index]],
        predicted=predictions.classes[predictions.predicted[index]],
        score=float(predictions.scores[index]),
        accepted=bool(predictions.accepted[index]),
        image=image,
        tiny=tiny,
    )


def thumbnail(data: bytes) -> tuple[str, bool]:
    """A small copy of an encoded picture as a ``data:`` address, and whether it is tiny."""
    image = Image.fromarray(decode_image(data))
    buffer = io.BytesIO()
    tiny = max(image.size) <= _TINY_PX
    if tiny:
        image.save(buffer, "PNG", optimize=True)
    else:
        image.thumbnail((_SIDE_PX, _SIDE_PX))
        image.save(buffer, "JPEG", quality=82, optimize=True)
    kind = "png" if tiny else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}", tiny
