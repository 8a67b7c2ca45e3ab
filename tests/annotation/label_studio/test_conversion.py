import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixloop.annotation.label_studio.answers import prefill
from pixloop.annotation.label_studio.conversion import convert
from pixloop.annotation.label_studio.marks import Mark
from pixloop.records import Decision, DetectedBox, Detection, Prediction

CLASSES = ("cat", 'dog & "co"')


def mark(width: int = 200, height: int = 100) -> Mark:
    return Mark(
        sha256="a" * 64,
        width=width,
        height=height,
        drawn="random",
        reasons=("unsure",),
        origin={"event": "e:0"},
        model="things:3",
    )


def rectangle(**value: object) -> dict:
    corner = {"x": 10, "y": 20, "width": 30, "height": 40, "rotation": 0}
    return {
        "id": "r",
        "type": "rectanglelabels",
        "original_width": 200,
        "original_height": 100,
        "value": {**corner, "rectanglelabels": ["cat"], **value},
    }


def boxes_of(*result: object, **annotation: object):
    written = {"id": 7, "result": list(result), **annotation}
    return convert(written, "x-7", mark(), "detection", CLASSES)


def label_of(*result: object):
    return convert({"id": 7, "result": list(result)}, "x-7", mark(), "classification", CLASSES)


def choice(*names: object) -> dict:
    return {"id": "c", "type": "choices", "value": {"choices": list(names)}}


def test_percent_becomes_pixels_and_the_mark_goes_with_it():
    found = boxes_of(
        rectangle(),
        completed_by={"id": 4, "email": "ann@here.org"},
        updated_at="2026-11-20T12:43:20.809176+01:00",
    )
    assert not found.findings
    annotation = found.annotation
    assert [box.xyxy for box in annotation.boxes] == [(20, 20, 80, 60)]
    assert annotation.annotator == "ann@here.org"
    assert annotation.at == "2026-11-20T11:43:20.809176+00:00"
    assert (annotation.drawn, annotation.reasons) == ("random", ("unsure",))
    assert annotation.origin == {"event": "e:0", "model": "things:3"}
    assert not annotation.skipped


def test_the_size_of_the_upright_picture_counts_not_what_the_region_states():
    lying = rectangle() | {"original_width": 100, "original_height": 200}
    assert boxes_of(lying).annotation.boxes[0].xyxy == (20, 20, 80, 60)


def test_a_turned_rectangle_gives_the_upright_box_around_it_and_keeps_its_angle():
    # 40 × 20 pixels, turned clockwise by a quarter on its upper left corner.
    turned = rectangle(x=50, y=20, width=20, height=20, rotation=90)
    (box,) = boxes_of(turned).annotation.boxes
    assert box.xyxy == pytest.approx((80, 20, 100, 60))
    assert box.rotation == 90
    # Whatever size it states: it was turned in the picture that was shown.
    (same,) = boxes_of(turned | {"original_width": 100, "original_height": 200}).annotation.boxes
    (bare,) = boxes_of({k: v for k, v in turned.items() if "original" not in k}).annotation.boxes
    assert same == bare == box


def test_a_box_that_reaches_beyond_the_picture_ends_at_its_edge():
    (box,) = boxes_of(rectangle(x=90, width=30)).annotation.boxes
    assert box.xyxy == pytest.approx((180, 20, 200, 60))


def test_nothing_drawn_means_that_nothing_is_there():
    found = boxes_of()
    assert found.annotation.boxes == ()
    assert not found.annotation.skipped
    assert not found.findings


@pytest.mark.parametrize(
    ("region", "words"),
    [
        (rectangle(rectanglelabels=["horse"]), "no class 'horse'"),
        (rectangle(rectanglelabels=[]), "no label"),
        (rectangle(x="left"), "expected a number"),
        (rectangle(rotation="much"), "rotation"),
        (rectangle(width=0), "no area"),
        (rectangle(x=130), "no area"),
        (rectangle() | {"image_rotation": 90}, "turned by 90 degrees"),
        (rectangle() | {"value": 3}, "expected a number"),
    ],
)
def test_a_region_that_cannot_be_taken_is_found_and_takes_the_rest_with_it(region, words):
    found = boxes_of({**rectangle(), "id": "good"}, region)
    assert words in found.findings[0].detail
    assert "annotation 7" in found.findings[0].detail
    assert found.annotation.skipped
    assert found.annotation.boxes is None


def test_a_cancelled_annotation_is_skipped_and_no_fault():
    found = boxes_of(rectangle(), was_cancelled=True)
    assert found.annotation.skipped
    assert not found.findings


