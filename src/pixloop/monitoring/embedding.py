"""What a network sees in a picture before its last layer, and how far that is from the usual.

Any fixed function of a picture would do for a test; this is the one that answers are made of.
"""

import functools
import io
import threading
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pixloop.bundle import EmbeddingCut, Manifest
from pixloop.errors import MonitoringError
from pixloop.files import atomic_path
from pixloop.imaging import normalise, read_input
from pixloop.monitoring.graph_cut import CutGraph, Floats, Found, find_embedding

#: Principal components that are kept of an embedding.
MOST_COMPONENTS = 16
#: Pictures that are needed for each of them.
_PICTURES_A_COMPONENT = 4
#: Of the variance along the components, so much is taken to be the same along all.
_SHRINKAGE = 0.1
_LEAST_VARIANCE = 1e-12


class Embedder:
    """Computes embeddings with a graph of the bundle that ends where it was cut.

    Threads may share one. The graph is opened with the first picture.
    """

    def __init__(self, folder: Path, manifest: Manifest, cut: EmbeddingCut, threads: int) -> None:
        """Name the graph.

        Raises:
            MonitoringError: the bundle has no such graph.
        """
        files = [graph.file for graph in manifest.graphs if graph.name == cut.graph]
        if not files:
            raise MonitoringError(f"{folder} has no {cut.graph} graph to take embeddings from.")
        self._open = functools.partial(CutGraph, folder / files[0], cut.tensor, threads)
        self._preprocessing = manifest.preprocessing
        self._lock = threading.Lock()

    def __call__(self, picture: bytes) -> Floats:
        """The embedding of an encoded picture, float32 (D,).

        Raises:
            ImageError: it cannot be read.
            MonitoringError: the graph has no such tensor.
        """
        pixels, _ = read_input(picture, self._preprocessing)
        with self._lock:  # several threads may be the first
            graph = self._graph
        return graph(normalise(pixels, self._preprocessing)[None])

    @functools.cached_property
    def _graph(self) -> CutGraph:
        return self._open()


def find_cut(folder: Path, manifest: Manifest) -> tuple[EmbeddingCut, Found] | str:
    """Where the embedding is in which graph; or why there is none.

    The graphs in float32 are looked through, OpenVINO's before ONNX's, whichever is served.
    """
    graphs = {graph.format: graph for graph in manifest.graphs if graph.precision == "float32"}
    formats = [name for name in ("openvino", "onnx") if name in graphs]
    if not formats:
        return "the bundle has no float32 graph for OpenVINO or ONNX"
    for name in formats:
        graph = graphs[name]
        found = find_embedding(folder / graph.file, manifest.task)
        if found is not None:
            return EmbeddingCut(graph=graph.name, tensor=found.tensor), found
    return "no layer of the graph is known to hold it"


def makes_answers(
    folder: Path, manifest: Manifest, cut: EmbeddingCut, found: Found, picture: bytes
) -> bool:
    """Whether the logits of a picture are its embedding times the weights, plus the bias.

    Of a detector, that its embedding is one of finite numbers.
    """
    embedding = Embedder(folder, manifest, cut, 1)(picture).astype(np.float64)
    if found.weights is None or found.bias is None:
        return bool(np.isfinite(embedding).all())
    logits = Embedder(folder, manifest, cut.model_copy(update={"tensor": found.logits}), 1)(picture)
    made = embedding @ found.weights + found.bias
    return bool(np.allclose(made, logits, rtol=1e-3, atol=1e-3 * max(1.0, np.abs(logits).max())))


