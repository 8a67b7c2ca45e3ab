import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pixloop.data.augment import AUGMENTATIONS, BoxAugmenter
from pixloop.data.crops import grow_around, touches
from pixloop.data.dataset import Objects
from pixloop.errors import ConfigError
from pixloop.imaging import Preprocessing, fit_boxes, mean_colour, read_input

LETTERBOX = Preprocessing(image_size=96, resize="letterbox")
GEOMETRIC = ["flip", "vflip", "rotate", "shift", "perspective", "crop"]
PIXELS_ONLY = [name for name in AUGMENTATIONS if name not in GEOMETRIC]
# Told apart from each other and from the dark ground, wherever they overlap nothing.
COLOURS = np.array([[250, 20, 20], [20, 250, 20], [20, 20, 250]], np.uint8)


def objects_of(boxes, crowd=None):
    boxes = np.array(boxes, np.float64).reshape(-1, 4)
    crowd = np.zeros(len(boxes), bool) if crowd is None else np.array(crowd)
    return Objects(boxes, np.arange(len(boxes)), crowd)


def encode(rgb, format_="PNG"):
    encoded = io.BytesIO()
    Image.fromarray(rgb).save(encoded, format_, **({} if format_ == "PNG" else {"quality": 95}))
    return encoded.getvalue()


def paint(width, height, boxes, format_="PNG"):
    """A dark picture, encoded; box i is filled with colour i."""
    rgb = np.full((height, width, 3), 20, np.uint8)
    for colour, (x1, y1, x2, y2) in zip(COLOURS, boxes, strict=False):
        rgb[y1:y2, x1:x2] = colour
    return encode(rgb, format_)


def seen_box(rgb, label):
    """The bounding box of what has the label's colour, or None where too little has."""
    channel = rgb[:, :, label].astype(int)
    others = np.delete(rgb, label, axis=2).max(axis=2).astype(int)
    # Half covered pixels lie halfway between the colour and the ground.
    ys, xs = np.nonzero((channel > 135) & (channel > others + 60))
    return None if len(xs) == 0 else [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]


@st.composite
def scenes(draw):
    """Width, height and three rectangles side by side."""
    width, height = draw(st.integers(90, 160)), draw(st.integers(60, 160))
    boxes = []
    for i in range(3):
        low, high = width * i // 3, width * (i + 1) // 3
        x1 = draw(st.integers(low, high - 16))
        x2 = draw(st.integers(x1 + 12, high - 2))
        y1 = draw(st.integers(0, height - 16))
        y2 = draw(st.integers(y1 + 12, height))
        boxes.append((x1, y1, x2, y2))
    return width, height, boxes


