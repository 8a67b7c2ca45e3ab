import json
from pathlib import Path
from typing import Any

import pytest

from pixloop.data.formats import coco, read_samples
from pixloop.errors import DataError
from pixloop.records import Box, Finding

CATEGORIES = [{"id": 0, "name": "animals", "supercategory": "none"}, {"id": 3, "name": "red cat"}]


def content(*names: str, **more: Any) -> dict[str, Any]:
    images = [{"id": i, "file_name": n, "width": 64, "height": 48} for i, n in enumerate(names)]
    annotations = [{"id": 9, "image_id": 0, "category_id": 3, "bbox": [1, 2, 10, 20.5]}]
    return {"images": images, "annotations": annotations, "categories": CATEGORIES} | more


def put(file: Path, value: Any) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return file


def splits(root: Path) -> set[tuple[str | None, str]]:
    found = [(s.split, s.path) for s in read_samples(root, task="detection")]
    assert all(path.is_file() for _, path in found), found
    return {(split, path.relative_to(root).as_posix()) for split, path in found}


def test_boxes_are_passed_on_as_they_are(tmp_path: Path) -> None:
    annotations = [
        {"id": 1, "image_id": 0, "category_id": 3, "bbox": [1, 2, 10, 20.5], "iscrowd": 0},
        {"id": 2, "image_id": 0, "category_id": 3, "bbox": ["5", 5, 0, -2], "iscrowd": 1},
        {"id": 3, "image_id": 0, "category_id": 7, "bbox": [-5, 0, 900, 3], "segmentation": {}},
    ]
    put(tmp_path / "labels.json", content("1.jpg", "empty.jpg", annotations=annotations))
    first, empty = read_samples(tmp_path, task="detection")
    assert first.boxes == (
        Box("red cat", (1, 2, 11, 22.5)),
        Box("red cat", (5, 5, 5, 3), crowd=True),
        Box(
            "",
            (-5, 0, 895, 3),
            findings=(
                Finding("unnamed_class", "labels.json: annotation 3: the category 7 has no name."),
            ),
        ),
    )
    assert (first.size, first.label, first.source) == ((64, 48), None, "labels.json: image 0")
    assert (empty.boxes, empty.path) == ((), tmp_path / "empty.jpg")


def test_the_published_layout(tmp_path: Path, put_picture) -> None:
    for name in ("train2017/1.jpg", "val2017/1.jpg"):
        put_picture(tmp_path / name)
        split = name.partition("/")[0]
        put(tmp_path / "annotations" / f"instances_{split}.json", content("1.jpg"))
        put(
            tmp_path / "annotations" / f"captions_{split}.json", {"images": [], "annotations": [{}]}
        )
    assert splits(tmp_path) == {("train", "train2017/1.jpg"), ("test", "val2017/1.jpg")}
    lone = tmp_path / "annotations/instances_val2017.json"
    assert [(s.split, s.path) for s in read_samples(lone, task="detection")] == [
        (None, tmp_path / "val2017/1.jpg")
    ]


def test_a_file_in_each_split_folder(tmp_path: Path, put_picture) -> None:
    for split in ("train", "valid", "test"):
        put_picture(tmp_path / "wrapped" / split / f"{split}.jpg")
        put(tmp_path / "wrapped" / split / "_annotations.coco.json", content(f"{split}.jpg"))
    assert splits(tmp_path) == {
        ("train", "wrapped/train/train.jpg"),
        ("train", "wrapped/valid/valid.jpg"),
        ("test", "wrapped/test/test.jpg"),
    }


def test_pictures_of_one_name_are_found_by_their_split(tmp_path: Path, put_picture) -> None:
    for split in ("train", "test"):
        put_picture(tmp_path / "pictures" / split / "1.jpg")
        put(tmp_path / "annotations" / f"{split}.json", content("C:\\here\\1.jpg"))
    assert splits(tmp_path) == {("train", "pictures/train/1.jpg"), ("test", "pictures/test/1.jpg")}


def test_images_without_any_list_of_annotations_are_not_labelled(tmp_path: Path) -> None:
    images = content("1.jpg")["images"]
    file = put(tmp_path / "image_info.json", {"images": images})
    assert [s.boxes for s in read_samples(file, task="detection")] == [None]


def test_sizes_that_say_nothing_are_none(tmp_path: Path) -> None:
    images = [
        {"id": 1, "file_name": "1.jpg"},
        {"id": 2, "file_name": "2.jpg", "width": 0, "height": 0},
    ]
    put(tmp_path / "l.json", content(images=images, annotations=[]))
    assert [s.size for s in read_samples(tmp_path, task="detection")] == [None, None]


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        ({"id": 8, "image_id": 0, "bbox": [1, 2, 3]}, "annotation 8: expected a bbox of 4 numbers"),
        ({"id": 8, "image_id": 0}, "annotation 8: expected a bbox of 4 numbers, got None"),
        (
            {"id": 8, "image_id": 0, "bbox": [1, 2, "x", 4]},
            "annotation 8: expected a number, got 'x'",
        ),
        ({"image_id": 0, "bbox": 3}, "entry 1 of 'annotations': expected a bbox of 4 numbers"),
    ],
)
def test_an_annotation_that_cannot_be_read_is_named_and_others_stay(
    tmp_path: Path, said, annotation: Any, message: str
) -> None:
    value = content("1.jpg")
    value["annotations"].insert(0, annotation)
    put(tmp_path / "labels.json", value)
    (sample,) = read_samples(tmp_path, task="detection")
    ((kind, words),) = said([sample])
    assert kind == "unreadable_box"
    assert words.startswith(f"labels.json: {message}")
    assert sample.boxes is not None
    assert sample.boxes[1:] == (Box("red cat", (1, 2, 11, 22.5)),)


