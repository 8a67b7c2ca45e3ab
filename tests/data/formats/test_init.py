from pathlib import Path

import pytest

from pixloop.data.formats import FORMATS, read_samples
from pixloop.errors import DataError


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
    with pytest.raises(DataError, match="no data format 'coco'"):
        read_samples(both, "coco")


def test_nothing_there_is_an_error_that_says_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="at least two class folders"):
        read_samples(tmp_path)
    with pytest.raises(DataError, match="does not exist"):
        read_samples(tmp_path / "gone")


def test_formats_have_different_names() -> None:
    assert len({f.NAME for f in FORMATS}) == len(FORMATS)
