"""Groups of pictures that look alike to the model: k-means on what it sees in them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

#: A cluster is to have so many pictures, on average.
PICTURES_A_CLUSTER = 30
MOST_CLUSTERS = 24
#: Silhouettes are measured on so many pictures; their cost grows with the square.
_SILHOUETTE_PICTURES = 2000
_STARTS = 4


@dataclass(frozen=True, slots=True, eq=False)
class Clusters:
    """A cluster for each of N pictures.

    Attributes:
        labels: (N,), 0 to K - 1; the largest cluster is 0.
        distances: (N,), to the centre of the own one.
        silhouette: mean silhouette (Rousseeuw 1987), -1 to 1.
    """

    labels: NDArray[np.int64]
    distances: Floats
    silhouette: float

    @property
    def count(self) -> int:
        """K."""
        return int(self.labels.max()) + 1

    def typical(self, cluster: int, most: int) -> list[int]:
        """The pictures of a cluster that are nearest to its centre."""
        inside = np.flatnonzero(self.labels == cluster)
        nearest = inside[np.argsort(self.distances[inside], kind="stable")]
        return [int(i) for i in nearest[:most]]


def find_clusters(embeddings: Floats, classes: int, seed: int = 0) -> Clusters | None:
    """Cluster the embeddings; None where there are too few pictures, or all look the same.

    A classifier's embeddings lie class by class, so as many clusters as classes would say nothing
    that the classes do not. Of each number from one more than the classes to three times as many,
    that with the best mean silhouette is taken (of equal ones the least); there are at most
    ``MOST_CLUSTERS``, and at least ``PICTURES_A_CLUSTER`` pictures each on average. Where that
    does not leave one more than the classes, numbers from 2 on are tried.

    Args:
        embeddings: float32 (N, E).
        classes: of the data set.
        seed: of k-means' first centres; the same one gives the same clusters.
    """
    numbers = candidate_numbers(len(embeddings), classes)
    spread = np.ptp(embeddings, axis=0).max() if embeddings.size else 0
    if not numbers or not spread > 0:
        return None
    # scikit-learn takes half a second to import.
    from threadpoolctl import threadpool_limits

    distinct = len(np.unique(embeddings, axis=0))
    # So little arithmetic that threads only wait for each other: beside busy processes, a hundred
    # times as long.
    with threadpool_limits(1):
        tried = [_cluster(embeddings, number, seed) for number in numbers if number < distinct]
    # Of equal ones the first, which has the fewest.
    return max(tried, key=lambda each: each.silhouette, default=None)


def _cluster(embeddings: Floats, number: int, seed: int) -> Clusters:
    from sklearn.cluster import KMeans
    from sklearn.metrics import silhouette_score

    model = KMeans(number, n_init=_STARTS, random_state=seed).fit(embeddings)
    labels = np.asarray(model.labels_, np.int64)
    sample = min(_SILHOUETTE_PICTURES, len(embeddings))
    score = silhouette_score(embeddings, labels, sample_size=sample, random_state=seed)
    distances = np.linalg.norm(embeddings - model.cluster_centers_[labels], axis=1)
    return Clusters(_largest_first(labels), distances, float(score))


def candidate_numbers(pictures: int, classes: int) -> range:
    """The numbers of clusters that are tried.

    >>> candidate_numbers(540, 6), candidate_numbers(150, 6), candidate_numbers(50, 6)
    (range(7, 19), range(2, 6), range(0, 0))
    """
    most = min(pictures // PICTURES_A_CLUSTER, 3 * classes, MOST_CLUSTERS)
    least = classes + 1 if most > classes else 2
    return range(least, most + 1) if most >= least else range(0)


def _largest_first(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """The same clusters, numbered by their size."""
    order = np.argsort(-np.bincount(labels), kind="stable")
    places = np.empty(len(order), np.int64)
    places[order] = np.arange(len(order))
    return np.asarray(places[labels])
