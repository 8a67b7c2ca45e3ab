from pathlib import Path

from PIL import Image

from pixloop.data.samples import DIGITS, write_digits
from pixloop.files import sha256_folder


def test_digits_are_written_as_class_folders_and_always_the_same(tmp_path: Path) -> None:
    write_digits(tmp_path / "a")
    write_digits(tmp_path / "b")
    assert sha256_folder(tmp_path / "a") == sha256_folder(tmp_path / "b")
    train = sorted((tmp_path / "a/train").rglob("*.png"))
    test = sorted((tmp_path / "a/test").rglob("*.png"))
    assert len(train) + len(test) == 1797
    assert len(test) == 360
    assert {p.parent.name for p in train} == {p.parent.name for p in test} == set(DIGITS)
    assert not {p.name for p in train} & {p.name for p in test}
    with Image.open(train[0]) as picture:
        assert (picture.size, picture.mode) == ((8, 8), "L")
        assert picture.getextrema() == (0, 255)
