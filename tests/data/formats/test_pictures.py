import os
import unicodedata
from pathlib import Path

import pytest
from PIL import Image

from pixloop.data.formats.pictures import PictureLinks, Pictures, reference_to, upright_size
from pixloop.errors import DataError


def test_the_closest_of_several_files_is_meant(tmp_path: Path, put_picture) -> None:
    for name in ("train/a/1.jpg", "test/a/1.jpg", "test/b/1.jpg", "test/b/1.png"):
        put_picture(tmp_path / name)
    find = Pictures(tmp_path).find

    def found(written: str, split: str | None = None) -> str | None:
        path = find(written, split)
        return path.relative_to(tmp_path).as_posix() if os.path.isfile(path) else None  # noqa: PTH113

    assert found("test/b/1.jpg") == "test/b/1.jpg"
    assert found("/elsewhere/b/1.jpg") == "test/b/1.jpg"
    assert found("/elsewhere/b/1.bmp") is None  # 1.jpg or 1.png
    assert found("/elsewhere/a/1.jpg") is None  # of train or test
    assert found("/elsewhere/a/1.jpg", "train") == "train/a/1.jpg"
    assert found("1.png") == "test/b/1.png"
    assert found("9.png") is None
    assert found("") is None
    assert found("9" * 5000 + ".jpg") is None


def test_both_spellings_of_an_accent_are_one_name(tmp_path: Path, put_picture) -> None:
    written = unicodedata.normalize("NFC", "größe.jpg")
    file = put_picture(tmp_path / "a" / unicodedata.normalize("NFD", written))
    assert Pictures(tmp_path).find(written) == file


def test_an_absolute_path_that_exists_is_taken(tmp_path: Path, put_picture) -> None:
    file = put_picture(tmp_path / "elsewhere/1.jpg")
    (tmp_path / "labels").mkdir()
    assert Pictures(tmp_path / "labels").find(str(file)) == file


def test_a_reference_leads_out_of_a_linked_folder(tmp_path: Path, put_picture) -> None:
    file = put_picture(tmp_path / "pictures/1.jpg")
    (tmp_path / "deep/er/labels").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "deep/er/labels")
    written = reference_to(file, tmp_path / "link")
    assert (tmp_path / "link" / written).samefile(file)


def test_links_have_names_that_every_tool_takes(tmp_path: Path, put_picture) -> None:
    links = PictureLinks()
    files = [
        put_picture(tmp_path / name) for name in ("a/x.jpg", "b/X.jpg", "c/x.png", "d/y\n:.jpg")
    ]
    laid = [links.add(file, tmp_path / "out") for file in files]
    assert [path.name for path in laid] == ["x.jpg", "X-2.jpg", "x-3.png", "y__.jpg"]
    assert all(a.samefile(b) for a, b in zip(files, laid, strict=True))


def test_where_nothing_can_be_linked_pictures_are_copied(
    tmp_path, put_picture, monkeypatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("another file system")

    monkeypatch.setattr(os, "link", refuse)
    file = put_picture(tmp_path / "1.jpg")
    copy = PictureLinks().add(file, tmp_path / "out")
    assert copy.read_bytes() == file.read_bytes()
    assert not copy.samefile(file)


def test_nothing_that_is_there_is_overwritten(tmp_path: Path, put_picture) -> None:
    put_picture(tmp_path / "out/1.jpg")
    with pytest.raises(DataError, match=r"1\.jpg cannot be laid into"):
        PictureLinks().add(put_picture(tmp_path / "1.jpg"), tmp_path / "out")


@pytest.mark.parametrize(("orientation", "size"), [(1, (30, 20)), (3, (30, 20)), (8, (20, 30))])
def test_the_upright_size(tmp_path: Path, orientation: int, size: tuple[int, int]) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (30, 20)).save(tmp_path / "1.jpg", exif=exif)
    assert upright_size(tmp_path / "1.jpg") == size


def test_a_file_that_is_no_picture_has_no_size(tmp_path: Path) -> None:
    (tmp_path / "1.jpg").write_bytes(b"no")
    with pytest.raises(DataError, match="not a picture"):
        upright_size(tmp_path / "1.jpg")
    with pytest.raises(DataError, match=r"2\.jpg cannot be read"):
        upright_size(tmp_path / "2.jpg")
