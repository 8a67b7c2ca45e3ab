"""Test pictures worth looking at: the worst mistakes, the least sure answers, some right ones."""

import base64
import io
from dataclasses import dataclass
from typing import Any

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
    chosen = _choose(predictions)
    return Examples(
        *(tuple(_read(predictions, pictures, i) for i in group) for group in chosen.values())
    )


def describe_examples(predictions: Predictions) -> dict[str, list[dict[str, Any]]]:
    """The same pictures as JSON values, without what they show."""
    return {
        name: [
            {**_answer(predictions, i), "accepted": bool(predictions.accepted[i])} for i in group
        ]
        for name, group in _choose(predictions).items()
    }


def _choose(predictions: Predictions) -> dict[str, list[int]]:
    """The places of each group of ``Examples``."""
    scores, correct = predictions.scores, predictions.correct
    rising = np.argsort(scores, kind="stable").tolist()
    worst = [i for i in rising[::-1] if not correct[i]][:WORST]
    unsure = [i for i in rising if i not in worst][:UNSURE]
    shown = {*worst, *unsure}
    sure = [i for i in rising[::-1] if correct[i] and i not in shown]
    _, first = np.unique(predictions.targets[sure], return_index=True)
    one_a_class = [sure[i] for i in sorted(first)]
    right = [*one_a_class, *(i for i in sure if i not in one_a_class)][:RIGHT]
    return {"worst": worst, "unsure": unsure, "right": right}


def _answer(predictions: Predictions, index: int) -> dict[str, Any]:
    return {
        "path": predictions.paths[index],
        "label": predictions.classes[predictions.targets[index]],
        "predicted": predictions.classes[predictions.predicted[index]],
        "score": float(predictions.scores[index]),
    }


def _read(predictions: Predictions, pictures: Split, index: int) -> Example:
    image, tiny = thumbnail(pictures.read(index).image)
    return Example(
        **_answer(predictions, index),
        accepted=bool(predictions.accepted[index]),
        image=image,
        tiny=tiny,
    )


def thumbnail(data: bytes, side: int = _SIDE_PX) -> tuple[str, bool]:
    """A small copy of an encoded picture as a ``data:`` address, and whether it is tiny.

    Args:
        data: the picture.
        side: the longest that the copy may have, in pixels.
    """
    image = Image.fromarray(decode_image(data))
    buffer = io.BytesIO()
    tiny = max(image.size) <= _TINY_PX
    if tiny:
        image.save(buffer, "PNG", optimize=True)
    else:
        image.thumbnail((side, side))
        image.save(buffer, "JPEG", quality=82, optimize=True)
    kind = "png" if tiny else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}", tiny