@pytest.mark.parametrize(
    ("changes", "message", "picture"),
    [
        (
            {"annotations": [{"id": 9, "image_id": 5, "bbox": [1, 2, 3, 4]}]},
            "annotation 9 is of image '5'; 'images' names no file for it.",
            "labels.json",
        ),
        (
            {"annotations": [{"id": 9, "bbox": [1, 2, 3, 4]}]},
            "annotation 9 names an image by None; expected a whole number or text.",
            "labels.json",
        ),
        ({"annotations": [7]}, "entry 1 of 'annotations' is no object.", "labels.json"),
        (
            {"images": [{"id": 4}], "annotations": []},
            "image 4 is no object with a file_name.",
            "labels.json",
        ),
        ({"images": [5], "annotations": []}, "entry 1 of 'images' is no object", "labels.json"),
        (
            {"images": [{"id": [], "file_name": "a/1.jpg"}], "annotations": []},
            "image [] names an image by []; expected a whole number or text.",
            "1.jpg",
        ),
    ],
)
def test_what_is_of_no_picture_is_named_and_so_is_a_picture_without_labels(
    tmp_path: Path, said, changes: dict[str, Any], message: str, picture: str
) -> None:
    put(tmp_path / "labels.json", content("1.jpg") | changes)
    faulty = [s for s in read_samples(tmp_path, task="detection") if s.findings]
    ((kind, words),) = said(faulty)
    assert kind == "unreadable_label"
    assert words.startswith(f"labels.json: {message}")
    assert [(s.path.name, s.boxes) for s in faulty] == [(picture, None)]


def test_pictures_with_one_id_are_not_known_to_be_empty(tmp_path: Path, said) -> None:
    images = [{"id": i, "file_name": f"{name}.jpg"} for i, name in ((0, "a"), (0, "b"), (1, "c"))]
    put(tmp_path / "labels.json", content(images=images))
    samples = list(read_samples(tmp_path, task="detection"))
    assert [s.boxes for s in samples] == [None, None, ()]
    assert (
        said(samples)
        == [("unreadable_label", "labels.json: image 0: other pictures have the id '0' too.")] * 2
    )


def test_a_picture_that_is_listed_twice_has_the_boxes_of_both(tmp_path: Path, said) -> None:
    value = content("1.jpg", "1.jpg", "2.jpg")
    value["images"][0] |= {"width": 0}
    value["annotations"].append({"id": 10, "image_id": 1, "category_id": 3, "bbox": [5, 5, 9, 9]})
    put(tmp_path / "labels.json", value)
    first, second = read_samples(tmp_path, task="detection")
    assert first.boxes == (Box("red cat", (1, 2, 11, 22.5)), Box("red cat", (5, 5, 14, 14)))
    assert first.size == (64, 48)
    assert said([first, second]) == [("listed_twice", "labels.json: images 0, 1")]
    value["images"][0] |= {"width": 640}
    put(tmp_path / "labels.json", value)
    first, _ = read_samples(tmp_path, task="detection")
    assert first.boxes is None
    assert said([first]) == [
        (
            "unreadable_label",
            "labels.json: image 0 is listed more than once, with different sizes.",
        )
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"annotations": {}}, "expected 'annotations' to be a list"),
        ({"categories": ["cat"]}, "expected 'categories' to be a list of objects"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, changes: dict, message: str) -> None:
    put(tmp_path / "labels.json", content("1.jpg") | changes)
    with pytest.raises(DataError, match=rf"labels\.json: .*{message}"):
        list(read_samples(tmp_path, task="detection"))


def test_a_file_cut_off_in_the_middle(tmp_path: Path) -> None:
    put(tmp_path / "labels.json", json.dumps(content("1.jpg"))[:-9])
    with pytest.raises(DataError, match=r"labels\.json is not valid JSON"):
        list(read_samples(tmp_path, task="detection"))


def test_a_long_list_of_annotations_may_come_first(tmp_path: Path) -> None:
    many = content("1.jpg")["annotations"] * 20_000
    file = put(
        tmp_path / "labels.json", {"annotations": many} | {"images": content("1.jpg")["images"]}
    )
    assert file.stat().st_size > 1_000_000
    (sample,) = read_samples(file, task="detection")
    assert len(sample.boxes or ()) == 20_000


def test_other_json_is_not_coco(tmp_path: Path) -> None:
    for text in (
        '{"categories": [], "info": {}}',
        "[]",
        '{"images": 3}',
        "{",
        "",
        '{"a": ["images"]}',
    ):
        assert not coco.matches(put(tmp_path / "other.json", text))


def test_pycocotools_reads_what_is_written(tmp_path: Path, put_picture) -> None:
    from pycocotools.coco import COCO

    from pixloop.records import Sample

    boxes = (Box("cat", (1, 2, 11, 22)), Box("dog", (0, 0, 48, 40), crowd=True))
    coco.write([Sample(put_picture(tmp_path / "1.jpg"), None, boxes=boxes, size=(1, 1))], tmp_path)
    api = COCO(tmp_path / "labels.json")
    assert [a["bbox"] for a in api.loadAnns(api.getAnnIds(iscrowd=1))] == [[0, 0, 48 * 48, 40 * 40]]
    assert [c["name"] for c in api.loadCats(api.getCatIds())] == ["cat", "dog"]
    assert api.loadImgs([1])[0]["width"] == 48
