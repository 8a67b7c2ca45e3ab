import io

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from pixloop.data.boxes import MIN_SIDE_PX, SAME_IOU, Shape, check_boxes, overlap, to_upright, turn
from pixloop.data.findings import KINDS
from pixloop.decoding import decode_image

ORIENTATIONS = st.integers(1, 8)
EDGE = st.floats(-50, 250) | st.sampled_from([np.nan, np.inf, -np.inf, 0.0, 100.0])


def kinds_of(findings):
    return [finding.kind for finding in findings]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_turn_as_pixels_do(orientation):
    pixels = np.zeros((60, 90, 3), np.uint8)
    pixels[10:25, 30:70] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, "PNG", exif=exif)
    upright = decode_image(encoded.getvalue())
    ys, xs = np.nonzero(upright[:, :, 0])
    shape = Shape(upright.shape[1], upright.shape[0], orientation)
    turned = turn(np.array([[30.0, 10, 70, 25]]), shape)
    assert turned.tolist() == [[xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]]


@given(
    width=st.integers(1, 500),
    height=st.integers(1, 500),
    orientation=ORIENTATIONS,
    shares=st.lists(st.tuples(*[st.floats(0, 1)] * 4), max_size=4),
)
def test_turning_keeps_sides_and_stays_inside(width, height, orientation, shares):
    shape = Shape(width, height, orientation)
    boxes = np.array(shares).reshape(-1, 4) * [*shape.stored, *shape.stored]
    turned = turn(boxes, shape)
    sides = (boxes[:, 2:] - boxes[:, :2])[:, :: -1 if orientation >= 5 else 1]
    np.testing.assert_allclose(turned[:, 2:] - turned[:, :2], sides, atol=1e-9)
    assert ((turned >= -1e-9) & (turned <= [width + 1e-9, height + 1e-9] * 2)).all()


BOX = np.array([[10.0, 20.0, 30.0, 25.0]])


@pytest.mark.parametrize(
    ("size", "expected", "kinds"),
    [
        ((100, 50), BOX, []),
        ((50, 25), BOX * 2, ["size_mismatch"]),
        ((80, 80), BOX, ["size_mismatch"]),
        (None, BOX, ["size_missing"]),
        ((0, 0), BOX, ["size_missing"]),
        ((100, 0), BOX, ["size_missing"]),
        ((np.nan, 50), BOX, ["size_missing"]),
    ],
)
def test_what_sizes_say(size, expected, kinds):
    boxes, findings = to_upright(BOX, size, Shape(100, 50))
    np.testing.assert_allclose(boxes, expected)
    assert kinds_of(findings) == kinds


def test_a_mismatch_is_told_in_full():
    _, (scaled,) = to_upright(BOX, (500, 375), Shape(1000, 750))
    assert scaled.detail == "labels say 500×375, the picture is 1000×750; boxes were scaled"
    _, (taken,) = to_upright(BOX, (500, 500), Shape(1000, 750))
    assert taken.detail.endswith("1000×750; boxes were taken as pixels of the picture")


def test_shares_are_of_the_picture():
    boxes, findings = to_upright(np.array([[0.1, 0.2, 0.5, 1.0]]), (1, 1), Shape(100, 50))
    np.testing.assert_allclose(boxes, [[10, 10, 50, 50]])
    assert findings == []


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
@pytest.mark.parametrize("scale", [1, 2])
def test_the_size_tells_the_frame(orientation, scale):
    shape = Shape(100, 60, orientation)
    stored, told = to_upright(BOX / scale, (60 / scale, 100 / scale), shape)
    np.testing.assert_allclose(stored, turn(BOX, shape))
    upright, _ = to_upright(BOX / scale, (100 / scale, 60 / scale), shape)
    np.testing.assert_allclose(upright, BOX)
    assert kinds_of(told) == (["size_mismatch"] if scale == 2 else [])


@pytest.mark.parametrize("orientation", [2, 3, 4])
def test_where_the_size_does_not_tell_the_frame_upright_is_taken_and_said(orientation):
    boxes, findings = to_upright(BOX, (100, 60), Shape(100, 60, orientation))
    np.testing.assert_array_equal(boxes, BOX)
    assert kinds_of(findings) == ["box_frame_unclear"]
    _, nothing_to_say = to_upright(np.zeros((0, 4)), (100, 60), Shape(100, 60, orientation))
    assert nothing_to_say == []