@pytest.mark.parametrize(
    ("written", "who"),
    [
        ({"completed_by": 4, "created_username": " ann@here.org, 4"}, "ann@here.org"),
        ({"completed_by": 4, "created_username": "Ann Lee ann@here.org, 4"}, "ann@here.org"),
        ({"completed_by": 4, "created_username": ""}, "user 4"),
        ({"completed_by": {"id": 4, "email": "ann@here.org"}}, "ann@here.org"),
        ({"completed_by": {"id": 4}}, "user 4"),
        ({}, ""),
    ],
)
def test_who_answered_is_known_by_address_where_there_is_one(written, who):
    assert boxes_of(rectangle(), **written).annotation.annotator == who


def test_a_choice_is_the_class():
    found = label_of(choice('dog & "co"'))
    assert found.annotation.label == 'dog & "co"'
    assert found.annotation.boxes is None


@pytest.mark.parametrize(
    ("result", "words"),
    [
        ([], "got none"),
        ([choice("cat", 'dog & "co"')], "expected one class"),
        ([choice("horse")], "no class 'horse'"),
        (["cat"], "list of objects"),
    ],
)
def test_anything_but_one_known_choice_is_found(result, words):
    found = label_of(*result)
    assert words in found.findings[0].detail
    assert found.annotation.label is None
    assert found.annotation.skipped


json = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5) | st.integers(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["value", "type", "id", "x", "choices", "rectanglelabels", "meta"]),
            inner | st.sampled_from(["rectanglelabels", "choices", "labels"]),
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(result=json, by=json, at=json, task=st.sampled_from(["classification", "detection"]))
def test_whatever_is_written_there_is_an_annotation_or_a_finding(result, by, at, task):
    written = {"id": 1, "result": result, "completed_by": by, "updated_at": at}
    found = convert(written, "x-1", mark(), task, CLASSES)
    assert found.annotation.skipped == bool(found.findings)


@st.composite
def detections(draw) -> Detection:
    width, height = draw(st.integers(2, 5000)), draw(st.integers(2, 5000))
    boxes = []
    for _ in range(draw(st.integers(0, 5))):
        x1 = draw(st.floats(0, width - 1))
        y1 = draw(st.floats(0, height - 1))
        x2 = draw(st.floats(x1 + 0.6, width)) if x1 + 0.6 < width else float(width)
        y2 = draw(st.floats(y1 + 0.6, height)) if y1 + 0.6 < height else float(height)
        label = draw(st.sampled_from(CLASSES))
        boxes.append(DetectedBox(label, draw(st.floats(0, 1)), (x1, y1, x2, y2), Decision.REFER))
    return Detection(tuple(boxes), width, height)


@given(detections())
def test_what_the_model_answered_comes_back_where_it_was(detection):
    filled = prefill(detection, CLASSES)
    seen = mark(detection.width, detection.height)
    found = convert({"id": 1, "result": filled["result"]}, "x-1", seen, "detection", CLASSES)
    assert not found.findings
    for box, before in zip(found.annotation.boxes, detection.boxes, strict=True):
        assert box.label == before.label
        assert box.xyxy == pytest.approx(before.xyxy, abs=1e-6 * max(detection.width, 100))


@given(
    st.floats(-720, 720),
    st.floats(20, 60),
    st.floats(20, 60),
    st.floats(1, 15),
    st.floats(1, 15),
)
def test_a_turned_rectangle_lies_in_its_box_and_touches_its_edges(angle, x, y, width, height):
    region = rectangle(x=x, y=y, width=width, height=height, rotation=angle)
    (box,) = boxes_of(region).annotation.boxes
    left, top, wide, high = x * 2, y, width * 2, height
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    corners = [
        (left + a * cos - b * sin, top + a * sin + b * cos) for a in (0, wide) for b in (0, high)
    ]
    xs, ys = [p[0] for p in corners], [p[1] for p in corners]
    around = (min(xs), min(ys), max(xs), max(ys))
    clipped = [min(max(v, 0), top) for v, top in zip(around, (200, 100, 200, 100), strict=True)]
    assert box.xyxy == pytest.approx(clipped, abs=1e-6)


def test_a_class_is_filled_in_and_one_that_is_not_asked_is_not():
    sure = Prediction("cat", 0.8, {"cat": 0.8})
    assert prefill(sure, CLASSES)["result"][0]["value"] == {"choices": ["cat"]}
    assert prefill(sure, ("bird",))["result"] == []
