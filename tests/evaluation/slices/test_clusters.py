import numpy as np
import pytest
from numpy.typing import NDArray

from pixloop.evaluation.slices.clusters import candidate_numbers, find_clusters


def groups(count: int, each: int, seed: int = 0) -> NDArray[np.float32]:
    """Embeddings in groups that stand apart, one after the other."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(0, 20, (count, 8))
    return (np.repeat(centres, each, axis=0) + rng.normal(0, 1, (count * each, 8))).astype(
        np.float32
    )


def test_finds_the_groups_that_are_there() -> None:
    found = find_clusters(groups(5, 40), classes=3)
    assert found is not None
    assert found.count == 5
    assert all(len(set(found.labels[i * 40 : i * 40 + 40].tolist())) == 1 for i in range(5))
    assert found.silhouette > 0.7


def test_the_same_seed_gives_the_same_clusters() -> None:
    noise = np.random.default_rng(3).normal(size=(300, 6)).astype(np.float32)
    first, second = find_clusters(noise, 2, seed=5), find_clusters(noise, 2, seed=5)
    assert first is not None
    assert second is not None
    assert first.labels.tolist() == second.labels.tolist()


def test_the_largest_is_first_and_typical_pictures_are_nearest() -> None:
    embeddings = np.concatenate([groups(1, 40, 1), groups(1, 90, 2), groups(1, 60, 3)])
    found = find_clusters(embeddings, classes=2)
    assert found is not None
    sizes = np.bincount(found.labels)
    assert sizes.tolist() == sorted(sizes.tolist(), reverse=True) == [90, 60, 40]
    typical = found.typical(0, 3)
    inside = np.flatnonzero(found.labels == 0)
    centre = embeddings[inside].mean(axis=0)
    away = np.linalg.norm(embeddings - centre, axis=1)
    assert typical == inside[np.argsort(away[inside])][:3].tolist()


@pytest.mark.parametrize("embeddings", [groups(2, 10), np.zeros((300, 4), np.float32)])
def test_few_pictures_or_equal_ones_have_no_clusters(embeddings: NDArray[np.float32]) -> None:
    assert find_clusters(embeddings, classes=2) is None


def test_pictures_of_few_kinds_have_no_more_clusters_than_kinds() -> None:
    embeddings = np.repeat(np.eye(4, dtype=np.float32), 60, axis=0)
    found = find_clusters(embeddings, classes=2)
    assert found is not None
    assert found.count == 3


def test_more_clusters_than_classes_are_tried_where_there_are_pictures_for_it() -> None:
    assert candidate_numbers(10_000, 10) == range(11, 25)
    assert candidate_numbers(10_000, 100) == range(2, 25)
    assert candidate_numbers(59, 1) == range(0)
