"""The reference of a draft: what pictures were like that the model did not learn from."""

import io
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pixloop.bundle import EmbeddingCut, ReferenceRecord
from pixloop.data.dataset import Dataset, Objects, Row, Split
from pixloop.decoding import decode_image
from pixloop.evaluation.batches import ask_in_batches
from pixloop.evaluation.detection.matching import match_boxes
from pixloop.export.export import Draft
from pixloop.export.stored_pictures import spread_evenly
from pixloop.monitoring.embedding import (
    Embedder,
    Projection,
    find_cut,
    fit_projection,
    makes_answers,
    save_projection,
)
from pixloop.monitoring.extractor import Extractor, Measured, measuring_threads
from pixloop.monitoring.reference import EMBEDDING, FOLDER, Reference, save_reference
from pixloop.monitoring.signals import Answer, answer_signals, score_of
from pixloop.progress import progress
from pixloop.records import Detection, Prediction
from pixloop.serving.detector import Found

Floats = NDArray[np.float32]

#: More pictures would make the bundle larger and tell little more.
MOST_PICTURES, _MOST_LEARNED = 5000, 2000
_BATCH = 64
#: Typical pictures that are kept, and their longest side.
_TYPICAL, _TYPICAL_PX = 24, 96


@dataclass(frozen=True, slots=True)
class AddedReference:
    """What was written, what the manifest says of it, and what measured it."""

    record: ReferenceRecord
    reference: Reference
    extractor: Extractor


def reference_split(data: Dataset) -> Split:
    """The pictures of the reference: those that calibrate, or where none do, choose the epoch."""
    return data.split("calibration") or data.split("validation")


def add_reference(draft: Draft, data: Dataset) -> AddedReference | None:
    """Write the reference of a calibrated draft into it.

    Args:
        draft: complete but for its seal.
        data: its calibration pictures are the reference; by training pictures embeddings are seen.

    Returns:
        None where there are no pictures.

    Raises:
        DataError: a picture cannot be read.
    """
    split = reference_split(data)
    if not len(split):
        return None
    pictures = Chosen(split, spread_evenly(MOST_PICTURES, len(split)))
    answers = ask_all(draft.predictor().predict, pictures)
    signals = answer_signals(draft.manifest.task, answers)
    cut, projection, why_not = _fit_embedding(draft, data, pictures)
    embedder = Embedder(draft.folder, draft.manifest, cut, measuring_threads()) if cut else None
    extractor = Extractor(signals, embedder, projection)
    measured = measure_pictures(extractor, pictures, answers)
    reference = Reference(
        signals=extractor.signals,
        values=measured.values,
        embeddings=measured.embeddings,
        scores=np.array([score_of(answer) for answer in answers], np.float32),
        correct=judge(answers, pictures, draft.manifest.classes),
        thumbnails=_typical(pictures),
    )
    save_reference(draft.folder / FOLDER, reference)
    if projection is not None:
        save_projection(draft.folder / FOLDER / EMBEDDING, projection)
    record = ReferenceRecord(
        split="calibration" if len(data.split("calibration")) else "validation",
        pictures=len(pictures),
        embedding=cut,
        without_embedding=why_not,
    )
    return AddedReference(record, reference, extractor)


def _fit_embedding(
    draft: Draft, data: Dataset, pictures: "Chosen"
) -> tuple[EmbeddingCut | None, Projection | None, str]:
    """Where the embedding is and how it is seen; or why there is none."""
    found = find_cut(draft.folder, draft.manifest)
    if isinstance(found, str):
        return None, None, found
    cut, place = found
    embedder = Embedder(draft.folder, draft.manifest, cut, measuring_threads())
    if not makes_answers(draft.folder, draft.manifest, cut, place, pictures.read(0).image):
        return None, None, "the layer that was found does not make the graph's answers"
    split = data.split("train")
    learned = Chosen(split, spread_evenly(_MOST_LEARNED, len(split)))
    embeddings: list[Floats] = []
    with (
        ThreadPoolExecutor(measuring_threads()) as pool,
        progress("embedding training pictures", len(learned)) as advance,
    ):
        for rows in _batches(learned):
            embeddings += pool.map(embedder, [row.image for row in rows])
            advance(len(rows))
    labels = learned.labels if draft.manifest.task == "classification" else None
    projection = fit_projection(np.array(embeddings, np.float32), labels)
    if projection is None:
        return None, None, "there are too few training pictures, or all look the same to it"
    return cut, projection, ""