def test_without_a_size_boxes_tell_the_frame_where_they_fit_one_only():
    shape = Shape(100, 60, 6)  # 60×100 as it is stored
    tall = np.array([[5.0, 5.0, 20.0, 90.0]])
    boxes, findings = to_upright(tall, None, shape)
    np.testing.assert_array_equal(boxes, turn(tall, shape))
    assert kinds_of(findings) == ["size_missing"]
    boxes, findings = to_upright(BOX, None, shape)
    np.testing.assert_array_equal(boxes, BOX)
    assert kinds_of(findings) == ["size_missing", "box_frame_unclear"]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(100, 60), (60, 100), (1, 1), None])
def test_the_frame_can_be_said(orientation, size):
    shape = Shape(100, 60, orientation)
    boxes = BOX / [*shape.stored, *shape.stored] if size == (1, 1) else BOX
    stored, findings = to_upright(boxes, size, shape, "stored")
    np.testing.assert_allclose(stored, turn(BOX, shape), atol=1e-9)
    assert set(kinds_of(findings)) <= {"size_missing"}
    boxes = BOX / [100, 60, 100, 60] if size == (1, 1) else BOX
    upright, _ = to_upright(boxes, size, shape, "upright")
    np.testing.assert_allclose(upright, BOX, atol=1e-9)


@pytest.mark.parametrize("size", [(100, 60), (50, 30), (640, 640), (10, 300)])
def test_shares_fit_the_picture_whatever_size_the_labels_state(size):
    drawn = BOX / [100, 60, 100, 60] * [*size, *size]
    boxes, findings = to_upright(drawn, size, Shape(100, 60), relative=True)
    np.testing.assert_allclose(boxes, BOX)
    assert kinds_of(findings) == ["size_mismatch"] * (size != (100, 60))


def test_shares_of_another_size_do_not_tell_which_way_up_they_were_drawn():
    shape = Shape(100, 60, 6)
    drawn = BOX / [100, 60, 100, 60] * [640, 640, 640, 640]
    boxes, findings = to_upright(drawn, (640, 640), shape, relative=True)
    np.testing.assert_allclose(boxes, BOX)
    assert kinds_of(findings) == ["size_mismatch", "box_frame_unclear"]
    stored, _ = to_upright(drawn / 640 * [60, 100, 60, 100], (60, 100), shape, relative=True)
    np.testing.assert_allclose(stored, turn(BOX / [100, 60, 100, 60] * [60, 100, 60, 100], shape))


def check(boxes, labels=None, crowd=None, width=100, height=80):
    boxes = np.array(boxes, np.float64).reshape(-1, 4)
    labels = labels or ["a"] * len(boxes)
    crowd = np.array(crowd if crowd is not None else [False] * len(boxes))
    return check_boxes(boxes, labels, crowd, width, height)


@pytest.mark.parametrize(
    ("box", "kind"),
    [
        ((30, 10, 20, 40), "invalid_box"),
        ((10, 40, 20, 10), "invalid_box"),
        ((np.nan, 0, 20, 10), "invalid_box"),
        ((0, 0, np.inf, 10), "invalid_box"),
        ((10, 10, 10, 40), "empty_box"),
        ((10, 10, 10.4, 40), "empty_box"),
        ((100, 0, 120, 10), "outside_box"),
        ((-20, 0, 0.4, 10), "outside_box"),
        ((10, -30, 20, -10), "outside_box"),
    ],
)
def test_bad_boxes_are_left_out(box, kind):
    (checked,) = check([box])
    assert checked.left_out.kind == kind


@pytest.mark.parametrize(
    ("box", "inside", "kinds"),
    [
        ((0, 0, 100, 80), (0, 0, 100, 80), []),
        ((-0.005, 0, 100.005, 80), (0, 0, 100, 80), []),
        ((-1, 0, 100, 81), (0, 0, 100, 80), ["clipped_edge"]),
        ((-10, 0, 50, 40), (0, 0, 50, 40), ["clipped_box"]),
        ((99.4, 79, 130, 80), (99.4, 79, 100, 80), ["clipped_box"]),
    ],
)
def test_boxes_are_clipped_to_the_picture(box, inside, kinds):
    (checked,) = check([box])
    assert checked.left_out is None
    assert checked.xyxy == inside
    assert kinds_of(checked.notes) == kinds


