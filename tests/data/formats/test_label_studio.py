import json
from pathlib import Path
from typing import Any

import pytest

from pixloop.data.formats import read_samples
from pixloop.errors import DataError
from pixloop.records import Box, Finding, Sample


def region(label: str | None = "cat", **value: Any) -> dict[str, Any]:
    edges: dict[str, Any] = {"x": 10.0, "y": 10.0, "width": 20.0, "height": 50.0, "rotation": 0}
    labels = {} if label is None else {"rectanglelabels": [label]}
    return {
        "id": value.pop("id", "r1"),
        "type": "rectanglelabels",
        "original_width": 640,
        "original_height": 480,
        "image_rotation": 0,
        "value": edges | labels | value,
    }


def choice(*names: str) -> dict[str, Any]:
    return {"type": "choices", "from_name": "c", "value": {"choices": list(names)}}


def annotation(*result: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"result": list(result), "was_cancelled": False, "updated_at": "2026-01-01"} | more


def task(*annotations: dict[str, Any], image: str = "1.jpg", **more: Any) -> dict[str, Any]:
    return {"id": 4, "data": {"image": image}, "annotations": list(annotations)} | more


def put(folder: Path, *tasks: Any) -> Path:
    file = folder / "export.json"
    file.write_text(json.dumps(tasks), encoding="utf-8")
    return file


def read(root: Path) -> list[Sample]:
    return list(read_samples(root, task="detection"))


def boxes(folder: Path, *tasks: Any) -> list[tuple[Box, ...] | None]:
    return [sample.boxes for sample in read(put(folder, *tasks))]


def test_percent_become_pixels(tmp_path: Path) -> None:
    (sample,) = read(put(tmp_path, task(annotation(region()))))
    assert sample.boxes == (Box("cat", (64, 48, 192, 288)),)
    assert (sample.size, sample.label, sample.source) == ((640, 480), None, "export.json: task 4")


@pytest.mark.parametrize(
    ("degrees", "expected"),
    [
        (90, (64 - 240, 48, 64, 48 + 128)),
        (-90, (64, 48 - 128, 64 + 240, 48)),
        (180, (64 - 128, 48 - 240, 64, 48)),
    ],
)
def test_the_box_around_a_turned_rectangle(tmp_path: Path, degrees: float, expected) -> None:
    ((box,),) = boxes(tmp_path, task(annotation(region(rotation=degrees))))
    assert box.xyxy == pytest.approx(expected)


def test_a_turned_rectangle_is_named(tmp_path: Path, said) -> None:
    samples = read(put(tmp_path, task(annotation(region(rotation=30), region(id="r2")))))
    assert said(samples) == [
        ("turned_box", "export.json: task 4, region r1 is turned by 30 degrees")
    ]
    # By hand: 128 wide, 240 high, turned clockwise on (64, 48); y points down.
    ((box, _),) = (sample.boxes or () for sample in samples)
    cos, sin = 3**0.5 / 2, 0.5
    expected = (64 - 240 * sin, 48, 64 + 128 * cos, 48 + 128 * sin + 240 * cos)
    assert box.xyxy == pytest.approx(expected)


def test_percent_need_no_original_size_unless_turned(tmp_path: Path, said) -> None:
    bare = region() | {"original_width": 0}
    turned = region(id="r2", rotation=30) | {"original_width": None}
    (sample,) = read(put(tmp_path, task(annotation(bare))))
    assert sample.boxes == (Box("cat", pytest.approx((0.1, 0.1, 0.3, 0.6))),)
    assert (sample.size, sample.relative) == ((1, 1), True)
    assert said(read(put(tmp_path, task(annotation(bare, turned))))) == [
        (
            "unreadable_box",
            "export.json: task 4, region r2 is turned, and has no original_width and"
            " original_height to turn it in.",
        )
    ]


def test_regions_of_several_sizes_are_percent_of_one_picture(tmp_path: Path) -> None:
    other = region(id="r2") | {"original_width": 64, "original_height": 480}
    ((first, second),) = boxes(tmp_path, task(annotation(region(), other)))
    assert first.xyxy == second.xyxy == pytest.approx((64, 48, 192, 288))


def test_the_newest_annotation_that_was_not_cancelled_counts(tmp_path: Path) -> None:
    old = annotation(region("old"))
    new = annotation(region("new"), updated_at="2026-01-03")
    cancelled = annotation(region("bad"), updated_at="2026-01-09", was_cancelled=True)
    assert boxes(
        tmp_path, task(new, cancelled, old), task(cancelled), task(), task(annotation())
    ) == [
        (Box("new", (64, 48, 192, 288)),),
        None,
        None,
        (),
    ]


def test_labels_that_are_none_several_or_in_a_part_of_their_own(tmp_path: Path) -> None:
    bare = region(None) | {"type": "rectangle"}
    labels = region(None, labels=["a", "b"]) | {"type": "labels"}
    other = {"type": "labels", "value": {"points": [[1, 2]], "labels": ["polygon"]}}
    ellipse = {"type": "ellipselabels", "value": {"x": 1, "y": 1, "ellipselabels": ["e"]}}
    found = boxes(
        tmp_path,
        task(annotation(bare, labels, other, ellipse)),
        task(annotation(bare)),
        task(annotation(region("x", id="1"), region("y", id="2"))),
    )
    assert [[b.label for b in of_task or ()] for of_task in found] == [["a", "b"], [""], ["x", "y"]]


