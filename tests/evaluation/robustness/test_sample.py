"""The sample: some of every class, shrunk to what networks see."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixloop.data.dataset import Dataset, DatasetWriter, Objects, Row
from pixloop.decoding import decode_image
from pixloop.errors import DataError
from pixloop.evaluation.robustness.sample import draw_sample, encode, spread_evenly
from pixloop.imaging import Preprocessing, read_input

Maker = Callable[..., Path]


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.integers(1, 70), st.integers(0, 99))
def test_no_class_has_two_more_than_one_that_has_some_left(
    classes: list[int], count: int, seed: int
) -> None:
    chosen = spread_evenly(np.array(classes), count, seed)
    assert chosen == sorted(set(chosen)) == spread_evenly(np.array(classes), count, seed)
    assert len(chosen) == min(count, len(classes))
    taken = {k: sum(classes[i] == k for i in chosen) for k in set(classes)}
    most = max(taken.values())
    assert all(n >= most - 1 or n == classes.count(k) for k, n in taken.items())


def test_other_seeds_draw_other_pictures() -> None:
    classes = np.zeros(50, np.int64)
    assert spread_evenly(classes, 10, 0) != spread_evenly(classes, 10, 1)


def test_labels_and_paths_are_those_of_the_pictures(make_dataset: Maker) -> None:
    split = Dataset.open(make_dataset()).split("test")
    sample = draw_sample(split, 9, [Preprocessing(image_size=8)])
    assert len(sample) == 9
    assert sorted(sample.labels) == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    for i, path, label, scene in zip(
        sample.indices, sample.paths, sample.labels, sample.scenes, strict=True
    ):
        row = split.read(i)
        assert (row.path, row.label) == (path, label)
        assert np.array_equal(scene.pixels, decode_image(row.image))
    assert len(sample.thinned(4)) == 4
    assert set(sample.thinned(4).paths) < set(sample.paths)
    assert sample.thinned(40) is sample


@pytest.mark.parametrize("resize", ["crop", "squash", "letterbox"])
def test_shrinks_to_what_the_network_sees_pixel_by_pixel(tmp_path: Path, resize: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (120, 200, 3)).astype(np.uint8)
    objects = Objects(np.array([[20.0, 30, 100, 90]]), np.array([0]), np.array([False]))
    writer = DatasetWriter(tmp_path, ("a",), "detection")
    writer.add("test", Row(encode(pixels), "x.bmp", -1, 200, 120, "0", objects))
    writer.finish()
    given = Preprocessing(image_size=40, resize=resize, interpolation="area")  # type: ignore[arg-type]
    (scene,) = draw_sample(Dataset.open(tmp_path).split("test"), 5, [given]).scenes
    short, long = min(scene.pixels.shape[:2]), max(scene.pixels.shape[:2])
    seen = {"crop": short * given.crop_share, "squash": short, "letterbox": long}[resize]
    assert seen == pytest.approx(40, abs=0.5)
    assert scene.objects is not None
    scale = scene.pixels.shape[1] / 200
    assert scene.objects.boxes[0] == pytest.approx(np.array([20, 30, 100, 90]) * scale, rel=0.02)
    # The network sees nearly what it would have seen of the large one.
    large, small = (read_input(encode(each), given)[0] for each in (pixels, scene.pixels))
    assert np.abs(large.astype(float) - small).mean() < 12


def test_small_pictures_are_not_enlarged(make_dataset: Maker) -> None:
    split = Dataset.open(make_dataset()).split("test")
    sample = draw_sample(split, 3, [Preprocessing(image_size=224)])
    assert sample.scenes[0].pixels.shape == (8, 8, 3)


def test_a_broken_picture_is_named(make_dataset: Maker) -> None:
    split = Dataset.open(make_dataset(image=b"no picture")).split("test")
    with pytest.raises(DataError, match=r"7\.png cannot be read"):
        draw_sample(split, 60, [Preprocessing(image_size=8)])
