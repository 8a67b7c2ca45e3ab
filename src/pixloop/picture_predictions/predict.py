"""Picture files in, an answer for each out: from a bundle here, or from a server.

The files are read as answers are taken, and few are held at once.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from pixloop.bundle import Bundle
from pixloop.decoding import decode_image
from pixloop.drawing import DrawingFolder
from pixloop.errors import ImageError
from pixloop.picture_predictions.files import too_large
from pixloop.picture_predictions.record import PicturePrediction, file_name
from pixloop.serving.codec import Answer

#: Answers encoded pictures in their order, and gives an error for one that it cannot read.
AskEach = Callable[[Iterable[bytes]], Iterator[Answer | ImageError]]

#: Requests at the same time to what serves on AWS.
_IN_FLIGHT = 4


def predict_with_bundle(
    bundle: Bundle, pictures: Iterable[Path], draw: Path | None = None
) -> Iterator[PicturePrediction]:
    """Predict picture files with a bundle, on all cores.

    Args:
        bundle: the model.
        pictures: files. One that cannot be read gives an answer with ``error``.
        draw: a folder; each picture is written there with its answer drawn over it.

    Raises:
        DataError: a drawing cannot be written.
    """
    # The inference engine is no part of a project's other verbs.
    from pixloop.serving.predictor import open_predictor

    predictor = open_predictor(bundle)
    yield from _predict_each(pictures, predictor.predict_each, draw, predictor.manifest.classes)


def predict_with_server(
    url: str, pictures: Iterable[Path], draw: Path | None = None
) -> Iterator[PicturePrediction]:
    """As ``predict_with_bundle``, with the server at ``url``.

    Raises:
        ServingError: nothing answers there, or not as a pixloop server does.
    """
    # As above.
    from pixloop.serving.client import Client

    with Client(url) as client:
        yield from _predict_each(pictures, client.predict_each, draw)


def predict_with(
    ask: Callable[[bytes], Mapping[str, Any]], pictures: Iterable[Path], draw: Path | None = None
) -> Iterator[PicturePrediction]:
    """As ``predict_with_bundle``, with whatever answers one picture as the server does.

    Args:
        ask: an encoded picture → ``{"model", "predictions": [one]}``. It raises ``ImageError``
            for a picture that cannot be answered. It is called in several threads.
        pictures: as above.
        draw: as above.
    """
    # As above.
    from pixloop.in_order import map_in_order
    from pixloop.serving.client import read_answer

    def answer(picture: bytes) -> Answer | ImageError:
        try:
            return read_answer(ask(picture)["predictions"][0])
        except ImageError as e:
            return e

    with ThreadPoolExecutor(_IN_FLIGHT) as pool:
        yield from _predict_each(
            pictures, lambda stream: map_in_order(pool, answer, stream, 2 * _IN_FLIGHT), draw
        )


def _predict_each(
    pictures: Iterable[Path],
    ask_each: AskEach,
    draw: Path | None,
    classes: tuple[str, ...] = (),
) -> Iterator[PicturePrediction]:
    drawings = None
    if draw is not None:
        pictures = list(pictures)  # no drawing may be written over one that is still to come
        drawings = DrawingFolder(draw, pictures, classes)
    files = _Files(pictures, keep=drawings is not None)
    for answer in ask_each(files.read()):
        yield from files.unread()
        path, data = files.take()
        if isinstance(answer, ImageError):
            yield PicturePrediction(path=file_name(path), error=str(answer))
        else:
            drawn = drawings.draw(path, decode_image(data), answer) if drawings else None
            yield PicturePrediction.of(path, answer, drawn)
    yield from files.unread()


class _Files:
    """The files that were read and are not answered yet, between those that could not be read."""

    def __init__(self, paths: Iterable[Path], keep: bool) -> None:
        """``keep``: hold each file's content until its answer is there, to draw over it."""
        self._paths, self._keep = paths, keep
        self._waiting: deque[tuple[Path, bytes | str]] = deque()

    def read(self) -> Iterator[bytes]:
        """The contents of the files that can be read."""
        for path in self._paths:
            data = _read(path)
            if isinstance(data, str):
                self._waiting.append((path, data))
                continue
            self._waiting.append((path, data if self._keep else b""))
            yield data

    def unread(self) -> Iterator[PicturePrediction]:
        """The answers for the files next in turn that could not be read."""
        while self._waiting and isinstance(reason := self._waiting[0][1], str):
            path, _ = self._waiting.popleft()
            yield PicturePrediction(path=file_name(path), error=reason)

    def take(self) -> tuple[Path, bytes]:
        """The next file, which is one that was read, and its content where that is kept."""
        path, data = self._waiting.popleft()
        assert isinstance(data, bytes)  # noqa: S101 - unread() took the others
        return path, data


def _read(path: Path) -> bytes | str:
    """A file's content; or why it cannot be read."""
    try:
        with path.open("rb") as file:
            return too_large(os.fstat(file.fileno()).st_size) or file.read()
    except OSError as e:
        return f"the file cannot be read: {e.strerror or e}"
