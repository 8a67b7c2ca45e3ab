import numpy as np
from tests.evaluation.trust.scenes import CHANGES, encoded, scene

from pixloop.evaluation.trust.likeness import SAME, thumbnail_of
from pixloop.evaluation.trust.pictures import Pictures
from pixloop.evaluation.trust.twins import find_twins


def looked(pictures, splits, embeddings):
    seen = [thumbnail_of(picture) for picture in pictures]
    count = len(pictures)
    return Pictures(
        splits=tuple(splits),
        indices=np.arange(count),
        paths=tuple(f"{i}.jpg" for i in range(count)),
        sha256=tuple(f"{i:064x}" for i in range(count)),
        labels=np.zeros(count, np.int64),
        embeddings=embeddings,
        projected=embeddings,
        thumbnails=np.array([thumbnail for thumbnail, _ in seen]),
        large=np.array([large for _, large in seen]),
    )


def test_a_leak_is_found_and_what_is_merely_similar_is_not():
    rng = np.random.default_rng(0)
    embeddings = rng.normal(size=(40, 8)).astype("f4")
    pictures = [encoded(scene(seed)) for seed in range(40)]
    pictures[39] = CHANGES["cropped"](scene(5))
    embeddings[39] = embeddings[5] + 0.05
    embeddings[38] = embeddings[6]  # the model sees the same in them, and they are others
    found = find_twins(looked(pictures, ["train"] * 30 + ["test"] * 10, embeddings))
    assert [(twins.a, twins.b) for twins in found] == [(5, 39)]
    assert SAME <= found[0].likeness <= 1


def test_a_leak_is_found_behind_many_test_pictures_that_are_nearer():
    embeddings = np.random.default_rng(0).normal(size=(30, 8)).astype("f4")
    pictures = [encoded(scene(seed)) for seed in range(30)]
    pictures[29] = CHANGES["mirrored"](scene(0))
    embeddings[0] = embeddings[29] + 0.3
    embeddings[20:29] = embeddings[29] + 0.01 * embeddings[20:29]
    splits = ["train"] * 20 + ["test"] * 10
    assert [(t.a, t.b) for t in find_twins(looked(pictures, splits, embeddings))] == [(0, 29)]


def test_few_pictures_or_none_to_see_do_no_harm():
    one = [encoded(scene(0))]
    assert find_twins(looked(one, ["train"], np.ones((1, 4), "f4"))) == []
    two = [encoded(scene(0)), encoded(scene(1))]
    assert find_twins(looked(two, ["train", "test"], np.ones((2, 4), "f4"))) == []
    assert find_twins(looked(two, ["train", "test"], np.zeros((2, 4), "f4"))) == []
    assert find_twins(looked(two, ["train", "test"], np.zeros((2, 0), "f4"))) == []
