"""The numbered list of a report: pictures that people should look at, and why.

It is the ``review`` list of evaluation.json's ``pixloop.trust``; 'pixloop review add' puts its
pictures into the review queue, by their numbers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixloop.data.dataset import SplitName
from pixloop.evaluation.trust.label_errors import LabelDoubt
from pixloop.records import Decision

#: Classes of an answer whose probabilities are kept.
_CLASSES_KEPT = 8


@dataclass(frozen=True, slots=True)
class Entry:
    """A picture to be looked at.

    Attributes:
        number: from 1.
        split: where it is.
        path: its name in the data set.
        sha256: of its bytes.
        detail: why, in words.
        weight: how much is the matter, 0 to 1.
        label: the class that was given; "" in detection.
        likely: the class that it probably is; "" where none is named.
        answer: what the model, or the pictures beside it, say; as the server's JSON.
    """

    number: int
    split: SplitName
    path: str
    sha256: str
    detail: str
    weight: float
    label: str
    likely: str
    answer: Mapping[str, Any]


def doubt_words(
    doubt: LabelDoubt, classes: Sequence[str], judge: str = "the other pictures"
) -> str:
    """A doubtful label for people: "labelled sea; by the other pictures it is glacier (93 %)"."""
    share = round(100 * float(doubt.shares[doubt.likely]))
    return f"labelled {classes[doubt.label]}; by {judge} it is {classes[doubt.likely]} ({share} %)"


def answer_with(shares: NDArray[np.float32], classes: Sequence[str]) -> dict[str, Any]:
    """Probabilities (C,) as an answer, with the most probable classes."""
    order = np.argsort(-shares, kind="stable")[:_CLASSES_KEPT].tolist()
    return {
        "label": classes[order[0]],
        "score": float(shares[order[0]]),
        "decision": str(Decision.REFER),
        "probabilities": {classes[i]: float(shares[i]) for i in order},
    }