@pytest.mark.parametrize("names", [[], ["flip"], ["vflip"], ["shift"], ["crop"], ["flip", "crop"]])
@pytest.mark.parametrize("resize", ["letterbox", "squash"])
@given(scene=scenes(), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_boxes_are_where_their_pixels_are(names, resize, scene, seed):
    width, height, boxes = scene
    preprocessing = Preprocessing(image_size=128, resize=resize, mean=(0.1, 0.1, 0.1))
    augment = BoxAugmenter(names, preprocessing)
    rgb, found, labels = augment(paint(width, height, boxes), objects_of(boxes), seed)
    assert (rgb.shape, rgb.dtype) == ((128, 128, 3), np.uint8)
    assert (found.dtype, labels.dtype) == (np.float32, np.int64)
    assert len(set(labels.tolist())) == len(labels) == len(found)
    for box, label in zip(found, labels, strict=True):
        seen = seen_box(rgb, label)
        assert seen is not None
        np.testing.assert_allclose(box, seen, atol=2)
    if names in ([], ["flip"], ["vflip"]):
        assert len(found) == 3


@pytest.mark.parametrize("names", [[], ["flip"], ["crop"]])
@pytest.mark.parametrize("resize", ["letterbox", "squash"])
@given(scene=scenes(), factor=st.integers(2, 5), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=15, deadline=None)
def test_boxes_are_where_their_pixels_are_in_pictures_decoded_smaller(
    names, resize, scene, factor, seed
):
    width, height, boxes = (factor * np.array(each) for each in scene)
    preprocessing = Preprocessing(
        image_size=64, resize=resize, interpolation="area", scaled_decoding=True, mean=(0.1,) * 3
    )
    rgb, found, labels = BoxAugmenter(names, preprocessing)(
        paint(width, height, boxes, "JPEG"), objects_of(boxes), seed
    )
    for box, label in zip(found, labels, strict=True):
        np.testing.assert_allclose(box, seen_box(rgb, label), atol=2)


@pytest.mark.parametrize("name", ["rotate", "perspective"])
def test_boxes_follow_slanted_pixels_loosely(name):
    boxes = [(10, 10, 40, 40), (50, 20, 80, 60), (90, 50, 118, 78)]
    picture, augment = paint(128, 96, boxes), BoxAugmenter([name], LETTERBOX)
    overlaps = []
    for seed in range(40):
        rgb, found, labels = augment(picture, objects_of(boxes), seed)
        for box, label in zip(found, labels, strict=True):
            seen = seen_box(rgb, label)
            low, high = np.maximum(box[:2], seen[:2]), np.minimum(box[2:], seen[2:])
            shared = np.clip(high - low, 0, None).prod()
            union = (box[2:] - box[:2]).prod() + np.subtract(seen[2:], seen[:2]).prod() - shared
            overlaps.append(shared / union)
    assert np.mean(overlaps) > 0.8
    assert min(overlaps) > 0.55


@pytest.mark.parametrize("name", PIXELS_ONLY)
def test_what_changes_colours_only_moves_no_box(name):
    boxes = [(10, 10, 40, 40), (50, 20, 80, 60)]
    picture, expected = paint(128, 96, boxes), fit_boxes(np.array(boxes), 128, 96, LETTERBOX)
    augment = BoxAugmenter([name], LETTERBOX)
    results = [augment(picture, objects_of(boxes), seed) for seed in range(30)]
    assert any((rgb != results[0][0]).any() for rgb, _, _ in results)
    for rgb, found, labels in results:
        np.testing.assert_allclose(found, expected, atol=1e-4)
        assert labels.tolist() == [0, 1]
        assert (rgb[72:] == mean_colour(LETTERBOX)).all()  # the filling stays as the server has it


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_each_augmentation_gives_usable_boxes_and_changes_some_pictures(name):
    boxes = [(0, 0, 30, 30), (50, 20, 80, 60), (100, 70, 128, 96)]
    picture = paint(128, 96, boxes)
    plain, _ = read_input(picture, LETTERBOX)
    augment = BoxAugmenter([name], LETTERBOX)
    results = [augment(picture, objects_of(boxes), seed) for seed in range(40)]
    assert any((rgb != plain).any() for rgb, _, _ in results)
    for _, found, labels in results:
        assert len(found) == len(labels)
        assert ((found >= 0) & (found <= 96)).all()
        assert (found[:, 2:] - found[:, :2] >= 0.99).all()


@pytest.mark.parametrize("resize", ["letterbox", "squash"])
@pytest.mark.parametrize("interpolation", ["bilinear", "area"])
def test_nothing_augmented_is_what_serving_sees(resize, interpolation):
    preprocessing = Preprocessing(
        image_size=64, resize=resize, interpolation=interpolation, scaled_decoding=True
    )
    boxes = [(40, 40, 160, 160), (200, 80, 320, 240)]
    picture = paint(400, 280, boxes, "JPEG")
    rgb, found, _ = BoxAugmenter([], preprocessing)(picture, objects_of(boxes), 3)
    np.testing.assert_array_equal(rgb, read_input(picture, preprocessing)[0])
    expected = fit_boxes(np.array(boxes), 400, 280, preprocessing)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_what_leaves_the_picture_is_dropped_and_what_stays_is_clipped():
    boxes = [(0, 30, 8, 60), (60, 30, 70, 60)]
    augment = BoxAugmenter(["shift"], LETTERBOX)
    found = [augment(paint(128, 96, boxes), objects_of(boxes), seed) for seed in range(200)]
    assert {len(labels) for _, _, labels in found} == {1, 2}
    assert any(b[labels == 0][0, 0] == 0 for _, b, labels in found if 0 in labels)
    assert all(1 in labels for _, _, labels in found)


def test_a_border_mirrors_nothing():
    boxes = [(100, 20, 128, 60)]  # at the right edge: reflected, it would be there twice
    augment = BoxAugmenter(["shift"], Preprocessing(image_size=128, resize="squash"))
    for seed in range(40):
        rgb, found, labels = augment(paint(128, 128, boxes), objects_of(boxes), seed)
        if len(labels):
            np.testing.assert_allclose(found[0], seen_box(rgb, 0), atol=2)


def test_crowds_are_dropped_and_empty_pictures_stay_empty():
    boxes = [(10, 10, 40, 40), (50, 20, 80, 60)]
    augment = BoxAugmenter(list(AUGMENTATIONS), LETTERBOX)
    for seed in range(10):
        _, _, labels = augment(paint(128, 96, boxes), objects_of(boxes, [True, False]), seed)
        assert 0 not in labels
        rgb, found, labels = augment(paint(128, 96, []), objects_of([]), seed)
        assert (rgb.shape, found.shape, labels.shape) == ((96, 96, 3), (0, 4), (0,))


def test_the_seed_alone_decides():
    boxes = [(10, 10, 40, 40), (50, 20, 80, 60)]
    first, second = (BoxAugmenter(list(AUGMENTATIONS), LETTERBOX) for _ in range(2))
    picture, objects = paint(128, 96, boxes), objects_of(boxes)
    expected = [first(picture, objects, seed) for seed in range(8)]
    backwards = [second(picture, objects, seed) for seed in reversed(range(8))][::-1]
    for one, other in zip(expected, backwards, strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)
    assert len({rgb.tobytes() for rgb, _, _ in expected}) == 8


def test_tiny_pictures_can_be_augmented():
    speck = encode(np.full((1, 3, 3), 200, np.uint8))
    augment = BoxAugmenter(list(AUGMENTATIONS), LETTERBOX)
    assert augment(speck, objects_of([(0, 0, 3, 1)]), 3)[0].shape == (96, 96, 3)


def test_an_unknown_name_names_the_nearest():
    with pytest.raises(ConfigError, match=r"'rotat'.*'rotate'"):
        BoxAugmenter(["rotat"], LETTERBOX)


@given(
    boxes=st.lists(st.tuples(*[st.floats(0, 80)] * 2, *[st.floats(1, 40)] * 2), max_size=8),
    part=st.tuples(*[st.integers(0, 60)] * 2, *[st.integers(1, 60)] * 2),
)
def test_a_grown_part_cuts_no_box(boxes, part):
    xywh = np.array(boxes).reshape(-1, 4)
    xyxy = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)
    part = (part[0], part[1], part[0] + part[2], part[1] + part[3])
    left, top, right, bottom = grown = grow_around(part, xyxy)
    assert left <= part[0]
    assert top <= part[1]
    assert right >= part[2]
    assert bottom >= part[3]
    whole = (xyxy >= [left, top, left, top]).all(axis=1) & (
        xyxy <= [right, bottom, right, bottom]
    ).all(axis=1)
    assert (whole == touches(xyxy, grown)).all()
