"""The corruptions of ImageNet-C: what they do, at any size."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pixloop.data.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from pixloop.errors import DataError

#: Stronger ones change more, step by step; others' strengths are published as several numbers, of
#: which not all grow, or depend on how blocks fall.
GROWING = sorted(
    set(CORRUPTIONS) - {"elastic_transform", "fog", "frost", "glass_blur", "pixelate", "snow"}
)


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Smooth hills with edges, away from black and white: something of a photograph."""
    random = np.random.default_rng(seed)
    hills = cv2.resize(random.uniform(60, 200, (6, 6, 3)), (width, height))
    hills[height // 3 : height // 2, width // 4 : width // 2] = (70, 160, 90)
    return hills.round().astype(np.uint8)


PICTURE = picture(224, 224)


def change(name: str, severity: int, pixels: np.ndarray = PICTURE) -> float:
    """The root of the mean squared change, in levels."""
    difference = corrupt(pixels, name, severity, 3).astype(float) - pixels
    return float(np.sqrt((difference**2).mean()))


def detail(pixels: np.ndarray) -> float:
    """How much neighbours differ."""
    return float(np.abs(np.diff(pixels.astype(float), axis=1)).mean())


def test_they_are_the_fifteen():
    assert len(CORRUPTIONS) == 15
    assert SEVERITIES == (1, 2, 3, 4, 5)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_same_seed_gives_same_pixels(name):
    before = PICTURE.copy()
    first = corrupt(PICTURE, name, 3, 5)
    assert np.array_equal(first, corrupt(PICTURE, name, 3, 5))
    assert np.array_equal(PICTURE, before)
    assert not np.array_equal(first, PICTURE)


@pytest.mark.parametrize(
    "name",
    sorted(
        set(CORRUPTIONS)
        - {"defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg_compression"}
    ),
)
def test_another_seed_gives_others(name):
    assert not np.array_equal(corrupt(PICTURE, name, 3, 5), corrupt(PICTURE, name, 3, 6))


@given(
    st.integers(1, 70),
    st.integers(1, 70),
    st.sampled_from(CORRUPTIONS),
    st.sampled_from(SEVERITIES),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=200)
def test_any_size(height, width, name, severity, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    corrupted = corrupt(pixels, name, severity, seed)
    assert corrupted.shape == pixels.shape
    assert corrupted.dtype == np.uint8


@pytest.mark.parametrize("name", GROWING)
@pytest.mark.parametrize("side", [32, 224])
def test_more_severe_changes_more(name, side):
    pixels = picture(side, side)
    changes = [change(name, severity, pixels) for severity in SEVERITIES]
    assert changes == sorted(changes)
    assert changes[0] > 0
    assert changes[-1] > 1.2 * changes[0]


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_severity_means_about_the_same_at_another_size(name):
    large = cv2.resize(PICTURE, (448, 448), interpolation=cv2.INTER_CUBIC)
    small = cv2.resize(PICTURE, (112, 112), interpolation=cv2.INTER_AREA)
    for pixels in (large, small):
        assert 0.5 < change(name, 4, pixels) / change(name, 4) < 2


@pytest.mark.parametrize(("severity", "spread"), [(1, 0.08), (2, 0.12)])
def test_gaussian_noise_has_the_published_spread(severity, spread):
    noisy = corrupt(np.full((224, 224, 3), 128, np.uint8), "gaussian_noise", severity, 0)
    assert noisy.std() / 255 == pytest.approx(spread, rel=0.02)


def test_shot_noise_is_stronger_in_the_light():
    dark, light = (np.full((224, 224, 3), level, np.uint8) for level in (40, 160))
    spreads = [corrupt(p, "shot_noise", 1, 0).astype(float).std() for p in (dark, light)]
    # Poisson: the variance is the mean; 60 photons make white.
    assert spreads[0] == pytest.approx(255 * (40 / 255 / 60) ** 0.5, rel=0.05)
    assert spreads[1] == pytest.approx(255 * (160 / 255 / 60) ** 0.5, rel=0.05)


def test_impulse_noise_blackens_and_whitens_the_published_share():
    noisy = corrupt(np.full((224, 224, 3), 100, np.uint8), "impulse_noise", 5, 0)
    assert np.mean(noisy == 0) == pytest.approx(0.135, abs=0.01)
    assert np.mean(noisy == 255) == pytest.approx(0.135, abs=0.01)
    assert np.mean(noisy == 100) == pytest.approx(0.73, abs=0.01)


@pytest.mark.parametrize("name", ["defocus_blur", "motion_blur", "zoom_blur", "glass_blur"])
def test_blurs_take_detail_and_keep_light(name):
    random = np.random.default_rng(0)
    pixels = random.integers(60, 200, (224, 224, 3), dtype=np.uint8)
    blurred = corrupt(pixels, name, 3, 0)
    assert detail(blurred) < detail(pixels) / 2
    assert blurred.mean() == pytest.approx(pixels.mean(), abs=1.5)


def test_defocus_spreads_a_point_over_the_published_disk():
    point = np.zeros((225, 225, 3), np.uint8)
    point[112, 112] = 255
    lit = corrupt(point, "defocus_blur", 1, 0)[:, :, 0] > 0
    assert lit.sum() == pytest.approx(np.pi * 3.5**2, rel=0.25)


def test_brightness_adds_the_published_value():
    pixels = np.full((224, 224, 3), (100, 80, 60), np.uint8)
    brighter = corrupt(pixels, "brightness", 3, 0)
    assert int(brighter.max()) == pytest.approx(100 + 0.3 * 255, abs=1)
    # Hue and saturation stay.
    assert brighter[0, 0, 2] / brighter[0, 0, 0] == pytest.approx(0.6, abs=0.01)


def test_contrast_keeps_the_mean_and_the_published_share_of_the_spread():
    flat = corrupt(PICTURE, "contrast", 4, 0).astype(float)
    assert flat.mean(axis=(0, 1)) == pytest.approx(PICTURE.mean(axis=(0, 1)), abs=1)
    assert flat.std(axis=(0, 1)) == pytest.approx(PICTURE.std(axis=(0, 1)) * 0.1, rel=0.1)


def test_pixelate_makes_blocks_of_the_published_size():
    random = np.random.default_rng(0)
    blocky = corrupt(random.integers(0, 256, (224, 224, 3), dtype=np.uint8), "pixelate", 5, 0)
    assert np.array_equal(blocky[0:4, 4:8], np.broadcast_to(blocky[0, 4], (4, 4, 3)))


def test_fog_and_frost_and_snow_are_nowhere_the_same():
    grey = np.full((224, 224, 3), 100, np.uint8)
    for name in ("fog", "frost", "snow"):
        assert corrupt(grey, name, 2, 0).std() > 5, name


def test_elastic_transform_moves_pixels_but_keeps_colours():
    moved = corrupt(PICTURE, "elastic_transform", 2, 0)
    assert np.abs(np.sort(moved, axis=None).astype(int) - np.sort(PICTURE, axis=None)).mean() < 12
    assert change("elastic_transform", 2) > 10


def test_an_unknown_name_is_told_the_nearest():
    with pytest.raises(DataError, match=r"no corruption 'gausian_noise'. Did you mean 'gaussian"):
        corrupt(PICTURE, "gausian_noise", 1, 0)


@pytest.mark.parametrize("severity", [0, 6, -1])
def test_an_unknown_severity_is_refused(severity):
    with pytest.raises(DataError, match="there are 1 to 5"):
        corrupt(PICTURE, "fog", severity, 0)


@pytest.mark.parametrize("wrong", [PICTURE[:, :, 0], PICTURE / 255, PICTURE[:, :0]])
def test_what_is_no_rgb_picture_is_refused(wrong):
    with pytest.raises(DataError, match="takes uint8 pixels"):
        corrupt(wrong, "fog", 1, 0)
