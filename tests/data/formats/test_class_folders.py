from pathlib import Path

import pytest

from pixloop.data.formats import class_folders, read_samples


def touch(root: Path, *files: str) -> None:
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def read(root: Path) -> set[tuple[str | None, str | None, str]]:
    return {(s.split, s.label, s.source) for s in read_samples(root)}


def test_the_folder_is_the_class(tmp_path: Path) -> None:
    touch(tmp_path, "cat/1.jpg", "cat/deeper/2.jpg", "dog/notes.txt", "dog/3.PNG", "README.md")
    assert read(tmp_path) == {
        (None, "cat", "cat/1.jpg"),
        (None, "cat", "cat/deeper/2.jpg"),
        (None, "dog", "dog/notes.txt"),
        (None, "dog", "dog/3.PNG"),
    }


@pytest.mark.parametrize(
    ("train", "test"),
    [("train", "test"), ("Training", "Testing"), ("seg_train/seg_train", "seg_test/seg_test")],
)
def test_train_and_test_folders_are_splits(tmp_path: Path, train: str, test: str) -> None:
    touch(tmp_path, f"{train}/cat/1.jpg", f"{train}/dog/2.jpg", f"{test}/cat/3.jpg")
    touch(tmp_path, f"{test}/dog/4.jpg")
    assert read(tmp_path) == {
        ("train", "cat", f"{train}/cat/1.jpg"),
        ("train", "dog", f"{train}/dog/2.jpg"),
        ("test", "cat", f"{test}/cat/3.jpg"),
        ("test", "dog", f"{test}/dog/4.jpg"),
    }


def test_validation_is_the_test_where_there_is_none(tmp_path: Path) -> None:
    touch(tmp_path, "train/cat/1.jpg", "train/dog/2.jpg", "val/cat/3.jpg", "val/dog/4.jpg")
    assert {(split, label) for split, label, _ in read(tmp_path)} == {
        ("train", "cat"),
        ("train", "dog"),
        ("test", "cat"),
        ("test", "dog"),
    }


def test_validation_joins_train_beside_a_test(tmp_path: Path) -> None:
    touch(tmp_path, "train/cat/1.jpg", "train/dog/2.jpg", "valid/cat/3.jpg", "test/dog/4.jpg")
    assert ("train", "cat", "valid/cat/3.jpg") in read(tmp_path)
    assert ("test", "dog", "test/dog/4.jpg") in read(tmp_path)


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    touch(tmp_path, "train/1.jpg", "car/2.jpg")
    assert read(tmp_path) == {(None, "train", "train/1.jpg"), (None, "car", "car/2.jpg")}


def test_pictures_outside_class_folders_have_no_label(tmp_path: Path) -> None:
    touch(tmp_path, "train/cat/1.jpg", "train/dog/2.jpg", "train/lost.jpg", "stray.png")
    touch(tmp_path, "pred/9.jpg")
    found = read(tmp_path)
    assert ("train", None, "train/lost.jpg") in found
    assert (None, None, "stray.png") in found
    assert (None, None, "pred/9.jpg") in found


def test_wrapping_folders_and_litter_are_seen_through(tmp_path: Path) -> None:
    touch(tmp_path, "pack-1.0/images/cat/1.jpg", "pack-1.0/images/dog/2.jpg")
    touch(tmp_path, "__MACOSX/pack/cat/._1.jpg", "pack-1.0/images/cat/.DS_Store")
    touch(tmp_path, "pack-1.0/images/cat/Thumbs.db")
    assert read(tmp_path) == {(None, "cat", "cat/1.jpg"), (None, "dog", "dog/2.jpg")}


@pytest.mark.parametrize("files", [["cat/1.jpg"], ["1.jpg", "2.jpg"], ["a/x.xml", "b/y.txt"]])
def test_less_than_two_class_folders_do_not_match(tmp_path: Path, files: list[str]) -> None:
    touch(tmp_path, *files)
    assert not class_folders.matches(tmp_path)
