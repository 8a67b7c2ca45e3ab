from pathlib import Path

import pytest

from pixloop.data.formats import read_samples, write_samples, yolo
from pixloop.errors import DataError
from pixloop.records import Box, Finding, Sample


def put(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


def read(root: Path) -> list[Sample]:
    return list(read_samples(root, task="detection"))


def splits(root: Path) -> set[tuple[str | None, str, int | None]]:
    """Split, picture and count of boxes (None where not labelled) of each sample."""
    samples = read(root)
    assert len({s.path for s in samples}) == len(samples)
    return {
        (
            s.split,
            s.path.resolve().relative_to(root.resolve()).as_posix(),
            None if s.boxes is None else len(s.boxes),
        )
        for s in samples
    }


BOX = "0 0.5 0.5 0.25 0.5\n"


def test_boxes_are_passed_on_as_they_are(tmp_path: Path, put_picture) -> None:
    put_picture(tmp_path / "images/1.jpg")
    put_picture(tmp_path / "images/2.jpg")
    put_picture(tmp_path / "images/3.jpg")
    put(tmp_path / "labels/1.txt", f"{BOX}\n1 1.0 0 0 -0.5\n7.0 0.5 0.5 1 1\n0 0 .5 1 .25 .5 0\n")
    put(tmp_path / "labels/2.txt", "")
    put(tmp_path / "data.yaml", "train: images\nnames: [red cat, no]\n")
    one, two, three = sorted(read(tmp_path), key=lambda s: s.path)
    assert one.boxes == (
        Box("red cat", (0.375, 0.25, 0.625, 0.75)),
        Box("no", (1, 0.25, 1, -0.25)),
        Box(
            "",
            (0, 0, 1, 1),
            findings=(Finding("unnamed_class", "labels/1.txt:4: the class 7.0 has no name."),),
        ),
        Box("red cat", (0, 0, 1, 0.5)),  # around a polygon
    )
    assert (one.size, one.source, one.split) == ((1, 1), "labels/1.txt", "train")
    assert (two.boxes, three.boxes) == ((), ())
    assert two.findings == ()
    assert three.findings == (Finding("no_label_file", "expected labels/3.txt"),)


@pytest.mark.parametrize(
    "config",
    [
        "train: images/train\nval: images/val\ntest:\nnames: {0: a}",
        "path: ../datasets/thing\ntrain: images/train\nval: images/val\nnames: [a]",
        "path: /a/set\ntrain: [images/train]\nval: /a/set/images/val\nnc: 1\nnames: [a]",
        "train: lists/train.txt\nval: lists/val.txt\nnames:\n  0: a",
        "train: ../images/train\nval: ../images/val\nnames: [a]",
    ],
)
def test_a_data_yaml_names_the_splits(tmp_path: Path, put_picture, config: str) -> None:
    for split in ("train", "val"):
        put_picture(tmp_path / "images" / split / "1.jpg")
        put(tmp_path / "labels" / split / "1.txt", BOX)
        put(tmp_path / "lists" / f"{split}.txt", f"/content/set/images/{split}/1.jpg\n")
    file = put(tmp_path / "data.yaml", config)
    expected = {("train", "images/train/1.jpg", 1), ("test", "images/val/1.jpg", 1)}
    assert splits(tmp_path) == expected
    assert {s.split for s in read(file)} == {"train", "test"}


def test_folders_of_splits_with_images_and_labels(tmp_path: Path, put_picture) -> None:
    for split in ("train", "valid", "test"):
        put_picture(tmp_path / split / "images" / "1.jpg")
        put(tmp_path / split / "labels" / "1.txt", BOX)
    expected = {
        ("train", "train/images/1.jpg", 1),
        ("train", "valid/images/1.jpg", 1),
        ("test", "test/images/1.jpg", 1),
    }
    config = "train: ../train/images\nval: ../valid/images\ntest: ../test/images\nnames: ['a']"
    file = put(tmp_path / "data.yaml", config)
    assert splits(tmp_path) == expected
    file.rename(tmp_path / "classes.txt").write_text("a\n")
    assert splits(tmp_path) == expected


def test_classes_txt_and_everything_in_one_folder(tmp_path: Path, put_picture) -> None:
    put_picture(tmp_path / "1.jpg")
    put_picture(tmp_path / "2.jpg")
    put(tmp_path / "1.txt", BOX)
    put(tmp_path / "classes.txt", "red cat\ndog\n")
    assert splits(tmp_path) == {(None, "1.jpg", 1), (None, "2.jpg", 0)}
    assert {b.label for s in read(tmp_path) for b in s.boxes or ()} == {"red cat"}


def test_one_folder_for_training_and_validation_is_training(tmp_path: Path, put_picture) -> None:
    put_picture(tmp_path / "images/1.jpg")
    put(tmp_path / "labels/1.txt", BOX)
    put(tmp_path / "data.yaml", "train: images\nval: images\nnames: [a]")
    assert splits(tmp_path) == {("train", "images/1.jpg", 1)}


def test_pictures_without_any_folder_of_labels_are_not_labelled(
    tmp_path: Path, put_picture
) -> None:
    put_picture(tmp_path / "images/train/1.jpg")
    put_picture(tmp_path / "images/test/2.jpg")
    put(tmp_path / "labels/train/1.txt", BOX)
    put(tmp_path / "data.yaml", "train: images/train\ntest: images/test\nnames: [a]")
    assert splits(tmp_path) == {
        ("train", "images/train/1.jpg", 1),
        ("test", "images/test/2.jpg", None),
    }


def test_a_label_file_without_its_picture_is_not_lost(tmp_path: Path, put_picture) -> None:
    put_picture(tmp_path / "images/1.jpg")
    put(tmp_path / "labels/2.txt", BOX)
    put(tmp_path / "labels/classes.txt", "a")
    assert splits(tmp_path) == {(None, "images/1.jpg", 0), (None, "images/2.jpg", 1)}


def test_the_yaml_of_several_is_data_yaml(tmp_path: Path, put_picture) -> None:
    put_picture(tmp_path / "images/1.jpg")
    for name in ("a", "b"):
        put(tmp_path / f"{name}.yaml", f"train: images\nnames: [{name}]")
    put(tmp_path / "model.yaml", "nc: 80\nbackbone: []")
    with pytest.raises(DataError, match=r"holds a\.yaml, b\.yaml: name the one"):
        read(tmp_path)
    put(tmp_path / "data.yaml", "train: images\nnames: [c]")
    assert len(read(tmp_path)) == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 0.5 0.5 0.1", "expected 'class x y width height' or a polygon, got '0 0.5 0.5 0.1'"),
        ("0 0.5 0.5 0.1 0.1 0.9", "got '0 0.5 0.5 0.1 0.1 0.9'"),
        ("0 0.5 0.5 0.1 wide", "expected a number, got 'wide'"),
        ("0 0.5 0.5 0.1 inf", "expected a number, got 'inf'"),
        ("cat 0.5 0.5 0.1 0.1", "expected a number, got 'cat'"),
        ("0.5 0.5 0.5 0.1 0.1", "0.5 is not the number of a class"),
    ],
)
def test_a_line_that_cannot_be_read_is_named_and_others_stay(
    tmp_path: Path, put_picture, said, line: str, message: str
) -> None:
    put_picture(tmp_path / "images/1.jpg")
    put(tmp_path / "labels/1.txt", f"{BOX}{line}\n{BOX}")
    put(tmp_path / "classes.txt", "a")
    (sample,) = read(tmp_path)
    ((kind, words),) = said([sample])
    assert kind == "unreadable_box"
    assert words.startswith("labels/1.txt:2: ")
    assert message in words
    box = Box("a", (0.375, 0.25, 0.625, 0.75))
    assert sample.boxes is not None
    assert (sample.boxes[0], sample.boxes[2]) == (box, box)


