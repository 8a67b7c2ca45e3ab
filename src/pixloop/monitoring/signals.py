"""What is watched of each answered picture: one number a signal."""

from dataclasses import dataclass
from typing import Literal

#: What kind of thing a signal tells of; each group may spend the same share of the false alarms.
Group = Literal["outputs", "classes", "embedding", "picture"]


@dataclass(frozen=True, slots=True)
class Signal:
    """One number that every answered picture has.

    Attributes:
        name: unique in a bundle: ``brightness``, ``probability:cat``, ``class:cat``.
        group: what it tells of.
        words: for people: "brightness", "probability of cat".
    """

    name: str
    group: Group
    words: str
