"""A model is asked about every picture of a split, one batch in memory at a time."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Protocol, TypeVar

from pixloop.data.dataset import Objects, Row
from pixloop.errors import DataError, ImageError
from pixloop.progress import progress

_BATCH = 64

Answers = TypeVar("Answers")
Ask = Callable[[list[bytes]], Answers]


class Pictures(Protocol):
    """A split, or some of its pictures."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Row]: ...


class PicturesWithObjects(Pictures, Protocol):
    """The same, in detection."""

    @property
    def objects(self) -> list[Objects]:
        """Of every picture, in order."""
        ...


def ask_in_batches(
    ask: Ask[Answers], split: Pictures, description: str
) -> Iterator[tuple[list[Row], Answers]]:
    """The rows of a split, in order, batch by batch, and what is answered to each batch.

    Args:
        ask: from the pictures of a batch to their answers.
        split: the pictures.
        description: for the progress display.

    Raises:
        DataError: a picture cannot be read.
    """
    with progress(description, total=len(split)) as advance:
        rows = iter(split)
        while batch := list(islice(rows, _BATCH)):
            yield batch, _ask_for(batch, ask)
            advance(len(batch))


def _ask_for(rows: list[Row], ask: Ask[Answers]) -> Answers:
    try:
        return ask([row.image for row in rows])
    except ImageError:
        # One is broken: find it, so that the message can name it.
        for row in rows:
            try:
                ask([row.image])
            except ImageError as e:
                raise DataError(f"the picture {row.path} cannot be read: {e}") from e
        raise
