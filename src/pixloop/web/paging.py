"""Long lists, a page at a time."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Turned:
    """A page of a list.

    Attributes:
        number: of the page, from 1.
        last: the number of the last one.
        start: how many entries come before it.
        end: how many there are with it, were it full.
    """

    number: int
    last: int
    start: int
    end: int


def turn(total: int, length: int, asked: int) -> Turned:
    """A page of a list, the nearest that there is.

    Args:
        total: entries of the list.
        length: entries of a page.
        asked: its number, from 1.

    >>> turn(101, 50, 7)
    Turned(number=3, last=3, start=100, end=150)
    """
    last = max(1, math.ceil(total / length))
    number = min(max(asked, 1), last)
    return Turned(number, last, (number - 1) * length, number * length)
