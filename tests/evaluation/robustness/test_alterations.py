"""Alterations: the same seed alters alike, and boxes go where the things go."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pixloop.data.corruptions import corrupt
from pixloop.data.dataset import Objects
from pixloop.evaluation.robustness.alterations import (
    CURVES,
    Alteration,
    Scene,
    corruptions,
    curve_alterations,
)

ALL = curve_alterations((9, 9, 9))
BOX = (20, 30, 52, 50)


def scene(box: tuple[int, int, int, int] = BOX, side: int = 96, crowd: bool = False) -> Scene:
    """A white thing on black, and its box."""
    pixels = np.zeros((side, side, 3), np.uint8)
    x1, y1, x2, y2 = box
    pixels[y1:y2, x1:x2] = 255
    objects = Objects(np.array([box], np.float64), np.array([2]), np.array([crowd]))
    return Scene(pixels, objects)


def extent(pixels: np.ndarray) -> list[float]:
    """The box around what is bright."""
    y, x = np.nonzero(pixels[:, :, 0] > 127)
    return [x.min(), y.min(), x.max() + 1, y.max() + 1]


def find(kind: str, strength: float) -> Alteration:
    """The alteration of a curve at a strength."""
    return next(a for a in ALL if (a.kind, a.strength) == (kind, strength))


def test_every_corruption_is_there_at_each_severity() -> None:
    found = corruptions((1, 4))
    assert len(found) == 30
    assert {a.strength for a in found} == {1, 4}
    picture = scene().pixels
    for each in found[:4]:
        expected = corrupt(picture, each.kind, int(each.strength), 7)
        assert np.array_equal(each.apply(Scene(picture), 7).pixels, expected)


@pytest.mark.parametrize("alteration", ALL, ids=lambda a: f"{a.kind}-{a.strength:g}")
def test_same_seed_alters_alike_with_and_without_boxes(alteration: Alteration) -> None:
    random = np.random.default_rng(1)
    pixels = random.integers(0, 256, (40, 60, 3)).astype(np.uint8)
    objects = Objects(np.array([[5.0, 6, 30, 31]]), np.array([0]), np.array([False]))
    one, other = (alteration.apply(Scene(pixels, objects), 3) for _ in range(2))
    assert np.array_equal(one.pixels, other.pixels)
    assert np.array_equal(one.pixels, alteration.apply(Scene(pixels), 3).pixels)
    assert one.pixels.dtype == np.uint8
    assert one.objects is not None
    boxes, (height, width) = one.objects.boxes, one.pixels.shape[:2]
    assert (boxes >= 0).all()
    assert (boxes <= [width, height, width, height]).all()


@settings(deadline=None, max_examples=30)
@given(
    strength=st.sampled_from(CURVES["crop"].strengths),
    seed=st.integers(0, 2**31),
    left=st.integers(0, 60),
    top=st.integers(0, 60),
)
def test_cropped_boxes_stay_around_their_things(
    strength: float, seed: int, left: int, top: int
) -> None:
    altered = find("crop", strength).apply(scene((left, top, left + 30, top + 24)), seed)
    assert altered.objects is not None
    for box in altered.objects.boxes:
        assert box == pytest.approx(extent(altered.pixels), abs=1e-3)


@pytest.mark.parametrize("seed", range(4))
def test_a_quarter_turn_turns_boxes_exactly_either_way(seed: int) -> None:
    altered = find("rotation", 90).apply(scene(), seed)
    assert altered.objects is not None
    assert altered.objects.boxes[0] == pytest.approx(extent(altered.pixels), abs=1)


def test_pictures_turn_to_both_sides_and_each_to_one() -> None:
    ways = {}
    for seed in range(12):
        places = [extent(find("rotation", s).apply(scene(), seed).pixels)[0] for s in (20, 30)]
        ways[seed] = np.sign(np.array(places) - BOX[0])
    assert {tuple(way) for way in ways.values()} == {(1, 1), (-1, -1)}


def test_turned_things_stay_in_their_boxes_middle() -> None:
    altered = find("rotation", 30).apply(scene((40, 30, 56, 46)), 0)
    assert altered.objects is not None
    found, seen = altered.objects.boxes[0], extent(altered.pixels)
    assert (found[0] + found[2], found[1] + found[3]) == pytest.approx(
        (seen[0] + seen[2], seen[1] + seen[3]), abs=2
    )


def test_labels_and_crowds_stay_with_their_boxes() -> None:
    altered = find("rotation", 10).apply(scene(crowd=True), 0)
    assert altered.objects is not None
    assert altered.objects.labels.tolist() == [2]
    assert altered.objects.crowd.tolist() == [True]


def test_what_is_nearly_cut_off_is_no_longer_looked_for() -> None:
    edge = scene((0, 0, 10, 10))
    kept = [len(find("crop", 50).apply(edge, seed).objects) for seed in range(20)]  # type: ignore[arg-type]
    assert 0 in kept


def test_a_detectors_picture_is_not_mirrored_where_it_was_turned() -> None:
    blank = Scene(np.full((40, 40, 3), 200, np.uint8))
    corner = find("rotation", 45).apply(blank, 0).pixels[0, 0]
    assert corner.tolist() == [9, 9, 9]
    mirrored = next(a for a in curve_alterations(None) if (a.kind, a.strength) == ("rotation", 45))
    assert mirrored.apply(blank, 0).pixels[0, 0].tolist() == [200, 200, 200]


@pytest.mark.parametrize("kind", ["compression", "resolution"])
def test_stronger_ones_lose_more(kind: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    lost = [
        np.abs(find(kind, s).apply(Scene(pixels), 0).pixels.astype(float) - pixels).mean()
        for s in CURVES[kind].strengths
    ]
    assert lost == sorted(lost)
    assert lost[0] < lost[-1]


def test_a_picture_of_one_pixel_survives_all() -> None:
    pixel = Scene(np.full((1, 1, 3), 77, np.uint8))
    for alteration in ALL:
        assert alteration.apply(pixel, 0).pixels.shape == (1, 1, 3)