def test_a_label_file_that_cannot_be_read_does_not_say_that_nothing_is_there(
    tmp_path: Path, put_picture, said
) -> None:
    for name in ("1", "2", "3"):
        put_picture(tmp_path / f"images/{name}.jpg")
    put(tmp_path / "labels/1.txt", "").write_bytes(b"0 \xff")
    (tmp_path / "labels/2.txt").symlink_to(tmp_path / "gone.txt")
    (tmp_path / "labels/3.txt").mkdir()
    put(tmp_path / "classes.txt", "a")
    samples = sorted(read(tmp_path), key=lambda s: s.path)
    assert [s.boxes for s in samples] == [None, None, None]
    kinds, words = zip(*said(samples), strict=True)
    assert set(kinds) == {"unreadable_label"}
    assert words[0].startswith("labels/1.txt is not UTF-8: ")
    assert words[1:] == (
        "labels/2.txt cannot be read: No such file or directory.",
        "labels/3.txt cannot be read: Is a directory.",
    )


@pytest.mark.parametrize("line", ["0 24 20 10 10", "0 0.5 0.5 0.2 40", "0 1 1 20 1 20 30"])
def test_values_that_look_like_pixels_are_called_so(tmp_path, put_picture, said, line) -> None:
    put_picture(tmp_path / "images/1.jpg")
    put(tmp_path / "labels/1.txt", f"{BOX}0 0.9 0.5 1.2 0.5\n{line}\n")
    put(tmp_path / "classes.txt", "a")
    largest = max(float(word) for word in line.split())
    assert said(read(tmp_path)) == [
        (
            "pixel_box",
            f"labels/1.txt:3: {largest:g} looks like pixels;"
            " expected shares of the picture, from 0 to 1.",
        )
    ]


