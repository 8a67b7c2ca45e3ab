"""A map of the model's input, back on the picture."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pixloop.evaluation.explanations.overlay import draw_overlay, positive_share, spread_map
from pixloop.imaging import Preprocessing, resize_image

SIZE = 48
sides = st.integers(40, 160)


@settings(deadline=None, max_examples=40)
@given(width=sides, height=sides, resize=st.sampled_from(["crop", "squash", "letterbox"]))
def test_what_was_seen_at_a_place_is_shown_there(width: int, height: int, resize: str) -> None:
    """A bright spot of the picture, found in the input, comes back where it was."""
    preprocessing = Preprocessing(
        image_size=SIZE, resize=resize, interpolation="area", crop_share=0.8
    )
    x, y = round(width * 0.45), round(height * 0.55)
    picture = np.zeros((height, width, 3), np.uint8)
    picture[y - 4 : y + 4, x - 4 : x + 4] = 255
    seen = resize_image(picture, preprocessing).astype(np.float32).mean(axis=2)
    if resize == "letterbox":  # the margin has the mean colour
        seen[round(height * SIZE / max(width, height)) :] = 0
        seen[:, round(width * SIZE / max(width, height)) :] = 0
    back = spread_map(seen, width, height, preprocessing)
    assert back.shape == (height, width)
    down, right = np.unravel_index(np.nanargmax(np.nan_to_num(back)), back.shape)
    slack = 5 + max(width, height) / SIZE
    assert abs(right - x) <= slack
    assert abs(down - y) <= slack
    assert np.isnan(back).any() == (resize == "crop")


def test_the_strongest_is_brightest_and_the_unseen_darkest() -> None:
    shares = np.zeros((20, 20), np.float32)
    shares[5, 5], shares[:, 15:] = 1, np.nan
    drawn = draw_overlay(np.full((20, 20, 3), 200, np.uint8), shares).mean(axis=2)
    assert drawn[5, 5] != drawn[0, 0]
    assert drawn[0, 18] < drawn[0, 0] < 200


def test_only_what_speaks_for_it_counts() -> None:
    shares = positive_share(np.array([[-5.0, 0.0], [1.0, 2.0]], np.float32))
    assert shares.min() == 0
    assert shares.max() == 1
    assert shares[0, 0] == 0
    assert np.array_equal(positive_share(-np.ones((2, 2), np.float32)), np.zeros((2, 2)))
