"""Picture files in, an answer for each out: from a bundle here, or from a server."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from pixloop.bundle import Bundle
from pixloop.drawing import DrawingFolder
from pixloop.errors import ImageError
from pixloop.imaging import decode_image
from pixloop.records import DetectedBox, Detection, Prediction


class PicturePrediction(BaseModel):
    """The answer for one picture file: a prediction, or what was found, or why there is neither.

    A classifier gives ``label`` and ``probabilities``, a detector ``boxes`` in pixels of the
    upright picture, whose ``width`` and ``height`` come with them.
    """

    model_config = ConfigDict(frozen=True)

    path: str
    label: str | None = None
    score: float | None = None
    decision: str | None = None
    probabilities: dict[str, float] | None = None
    boxes: tuple[DetectedBox, ...] | None = None
    width: int | None = None
    height: int | None = None
    drawing: str | None = None
    error: str | None = None


def predict_with_bundle(
    bundle: Bundle, pictures: Iterable[Path], draw: Path | None = None
) -> Iterator[PicturePrediction]:
    """Predict picture files with a bundle.

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
    yield from _predict_each(
        pictures, lambda data: predictor.predict([data])[0], draw, predictor.manifest.classes
    )


def predict_with_server(
    url: str, pictures: Iterable[Path], draw: Path | None = None
) -> Iterator[PicturePrediction]:
    """As ``predict_with_bundle``, with the server at ``url``."""
    # As above.
    from pixloop.serving.client import Client

    with Client(url) as client:
        yield from _predict_each(pictures, lambda data: client.predict([data])[0], draw)


def predict_with(
    ask: Callable[[bytes], Mapping[str, Any]], pictures: Iterable[Path], draw: Path | None = None
) -> Iterator[PicturePrediction]:
    """As ``predict_with_bundle``, with whatever answers one picture as the server does.

    Args:
        ask: an encoded picture → ``{"model", "predictions": [one]}``. It raises ``ImageError``
            for a picture that cannot be answered.
        pictures: as above.
        draw: as above.
    """
    # As above.
    from pixloop.serving.client import read_answer

    yield from _predict_each(pictures, lambda data: read_answer(ask(data)["predictions"][0]), draw)


def _predict_each(
    pictures: Iterable[Path],
    predict: Callable[[bytes], Prediction | Detection],
    draw: Path | None,
    classes: tuple[str, ...] = (),
) -> Iterator[PicturePrediction]:
    drawings = None
    if draw is not None:
        pictures = list(pictures)  # no drawing may be written over one that is still to come
        drawings = DrawingFolder(draw, pictures, classes)
    for path in pictures:
        try:
            data = path.read_bytes()
            answer = predict(data)
        except (OSError, ImageError) as e:
            yield PicturePrediction(path=str(path), error=str(e))
            continue
        fields: dict[str, Any] = {"path": str(path)}
        if isinstance(answer, Detection):
            fields |= {"boxes": answer.boxes, "width": answer.width, "height": answer.height}
        else:
            fields |= {"label": answer.label, "score": answer.score}
            fields |= {"decision": answer.decision.value}
            fields |= {"probabilities": dict(answer.probabilities)}
        if drawings:
            fields["drawing"] = str(drawings.draw(path, decode_image(data), answer))
        yield PicturePrediction(**fields)