def test_of_boxes_drawn_twice_the_first_is_kept():
    box, nearly = (10, 10, 60, 60), (10, 10, 60, 60.3)
    first, again, third, other = check([box, nearly, box, (40, 10, 90, 60)])
    assert [b.left_out is None for b in (first, again, third, other)] == [True, False, False, True]
    assert again.left_out.detail == "the same as box 1"


def test_two_classes_in_one_place_are_kept_and_named():
    first, second = check([(10, 10, 60, 60)] * 2, ["cat", "dog"])
    assert first.left_out is second.left_out is None
    assert kinds_of(second.notes) == ["conflicting_boxes"]
    assert second.notes[0].detail == "box 1, 'cat', is in the same place"


def test_boxes_that_overlap_just_as_much_are_in_one_place():
    nearly = (0, 0, 100, 98)  # 98 % of the other
    first, second = check([(0, 0, 100, 100), nearly], ["cat", "dog"], height=100)
    assert first.left_out is second.left_out is None
    assert kinds_of(second.notes) == ["conflicting_boxes"]
    _, again = check([(0, 0, 100, 100), nearly], height=100)
    assert again.left_out.kind == "duplicate_box"


def test_a_crowd_is_no_duplicate_of_an_object():
    kept = check([(10, 10, 60, 60)] * 2, crowd=[True, False])
    assert all(b.left_out is None and not b.notes for b in kept)


@given(
    boxes=st.lists(st.tuples(EDGE, EDGE, EDGE, EDGE), max_size=12),
    data=st.data(),
    width=st.integers(1, 200),
    height=st.integers(1, 200),
)
def test_what_is_kept_is_usable_and_nothing_goes_without_a_reason(boxes, data, width, height):
    labels = [data.draw(st.sampled_from("ab")) for _ in boxes]
    checked = check(boxes, labels, width=width, height=height)
    assert len(checked) == len(boxes)
    kept = [(label, b) for label, b in zip(labels, checked, strict=True) if b.left_out is None]
    for _, box in kept:
        x1, y1, x2, y2 = box.xyxy
        assert 0 <= x1 <= x2 - MIN_SIDE_PX
        assert 0 <= y1 <= y2 - MIN_SIDE_PX
        assert x2 <= width
        assert y2 <= height
    for i, (label, box) in enumerate(kept):
        others = [b.xyxy for other, b in kept[i + 1 :] if other == label]
        overlaps = overlap(np.array(box.xyxy), np.array(others).reshape(-1, 4))
        assert (overlaps <= SAME_IOU).all()
    said = [f.kind for b in checked for f in (*b.notes, *([b.left_out] if b.left_out else []))]
    assert set(said) <= set(KINDS)


@given(
    width=st.integers(10, 300),
    height=st.integers(10, 300),
    orientation=ORIENTATIONS,
    share=st.tuples(*[st.floats(0, 0.4)] * 2, *[st.floats(0.6, 1)] * 2),
)
@example(width=10, height=11, orientation=1, share=(0.0, 0.0, 1.0, 1.0))
@example(width=10, height=11, orientation=6, share=(0.0, 0.0, 1.0, 1.0))
def test_either_frame_gives_the_same_upright_box(width, height, orientation, share):
    """A box drawn upright, and the same drawn on the stored pixels, end in one place."""
    shape = Shape(width, height, orientation)
    upright = np.array([share]) * [width, height, width, height]
    back = {6: 8, 8: 6}.get(orientation, orientation)
    drawn = turn(upright, Shape(int(shape.stored[0]), int(shape.stored[1]), back))
    stored, _ = to_upright(drawn, shape.stored, shape, "stored")
    np.testing.assert_allclose(stored, upright, atol=1e-9)
    if orientation >= 5 and width != height:
        told, findings = to_upright(drawn, shape.stored, shape)
        np.testing.assert_allclose(told, upright, atol=1e-9)
        assert findings == []