@dataclass(frozen=True, slots=True, eq=False)
class Projection:
    """Embeddings as seen along their principal components, E of them.

    Attributes:
        mean: float32 (D,).
        components: float32 (D, E), orthonormal, the one with the most variance first.
        whitening: float32 (E, E); with it, what differs within classes has unit covariance.
        centres: float32 (C, E), of each class, or of all pictures.
    """

    mean: Floats
    components: Floats
    whitening: Floats
    centres: Floats

    @property
    def width(self) -> int:
        """E."""
        return int(self.components.shape[1])

    def project(self, embeddings: Floats) -> Floats:
        """float32 (N, D) → (N, E)."""
        return np.asarray((embeddings - self.mean) @ self.components, np.float32)

    def distance(self, projected: Floats) -> Floats:
        """The Mahalanobis distance to the nearest centre, (N, E) → float32 (N,).

        Source: K. Lee et al., "A simple unified framework for detecting out-of-distribution
        samples and adversarial attacks", 2018; here among the principal components.
        """
        difference = (projected[:, None, :] - self.centres) @ self.whitening
        return np.asarray(np.sqrt((difference**2).sum(axis=2).min(axis=1)), np.float32)


def fit_projection(
    embeddings: Floats, labels: NDArray[np.integer] | None = None
) -> Projection | None:
    """The projection of embeddings; None where there are too few, or all are the same.

    Args:
        embeddings: float32 (N, D), of pictures that the network learned from.
        labels: (N,), the class of each; without, all are of one.
    """
    most = min(MOST_COMPONENTS, len(embeddings) // _PICTURES_A_COMPONENT)
    if not most:
        return None
    mean = embeddings.mean(axis=0)
    components = _components(embeddings.astype(np.float64) - mean, most)
    if not components.shape[1]:
        return None
    projected = (embeddings - mean) @ components
    labels = np.zeros(len(embeddings), np.int64) if labels is None else labels
    names, places = np.unique(labels, return_inverse=True)
    centres = np.stack([projected[places == i].mean(axis=0) for i in range(len(names))])
    whitening = _whitening(projected - centres[places])
    return Projection(
        *(np.asarray(each, np.float32) for each in (mean, components, whitening, centres))
    )


def _components(centred: NDArray[np.float64], most: int) -> NDArray[np.float64]:
    """The first principal components, (D, E), each with its largest entry above 0."""
    if min(centred.shape) <= 4 * most:
        _, spread, rows = np.linalg.svd(centred, full_matrices=False)
    else:
        # Only those that are wanted: a full decomposition of 2,000 × 2,048 takes seconds.
        from scipy.sparse.linalg import svds

        _, spread, rows = svds(centred, k=most, v0=np.ones(min(centred.shape)), solver="arpack")
        spread, rows = spread[::-1], rows[::-1]
    kept = spread[:most] > max(spread[0] * 1e-6, 1e-9)
    directions = rows[:most][kept].T
    signs = np.sign(directions[np.abs(directions).argmax(axis=0), np.arange(directions.shape[1])])
    return np.asarray(directions * signs)


def _whitening(residuals: NDArray[np.floating]) -> NDArray[np.float64]:
    """A matrix with which residuals (N, E) have unit covariance, shrunk towards a sphere."""
    covariance = residuals.astype(np.float64).T @ residuals / len(residuals)
    mean = max(float(np.trace(covariance)) / len(covariance), _LEAST_VARIANCE)
    shrunk = (1 - _SHRINKAGE) * covariance + _SHRINKAGE * mean * np.eye(len(covariance))
    return np.asarray(np.linalg.inv(np.linalg.cholesky(shrunk)).T)


def save_projection(path: Path, projection: Projection) -> None:
    """Write the projection as npz."""
    content = io.BytesIO()
    np.savez_compressed(
        content, **{f.name: getattr(projection, f.name) for f in fields(projection)}
    )
    with atomic_path(path) as temporary:
        temporary.write_bytes(content.getvalue())


def load_projection(path: Path) -> Projection:
    """Read what ``save_projection`` wrote.

    Raises:
        MonitoringError: the file is none.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = [np.asarray(file[field.name], np.float32) for field in fields(Projection)]
    except (OSError, ValueError, KeyError) as e:
        raise MonitoringError(f"{path} is no projection of embeddings: {e}") from e
    return Projection(*arrays)
