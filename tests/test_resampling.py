from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pixloop.decoding import RgbArray
from pixloop.resampling import resample


def noise(height: int, width: int) -> RgbArray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def scale(rgb: RgbArray, box: Any, interpolation: Any, width: int, height: int) -> RgbArray:
    out = np.empty((height, width, 3), np.uint8)
    resample(rgb, box, interpolation, out)
    return out


@given(
    rows=st.integers(1, 9), columns=st.integers(1, 9), factors=st.tuples(*[st.integers(1, 7)] * 2)
)
def test_area_is_the_mean_of_what_a_pixel_covers(
    rows: int, columns: int, factors: tuple[int, int]
) -> None:
    down, across = factors
    rgb = noise(rows * down, columns * across)
    means = rgb.reshape(rows, down, columns, across, 3).mean(axis=(1, 3))
    found = scale(rgb, (0, 0, columns * across, rows * down), "area", columns, rows)
    np.testing.assert_allclose(found, means, atol=0.51)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40), st.integers(1, 40))
def test_area_averages_along_a_side_that_shrinks_whatever_the_other_does(
    height: int, width: int, new_height: int, new_width: int
) -> None:
    # Columns alternate: wherever the width shrinks by whole numbers, all that is left is gray.
    rgb = np.zeros((height, 2 * width, 3), np.uint8)
    rgb[:, ::2] = 200
    found = scale(rgb, (0, 0, 2 * width, height), "area", width, new_height)
    np.testing.assert_allclose(found, 100, atol=1)


@given(st.integers(2, 30), st.integers(2, 30), st.integers(1, 3))
def test_area_enlarges_as_bilinear_does(height: int, width: int, factor: int) -> None:
    rgb, box = noise(height, width), (0, 0, width, height)
    found = scale(rgb, box, "area", factor * width, factor * height)
    expected = scale(rgb, box, "bilinear", factor * width, factor * height)
    np.testing.assert_allclose(found, expected, atol=1.01)


@given(
    st.integers(1, 50), st.integers(1, 50), st.tuples(*[st.floats(0, 1)] * 4), st.integers(1, 20)
)
def test_area_takes_the_nearest_whole_pixels(
    height: int, width: int, shares: tuple[float, ...], side: int
) -> None:
    left, right = sorted(share * width for share in shares[:2])
    top, bottom = sorted(share * height for share in shares[2:])
    y, x = np.mgrid[:height, :width]
    rgb = np.stack([x, y, x + y], axis=-1).astype(np.uint8)
    found = scale(rgb, (left, top, right, bottom), "area", side, side).astype(float)
    assert (found[..., 0] >= left - 1.01).all()
    assert (found[..., 0] <= right + 0.51).all()
    assert (found[..., 1] >= top - 1.01).all()
    assert (found[..., 1] <= bottom + 0.51).all()


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_pillows_filters_are_pillows(interpolation: str) -> None:
    rgb, box = noise(50, 70), (3.5, 2.25, 61.0, 49.5)
    method = Image.Resampling[interpolation.upper()]
    expected = np.asarray(Image.fromarray(rgb).resize((20, 30), method, box=box))
    np.testing.assert_array_equal(scale(rgb, box, interpolation, 20, 30), expected)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "area"])
@pytest.mark.parametrize("shape", [(20, 30), (90, 80), (20, 80), (50, 70)])
def test_rows_of_the_result_may_lie_apart(interpolation: Any, shape: tuple[int, int]) -> None:
    rgb, (height, width) = noise(50, 70), shape
    canvas = np.full((100, 100, 3), 9, np.uint8)
    resample(rgb, (0, 0, 70, 50), interpolation, canvas[:height, :width])
    expected = scale(rgb, (0, 0, 70, 50), interpolation, width, height)
    np.testing.assert_array_equal(canvas[:height, :width], expected)
    assert (canvas[height:] == 9).all()
    assert (canvas[:, width:] == 9).all()


def test_opencv_computes_on_the_callers_thread() -> None:
    import cv2

    scale(noise(50, 70), (0, 0, 70, 50), "area", 20, 20)
    assert cv2.getNumThreads() == 1
