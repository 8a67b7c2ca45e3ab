"""What is known of each test picture without its answer: how it looks, and what the model sees."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from pixloop.bundle import Bundle
from pixloop.data.dataset import Dataset, Objects, Row, Split
from pixloop.errors import DataError, ImageError
from pixloop.monitoring.embedding import Embedder, Projection, load_projection
from pixloop.monitoring.extractor import measuring_threads
from pixloop.monitoring.reference import EMBEDDING, FOLDER
from pixloop.monitoring.signals import PICTURE_SIGNALS
from pixloop.monitoring.statistics import measure_picture
from pixloop.progress import progress

Floats = NDArray[np.float64]

#: Facts of pictures that slices are cut by, as ``monitoring.signals`` names them.
MEASURED = ("brightness", "contrast", "sharpness", "megapixels")
_BATCH = 256


@dataclass(frozen=True, slots=True, eq=False)
class PictureFacts:
    """Of N pictures, in the split's order.

    Attributes:
        values: each fact, (N,), NaN where a picture has none.
        sources: where each label was read, without the entry: a folder, a file, or that people
            gave it.
        embeddings: float32 (N, E), as the bundle projects them; None where it has none.
        without_embeddings: why there are none.
    """

    values: Mapping[str, Floats]
    sources: tuple[str, ...]
    embeddings: NDArray[np.float32] | None
    without_embeddings: str = ""


def gather_facts(bundle: Bundle, data: Dataset) -> PictureFacts:
    """Look at every test picture once.

    Raises:
        BundleError: the graph that embeddings are taken from is damaged.
        DataError: a picture cannot be read.
    """
    split = data.split("test")
    record = bundle.manifest.reference
    cut = None if record is None else record.embedding
    threads = measuring_threads()
    see: tuple[Embedder, Projection] | None = None
    if cut is not None:
        bundle.verify(bundle.graph_files(cut.graph))
        embedder = Embedder(bundle.path, bundle.manifest, cut, threads)
        see = embedder, load_projection(bundle.path / FOLDER / EMBEDDING)
    measured: list[NDArray[np.float32]] = []
    seen: list[NDArray[np.float32]] = []

    def look(row: Row) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        try:
            embedding = np.zeros(0, np.float32)
            if see is not None:
                embedding = see[1].project(see[0](row.image)[None])[0]
            return measure_picture(row.image), embedding
        except ImageError as e:
            raise DataError(f"the picture {row.path} cannot be read: {e}") from e

    with ThreadPoolExecutor(threads) as pool, progress("looking at slices", len(split)) as advance:
        for rows in _batches(split):
            for facts, embedding in pool.map(look, rows):
                measured.append(facts)
                seen.append(embedding)
            advance(len(rows))
    why = "an older pixloop exported the bundle" if record is None else record.without_embedding
    names = [signal.name for signal in PICTURE_SIGNALS]
    table = np.array(measured, np.float64).reshape(len(measured), len(names))
    values: dict[str, Floats] = {name: table[:, names.index(name)] for name in MEASURED}
    if data.info.task == "detection":
        values |= _facts_of_objects(split.objects, table[:, names.index("megapixels")] * 1e6)
    return PictureFacts(
        values=values,
        sources=tuple(name_source(source) for source in split.sources),
        embeddings=np.array(seen, np.float32) if see is not None else None,
        without_embeddings="" if see is not None else why,
    )


def name_source(source: str) -> str:
    """A row's ``source`` without its own entry.

    >>> name_source("annotation:17"), name_source("labels.csv:17"), name_source("train/cat/1.jpg")
    ('annotated by people', 'labels.csv', 'train/cat')
    """
    if source.startswith("annotation:"):
        return "annotated by people"
    before, colon, _ = source.partition(":")
    return before if colon else source.rpartition("/")[0]


def _facts_of_objects(truth: list[Objects], pixels: Floats) -> Mapping[str, Floats]:
    """How many objects there are, and how much of the picture the median one takes."""
    counts, sizes = np.zeros(len(truth)), np.full(len(truth), np.nan)
    for i, objects in enumerate(truth):
        boxes = objects.boxes[~objects.crowd]
        counts[i] = len(boxes)
        if len(boxes):
            areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
            sizes[i] = float(np.median(areas)) / pixels[i]
    return {"objects": counts, "object size": sizes}


def _batches(rows: Split) -> Iterator[list[Row]]:
    each = iter(rows)
    while batch := list(islice(each, _BATCH)):
        yield batch