def test_a_list_may_name_a_picture_in_a_folder_that_is_gone(tmp_path: Path, put_picture) -> None:
    put_picture(tmp_path / "images/1.jpg")
    put(tmp_path / "labels/1.txt", BOX)
    put(tmp_path / "train.txt", "images/1.jpg\nelsewhere/2.jpg\n")
    put(tmp_path / "data.yaml", "train: train.txt\nnames: [a]")
    assert splits(tmp_path) == {("train", "images/1.jpg", 1), ("train", "elsewhere/2.jpg", None)}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("train: images\nval: gone/away\nnames: [a]", "val names gone/away, which is not there"),
        ("train: images\nnames: 3", "expected names to be a list, or a mapping from numbers"),
        (
            "train: images\nnames: {cat: 0}",
            "expected names to be a list, or a mapping from numbers",
        ),
        ("train: {a: b}\nnames: [a]", "expected train to be text, or a list of texts"),
        ("train: [images\nnames: [a]", "is not readable YAML"),
        ("train: images\nnames: [a]\npixloop: 3", "expected pixloop to be a mapping"),
    ],
)
def test_a_data_yaml_that_cannot_be_read_is_named(tmp_path, put_picture, config, message) -> None:
    put_picture(tmp_path / "images/1.jpg")
    put(tmp_path / "data.yaml", config)
    with pytest.raises(DataError, match=rf"data\.yaml.*{message}"):
        read(tmp_path)


def test_labels_without_names_of_classes_say_what_is_missing(tmp_path, put_picture) -> None:
    put_picture(tmp_path / "images/1.jpg")
    put(tmp_path / "labels/1.txt", BOX)
    with pytest.raises(DataError, match=r"nothing names YOLO's classes\. Expected a data\.yaml"):
        read(tmp_path)
    put(tmp_path / "classes.txt", "a")
    put(tmp_path / "labels/classes.txt", "b")
    with pytest.raises(DataError, match=r"classes\.txt names other classes than"):
        read(tmp_path)


def test_no_other_tool_learns_crowds_or_pictures_that_are_not_labelled(
    tmp_path, put_picture
) -> None:
    boxes = (Box("cat", (12, 10, 36, 30)), Box("cat", (0, 0, 48, 40), crowd=True))
    samples = [
        Sample(put_picture(tmp_path / "in/1.jpg"), None, "train", "", boxes, (48, 40)),
        Sample(put_picture(tmp_path / "in/2.jpg"), None, "train", "", None, (48, 40)),
    ]
    out = tmp_path / "out"
    write_samples(samples, out, "yolo")
    assert (out / "labels/train/1.txt").read_text() == "0 0.5 0.5 0.5 0.5\n"
    assert [f.name for f in (out / "images/train").iterdir()] == ["1.jpg"]
    assert splits(out) == {
        ("train", "images/train/1.jpg", 2),
        ("train", "unlabelled/train/2.jpg", None),
    }


def test_other_folders_are_not_yolo(tmp_path: Path, put_picture) -> None:
    put_picture(tmp_path / "images/1.jpg")
    put(tmp_path / "classes.txt", "a")
    put(tmp_path / "pixloop.yaml", "task: detection\ndata: {train: pictures}")
    assert not yolo.matches(tmp_path)
