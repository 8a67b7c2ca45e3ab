"""Parts computed in one process: read ahead, answered, written, and handed over one by one."""

from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from tempfile import TemporaryDirectory

from pixloop.errors import DataError
from pixloop.picture_predictions.part_answers import Answered, Facts, answer_each, write_part
from pixloop.picture_predictions.parts import Plan
from pixloop.picture_predictions.places import Stores
from pixloop.picture_predictions.predict import AskEach
from pixloop.picture_predictions.reading import READ_AHEAD, read_parts
from pixloop.progress import Advance


def predict_parts(
    ask_each: AskEach,
    plan: Plan,
    stores: Stores,
    parts: Iterable[int],
    advance: Advance = lambda *_: None,
    most: int = READ_AHEAD,
) -> Iterator[tuple[Facts, Path]]:
    """Compute parts, in order; while one is computed, the next is read.

    A part is answered by itself, from its first picture on: its batches, and so its answers, are
    the same whoever computes it, and whatever was computed before.

    Args:
        ask_each: the model.
        plan: has the parts.
        stores: what reads.
        parts: numbers of them.
        advance: is told of each picture.
        most: bytes of pictures that are read ahead.

    Yields:
        What a part came to, and the file of its answers, which is gone when the next is asked for.

    Raises:
        DataError: something cannot be read, or no temporary file can be written.
    """
    pictures = read_parts(plan, parts, stores, most)
    with _folder() as folder:
        file = Path(folder) / "part.parquet"
        for number, some in groupby(pictures, attrgetter("part")):
            answers = _told(answer_each(ask_each, some), advance)
            yield write_part(file, plan.head.identity_of(number), number, answers), file


def _folder() -> TemporaryDirectory[str]:
    try:
        return TemporaryDirectory(prefix="pixloop-")
    except OSError as e:
        raise DataError(
            f"no temporary folder can be made: {e.strerror}. TMPDIR says where another is."
        ) from e


def _told(answers: Iterable[Answered], advance: Advance) -> Iterator[Answered]:
    for answer in answers:
        yield answer
        advance()
