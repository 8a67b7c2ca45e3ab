from pathlib import Path

import pytest

from pixloop.aws.rehearsal.rehearsal_data import write_pictures, write_settings
from pixloop.data.formats import read_samples
from pixloop.errors import DataError


def fill(folder: Path, classes: int = 2, each: int = 30) -> Path:
    for label in range(classes):
        for number in range(each):
            place = folder / f"class{label}" / f"{number}.PNG"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(f"{label} {number}".encode())
    return folder


def test_digits_come_with_a_test_and_some_later(tmp_path: Path) -> None:
    pictures = write_pictures(None, tmp_path)
    first = list(read_samples(pictures.first))
    later = list(pictures.later.glob("train/*/*.png"))
    assert len(first) + len(later) == 600
    assert len(later) == len([p for p in pictures.later.rglob("*") if p.is_file()]) > 20
    assert {sample.split for sample in first} == {"train", "test"}
    assert len({sample.label for sample in first}) == 10
    # None takes the place of another.
    assert not {s.path.name for s in first} & {path.name for path in later}
    tested = {s.path.name for s in first if s.split == "test"}
    assert len(pictures.asked) == len(tested) > 100


def test_own_pictures_keep_their_classes(tmp_path: Path) -> None:
    pictures = write_pictures(fill(tmp_path / "own"), tmp_path / "laid-out")
    first = list(read_samples(pictures.first))
    assert {(s.label, s.split) for s in first} == {("class0", None), ("class1", None)}
    assert {path.suffix for path in (s.path for s in first)} == {".png"}
    assert len(first) == 57
    assert len(list(pictures.later.rglob("*.png"))) == 3


def test_too_few_pictures_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="at least 20 pictures"):
        write_pictures(fill(tmp_path / "own", each=9), tmp_path / "laid-out")


def test_the_settings_are_left_to_look_at(tmp_path: Path) -> None:
    digits = write_settings("rehearsal", "raw", False, tmp_path)
    own = write_settings("rehearsal", "raw", True, tmp_path)
    assert "image_size: 64" in (tmp_path / "pixloop.yaml").read_text()
    assert (digits.model.image_size, own.model.image_size) == (32, 64)
    assert own.model.name == digits.model.name
