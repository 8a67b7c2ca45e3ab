"""From answered pictures to their signals, with what the bundle holds and no torch."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixloop.bundle import Bundle, Manifest
from pixloop.errors import ImageError, MonitoringError
from pixloop.monitoring.embedding import Embedder, Projection, load_projection
from pixloop.monitoring.reference import EMBEDDING, FOLDER, read_reference
from pixloop.monitoring.signals import (
    DIRECTIONS,
    EMBEDDING_SIGNALS,
    PICTURE_SIGNALS,
    Answer,
    Signal,
    measure_answer,
)
from pixloop.monitoring.statistics import measure_picture
from pixloop.records import Detection
from pixloop.serving.client import read_answer
from pixloop.serving.engines import usable_cores

Floats = NDArray[np.float32]

#: A monitor works beside a server, and may not take all of a large machine.
_MOST_THREADS = 4


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """What was measured of N pictures.

    Attributes:
        values: float32 (N, S), NaN where a picture has no such value.
        embeddings: float32 (N, E), the first principal components, 16 at most; E is 0 where the
            bundle's graphs could not be cut.
    """

    values: Floats
    embeddings: Floats


class Extractor:
    """Measures pictures and their answers, each by itself: what is beside it changes nothing."""

    def __init__(
        self,
        answers: Sequence[Signal],
        embedder: Embedder | None = None,
        projection: Projection | None = None,
    ) -> None:
        """Use ``Extractor.open`` for a bundle.

        Args:
            answers: what is measured of answers.
            embedder: what computes embeddings.
            projection: how they are seen; with ``embedder``.
        """
        self._answers, self._embedder, self._projection = tuple(answers), embedder, projection
        self._width = 0 if embedder is None or projection is None else projection.width
        seen = EMBEDDING_SIGNALS[: 1 + min(DIRECTIONS, self._width)] if self._width else ()
        self.signals: tuple[Signal, ...] = (*self._answers, *seen, *PICTURE_SIGNALS)
        self._pool = ThreadPoolExecutor(measuring_threads(), thread_name_prefix="measure")

    @classmethod
    def open(cls, bundle: Bundle) -> "Extractor":
        """What measures pictures as those of the bundle's reference were measured.

        Raises:
            MonitoringError: the bundle has no reference, since an older pixloop exported it.
            BundleError: its files are not those that were exported.
        """
        signals = read_reference(bundle).signals
        answers = [signal for signal in signals if signal.group in ("outputs", "classes")]
        record = bundle.manifest.reference
        if record is None or record.embedding is None:
            return cls(answers)
        cut = record.embedding
        bundle.verify(bundle.graph_files(cut.graph))
        embedder = Embedder(bundle.path, bundle.manifest, cut, measuring_threads())
        return cls(answers, embedder, load_projection(bundle.path / FOLDER / EMBEDDING))

    def measure(self, pictures: Sequence[bytes], answers: Sequence[Answer]) -> Measured:
        """Measure pictures and the model's answers to them.

        What cannot be read of a picture is NaN. Many pictures are measured side by side; the caller
        says how many are in memory.

        Raises:
            ValueError: there are not as many answers as pictures.
        """
        if len(pictures) != len(answers):
            raise ValueError(f"{len(pictures)} pictures have {len(answers)} answers")
        rows = list(self._pool.map(self._measure, pictures, answers))
        if not rows:
            return Measured(_nothing(0, len(self.signals)), _nothing(0, self._width))
        values, embeddings = zip(*rows, strict=True)
        return Measured(np.stack(values), np.stack(embeddings))

    def _measure(self, picture: bytes, answer: Answer) -> tuple[Floats, Floats]:
        """A picture's values (S,) and its projected embedding (E,)."""
        of_answer = np.array(measure_answer(answer, self._answers), np.float32)
        try:
            of_picture = measure_picture(picture)
            projected, seen = self._see(picture)
        except ImageError:
            projected = _nothing(self._width)
            of_picture = _nothing(len(self.signals) - len(of_answer))
            seen = _nothing(0)
        return np.concatenate([of_answer, seen, of_picture]), projected

    def _see(self, picture: bytes) -> tuple[Floats, Floats]:
        """The projected embedding (E,), and the values of its signals."""
        if self._embedder is None or self._projection is None:
            return _nothing(0), _nothing(0)
        projected = self._projection.project(self._embedder(picture)[None])
        distance = self._projection.distance(projected)
        return projected[0], np.concatenate([distance, projected[0, :DIRECTIONS]])


def parse_answer(document: Mapping[str, Any], manifest: Manifest) -> Answer:
    """One of the ``predictions`` in a server's JSON as a record.

    Args:
        document: as it came.
        manifest: of the bundle that answered.

    Raises:
        MonitoringError: it is no such answer, or not one of this bundle.
    """
    try:
        answer = read_answer(document)
    except (KeyError, TypeError, ValueError, AttributeError) as e:
        raise MonitoringError(f"this is no answer of a pixloop server: {e!r}") from e
    if ("boxes" in document) != (manifest.task == "detection"):
        raise MonitoringError(f"this answer is not one of a model for {manifest.task}.")
    named = (
        {box.label for box in answer.boxes}
        if isinstance(answer, Detection)
        else {answer.label, *answer.probabilities}
    )
    if unknown := named - set(manifest.classes):
        raise MonitoringError(
            f"this answer names {', '.join(map(repr, sorted(map(str, unknown))))}, which is no "
            f"class of the bundle of {manifest.name!r}: it is another model's."
        )
    return answer


def measuring_threads() -> int:
    """How many pictures are measured side by side."""
    return min(_MOST_THREADS, usable_cores())


def _nothing(*shape: int) -> Floats:
    return np.full(shape, np.nan, np.float32)