@pytest.mark.parametrize(
    ("address", "file"),
    [
        ("a/1.jpg", "a/1.jpg"),
        ("/data/local-files/?d=set/a/1%202.jpg", "a/1 2.jpg"),
        ("/data/upload/7/0a1b2c3d-photo.jpg", "photo.jpg"),
        ("/data/upload/7/0a1b2c3d-photo.jpg", "images/0a1b2c3d-photo.jpg"),
        ("s3://bucket/deep/a/100%.jpg", "a/100%.jpg"),
        ("https://host/a/1%202.jpg?key=1", "images/1 2.jpg"),
    ],
)
def test_addresses_mean_files_beside_the_export(tmp_path, put_picture, address, file) -> None:
    put_picture(tmp_path / file)
    assert [s.path for s in read(put(tmp_path, task(annotation(), image=address)))] == [
        tmp_path / file
    ]


def test_an_address_that_fits_several_files_finds_none(tmp_path: Path, put_picture) -> None:
    put_picture(tmp_path / "a/1.jpg")
    put_picture(tmp_path / "b/1.jpg")
    found = {
        address: read(put(tmp_path, task(annotation(), image=address)))[0].path.exists()
        for address in ("s3://bucket/1.jpg", "s3://bucket/b/1.jpg")
    }
    assert found == {"s3://bucket/1.jpg": False, "s3://bucket/b/1.jpg": True}


def test_choices_are_classes_of_whole_pictures(tmp_path: Path) -> None:
    file = put(
        tmp_path, task(annotation(choice("cat"))), task(annotation(choice("a", "b"))), task()
    )
    samples = list(read_samples(file))
    assert [(s.label, s.boxes) for s in samples] == [("cat", None), (None, None), (None, None)]
    with pytest.raises(DataError, match=r"label_studio, for classification.*set task: classif"):
        read(file)


def test_choices_beside_rectangles_do_not_hide_that_nothing_is_there(tmp_path: Path) -> None:
    file = put(
        tmp_path, task(annotation(region(), choice("good"))), task(annotation(choice("bad")))
    )
    found = read(file)
    assert [s.label for s in found] == [None, None]
    assert [len(s.boxes) for s in found if s.boxes is not None] == [1, 0]


def test_rectangles_are_not_for_classification(tmp_path: Path) -> None:
    file = put(tmp_path, task(annotation(region())))
    with pytest.raises(DataError, match=r"label_studio, for detection.*set task: detection"):
        list(read_samples(file))


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (region(x="wide"), ", x: expected a number, got 'wide'."),
        (region() | {"value": None}, ", x: expected a number, got None."),
        (region() | {"image_rotation": 90}, ": the picture was turned by 90 degrees"),
        (region(rotation="left"), ", rotation: expected a number, got 'left'."),
    ],
)
def test_a_region_that_cannot_be_read_is_named_and_others_stay(
    tmp_path: Path, said, part: Any, message: str
) -> None:
    (sample,) = read(put(tmp_path, task(annotation(part, region(id="r2")))))
    ((kind, words),) = said([sample])
    assert kind == "unreadable_box"
    assert words.startswith(f"export.json: task 4, region r1{message}")
    assert sample.boxes is not None
    assert sample.boxes[1:] == (Box("cat", (64, 48, 192, 288)),)


def test_a_region_without_a_label_is_named(tmp_path: Path) -> None:
    ((box,),) = boxes(tmp_path, task(annotation(region(None))))
    assert box.findings == (
        Finding("unnamed_class", "export.json: task 4, region r1 has no label."),
    )


@pytest.mark.parametrize(
    ("entry", "message", "picture"),
    [
        ({"id": 4, "data": {"text": "x"}}, "task 4 has 0 pictures in its data", "export.json"),
        (
            {"id": 4, "data": {"a": "1.jpg", "b": "2.jpg"}},
            "task 4 has 2 pictures in its data; expected one.",
            "export.json",
        ),
        (
            {"id": 4, "annotation_id": 2, "image": "1.jpg"},
            "task 4 is no task with data. Export from Label Studio as JSON, not as JSON-MIN.",
            "export.json",
        ),
        (3, "entry 2 is no task with data", "export.json"),
        (task({"result": 3}), "task 4: expected result to be a list of objects", "1.jpg"),
        (task(image="2.jpg") | {"annotations": [1]}, "task 4: expected annotations", "2.jpg"),
    ],
)
def test_a_task_that_cannot_be_read_is_named_and_others_stay(
    tmp_path: Path, said, entry: Any, message: str, picture: str
) -> None:
    good, bad = read(put(tmp_path, task(annotation(region())), entry))
    ((kind, words),) = said([good, bad])
    assert kind == "unreadable_label"
    assert words.startswith(f"export.json: {message}")
    assert (bad.boxes, bad.path.name) == (None, picture)
    assert good.boxes == (Box("cat", (64, 48, 192, 288)),)
