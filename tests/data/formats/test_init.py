import json
from pathlib import Path

import pytest

from pixloop.data.formats import FORMATS, read_samples, write_samples
from pixloop.errors import DataError
from pixloop.records import Box, Sample


@pytest.fixture
def both(tmp_path: Path) -> Path:
    for name in ("cat/1.jpg", "dog/2.jpg"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "labels.csv").write_text("path,label\ncat/1.jpg,tabby\n")
    return tmp_path


def test_several_fitting_formats_are_an_error_that_names_them(both: Path) -> None:
    with pytest.raises(DataError, match=r"class_folders and csv.*data\.format"):
        read_samples(both)


def test_the_named_format_is_read(both: Path) -> None:
    assert [s.label for s in read_samples(both, "csv")] == ["tabby"]
    assert {s.label for s in read_samples(both, "class_folders")} == {"cat", "dog"}
    with pytest.raises(DataError, match="no labels in the format 'manifest'"):
        read_samples(both, "manifest")
    with pytest.raises(DataError, match="no data format 'tfrecord'"):
        read_samples(both, "tfrecord")


def test_nothing_there_is_an_error_that_says_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="at least two class folders"):
        read_samples(tmp_path)
    with pytest.raises(DataError, match="does not exist"):
        read_samples(tmp_path / "gone")


def test_formats_have_different_names() -> None:
    assert len({f.NAME for f in FORMATS}) == len(FORMATS)


BOX_FORMATS = ("coco", "voc", "yolo", "label_studio", "manifest")


@pytest.fixture
def boxes(tmp_path: Path, put_picture) -> list[Sample]:
    paths = [put_picture(tmp_path / "in" / f"{i}.jpg") for i in range(2)]
    split = {0: "train", 1: "test"}
    box = (Box("cat", (1, 2, 3, 4)),)
    return [Sample(p, None, split[i], "", box, (48, 40)) for i, p in enumerate(paths)]


@pytest.mark.parametrize("name", BOX_FORMATS)
def test_auto_finds_the_format_of_boxes(name: str, boxes: list[Sample], tmp_path: Path) -> None:
    write_samples(boxes, tmp_path / "out", name)
    found = [f.NAME for f in FORMATS if f.matches(tmp_path / "out") and "detection" in f.TASKS]
    assert found == [name]
    assert len(list(read_samples(tmp_path / "out", task="detection"))) == 2
    with pytest.raises(DataError, match="set task: detection"):
        list(read_samples(tmp_path / "out"))
    if name in ("coco", "voc", "yolo"):
        with pytest.raises(DataError, match=rf"out looks like {name}.*set task: detection"):
            read_samples(tmp_path / "out", name)


def test_pictures_in_split_folders_beside_coco_are_no_classes(tmp_path: Path, put_picture) -> None:
    for split in ("train2017", "val2017"):
        put_picture(tmp_path / split / f"{split}.jpg")
        images = [{"id": 1, "file_name": f"{split}.jpg"}]
        labels = {"images": images, "annotations": [], "categories": []}
        (tmp_path / f"instances_{split}.json").write_text(json.dumps(labels))
    assert len(list(read_samples(tmp_path, task="detection"))) == 2
    with pytest.raises(DataError, match=r"class_folders and coco.*data\.format, or set task: det"):
        read_samples(tmp_path)
    assert len(list(read_samples(tmp_path, "class_folders"))) == 2


def test_classes_are_not_for_detection(both: Path) -> None:
    with pytest.raises(DataError, match=r"class_folders or csv.*set task: classification"):
        read_samples(both, task="detection")
    with pytest.raises(DataError, match=r"in the format 'coco'\. Expected COCO"):
        read_samples(both, "coco", "detection")


def test_nothing_with_boxes_says_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no labels with boxes\. Expected COCO"):
        read_samples(tmp_path, task="detection")


def test_an_archive_may_wrap_any_format_in_a_folder(boxes: list[Sample], tmp_path: Path) -> None:
    for name in BOX_FORMATS:
        write_samples(boxes, tmp_path / "wrap" / name / name, name)
        assert len(list(read_samples(tmp_path / "wrap" / name, task="detection"))) == 2
