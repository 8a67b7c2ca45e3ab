import numpy as np
import pytest
from PIL import Image
from tests.evaluation.trust.scenes import CHANGES, encoded, scene

from pixloop.errors import ImageError
from pixloop.evaluation.trust.likeness import SAME, SAME_TINY, SIDE, likeness, thumbnail_of


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("seed", range(3))
def test_a_picture_stays_the_same_whatever_was_done_to_it(change, seed):
    before, large = thumbnail_of(encoded(scene(seed)))
    after, _ = thumbnail_of(CHANGES[change](scene(seed)))
    assert large
    assert likeness(before, after) >= SAME
    assert likeness(after, before) >= SAME


def test_other_pictures_are_others():
    thumbnails = [thumbnail_of(encoded(scene(seed)))[0] for seed in range(12)]
    alike = [likeness(a, b) for i, a in enumerate(thumbnails) for b in thumbnails[:i]]
    assert max(alike) < 0.7


def test_two_smooth_skies_are_not_the_same():
    rng = np.random.default_rng(0)
    ramp = np.linspace(90, 220, SIDE)[:, None]
    skies = [np.uint8(np.clip(ramp + rng.normal(0, 6, (SIDE, SIDE)), 0, 255)) for _ in range(2)]
    assert likeness(*skies) < SAME
    flat = np.full((SIDE, SIDE), 100, np.uint8)
    assert likeness(flat, flat) == 0
    assert likeness(flat, flat, aligned=False) == 0


def test_tiny_pictures_are_not_moved_until_they_fit():
    rng = np.random.default_rng(0)
    tiny = Image.fromarray(rng.integers(0, 255, (8, 8, 3), np.uint8))
    moved = Image.fromarray(np.roll(np.asarray(tiny), 1, axis=1))
    (a, large), (b, _) = thumbnail_of(encoded(tiny)), thumbnail_of(encoded(moved))
    assert not large
    assert likeness(a, b, aligned=False) < SAME_TINY
    assert likeness(a, a, aligned=False) >= SAME_TINY


def test_what_is_no_picture_is_refused():
    with pytest.raises(ImageError):
        thumbnail_of(b"nothing")
