from pathlib import Path

import pytest

from pixloop.errors import DataError
from pixloop.picture_predictions.files import find_pictures


@pytest.fixture
def make_files(tmp_path: Path):
    def make(*names: str) -> Path:
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        return tmp_path

    return make


def found(*places: Path) -> list[str]:
    return [path.as_posix() for path in find_pictures(places)]


def test_folders_are_walked_in_the_order_of_their_names(make_files, monkeypatch):
    root = make_files("b.PNG", "a/2.jpg", "a/1.webp", "a/c/3.tif", "notes.txt", "a/labels.csv")
    monkeypatch.chdir(root)
    assert found(Path()) == ["a/1.webp", "a/2.jpg", "a/c/3.tif", "b.PNG"]
    assert found(Path("b.PNG"), Path("a/c")) == ["b.PNG", "a/c/3.tif"]


def test_a_file_is_taken_as_it_is_named(make_files):
    root = make_files("notes.txt")
    assert found(root / "notes.txt", root / "no.jpg") == [f"{root}/notes.txt", f"{root}/no.jpg"]


def test_hidden_files_and_litter_are_passed_over(make_files):
    root = make_files("a.jpg", ".hidden/b.jpg", ".c.jpg", "__MACOSX/d.jpg")
    assert found(root) == [f"{root}/a.jpg"]


def test_a_loop_of_links_ends(make_files):
    root = make_files("a/1.jpg")
    (root / "a/loop").symlink_to(root)
    (root / "a/self.jpg").symlink_to("self.jpg")
    (root / "a/linked.jpg").symlink_to("1.jpg")
    (root / "link").symlink_to(root / "a")
    # A link that leads nowhere is a picture that nobody can read; reading it says so.
    assert found(root) == [f"{root}/a/{name}.jpg" for name in ("1", "linked", "self")]
    assert found(root / "link") == [f"{root}/link/{name}.jpg" for name in ("1", "linked", "self")]


def test_what_would_block_is_no_picture(make_files):
    import os

    root = make_files("a.jpg")
    os.mkfifo(root / "pipe.jpg")
    assert found(root) == [f"{root}/a.jpg"]


def test_a_folder_without_pictures_is_said_so(make_files):
    root = make_files("empty/deep/notes.txt")
    with pytest.raises(DataError, match=r"no pictures in .*empty, nor below it.*\.jpg"):
        found(root / "empty")


def test_pictures_are_found_as_they_are_asked_for(make_files):
    root = make_files("a/1.jpg", "b/2.jpg")
    pictures = find_pictures([root])
    assert next(pictures).name == "1.jpg"
    (root / "b/3.jpg").touch()
    assert [path.name for path in pictures] == ["2.jpg", "3.jpg"]