def ask_all(ask: Callable[[list[bytes]], Sequence[Answer]], pictures: "Chosen") -> list[Answer]:
    """The answers to pictures.

    Raises:
        DataError: a picture cannot be read.
    """
    batches = ask_in_batches(ask, pictures, "answering for the reference")
    return [answer for _, answered in batches for answer in answered]


def measure_pictures(
    extractor: Extractor, pictures: "Chosen", answers: Sequence[Answer]
) -> Measured:
    """Measure pictures and their answers, a batch in memory at a time."""
    parts: list[Measured] = []
    done = 0
    with progress("measuring the reference", len(pictures)) as advance:
        for rows in _batches(pictures):
            images = [row.image for row in rows]
            parts.append(extractor.measure(images, answers[done : done + len(rows)]))
            done += len(rows)
            advance(len(rows))
    return Measured(
        np.concatenate([part.values for part in parts]),
        np.concatenate([part.embeddings for part in parts]),
    )


def _typical(pictures: "Chosen") -> tuple[bytes, ...]:
    """A few of the pictures, small, as JPEG."""
    kept = []
    for index in spread_evenly(_TYPICAL, len(pictures)):
        image = Image.fromarray(decode_image(pictures.read(index).image))
        image.thumbnail((_TYPICAL_PX, _TYPICAL_PX))
        file = io.BytesIO()
        image.save(file, "JPEG", quality=85)
        kept.append(file.getvalue())
    return tuple(kept)


def judge(answers: Sequence[Answer], pictures: "Chosen", classes: Sequence[str]) -> Floats:
    """Whether each answer was right, 1 or 0, float32 (n,).

    In detection: the share of right boxes among a picture's, NaN where it has none. A box is right
    where it is a true one at IoU 0.5; those in crowd regions do not count.
    """
    if any(isinstance(answer, Detection) for answer in answers):
        found = (answer for answer in answers if isinstance(answer, Detection))
        pairs = zip(found, pictures.objects, strict=True)
        return np.array([_share_of_right(*pair, classes) for pair in pairs], np.float32)
    said = (answer.label for answer in answers if isinstance(answer, Prediction))
    right = [name == classes[i] for name, i in zip(said, pictures.labels, strict=True)]
    return np.array(right, np.float32)


def _share_of_right(answer: Detection, truth: Objects, classes: Sequence[str]) -> float:
    numbers = {name: number for number, name in enumerate(classes)}
    found = Found(
        boxes=np.array([box.xyxy for box in answer.boxes], np.float64).reshape(-1, 4),
        scores=np.array([box.score for box in answer.boxes], np.float64),
        labels=np.array([numbers[box.label] for box in answer.boxes], np.int64),
        width=answer.width,
        height=answer.height,
    )
    matches = match_boxes([found], [truth], len(classes))
    counted = ~matches.ignored
    return float(matches.right[counted].mean()) if counted.any() else np.nan


def _batches(pictures: "Chosen") -> Iterator[list[Row]]:
    rows = iter(pictures)
    while batch := list(islice(rows, _BATCH)):
        yield batch


class Chosen:
    """Some pictures of a split, in its order."""

    def __init__(self, split: Split, places: Sequence[int]) -> None:
        self._split, self._places = split, list(places)

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[Row]:
        return map(self._split.read, self._places)

    def read(self, index: int) -> Row:
        """The picture at ``index`` of those that were chosen."""
        return self._split.read(self._places[index])

    @property
    def labels(self) -> NDArray[np.int64]:
        """Their labels, (N,)."""
        labels: NDArray[np.int64] = self._split.labels[self._places]
        return labels

    @property
    def objects(self) -> list[Objects]:
        """Their objects."""
        objects = self._split.objects
        return [objects[place] for place in self._places]
