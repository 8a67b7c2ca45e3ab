import csv as csv_writer
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixloop.data.formats import csv, read_samples
from pixloop.errors import DataError

TEXT = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\\/\ufeff"), min_size=1
).filter(lambda text: text == text.strip())


@given(
    rows=st.lists(st.tuples(TEXT, TEXT, st.sampled_from(["train", "test", ""])), max_size=5),
    delimiter=st.sampled_from(",;\t|"),
    bom=st.booleans(),
)
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[str, str, str]],
    delimiter: str,
    bom: bool,
) -> None:
    file = tmp_path_factory.mktemp("csv") / "labels.csv"
    with file.open("w", encoding="utf-8-sig" if bom else "utf-8", newline="") as text:
        writer = csv_writer.writer(text, delimiter=delimiter)
        writer.writerow(["Class Name", "File Name", "split", "other"])
        writer.writerows([label, path, split, "x"] for path, label, split in rows)
    assert [(s.path, s.label, s.split, s.source) for s in read_samples(file)] == [
        (file.parent / path, label, split or None, f"labels.csv:{line}")
        for line, (path, label, split) in enumerate(rows, start=2)
    ]


def test_a_missing_label_is_none_and_a_blank_line_is_nothing(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("path,label\na.jpg,\n\nb.jpg\n,\nc.jpg,cat\n")
    assert [(s.path.name, s.label) for s in read_samples(tmp_path)] == [
        ("a.jpg", None),
        ("b.jpg", None),
        ("c.jpg", "cat"),
    ]


def test_the_folder_of_pictures_beside_a_csv_is_no_second_format(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images/1.jpg").write_bytes(b"x")
    (tmp_path / "labels.csv").write_text("image,class\nimages/1.jpg,cat\n")
    assert [s.label for s in read_samples(tmp_path)] == ["cat"]


def test_train_and_test_csvs_are_splits_and_other_csvs_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("image,class\n1.jpg,cat\n")
    (tmp_path / "test.csv").write_text("image,class\n2.jpg,cat\n")
    (tmp_path / "prices.csv").write_text("year,price\n1999,3\n")
    assert {(s.split, s.path.name) for s in read_samples(tmp_path)} == {
        ("train", "1.jpg"),
        ("test", "2.jpg"),
    }


def test_validation_rows_fold_like_validation_folders(tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    file.write_text("path,label,split\n1.jpg,a,train\n2.jpg,a,val\n")
    assert [s.split for s in read_samples(file)] == ["train", "test"]
    file.write_text("path,label,split\n1.jpg,a,train\n2.jpg,a,val\n3.jpg,a,test\n")
    assert [s.split for s in read_samples(file)] == ["train", "train", "test"]


def test_backslashes_are_folders(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("path,label\ncats\\1.jpg,cat\n")
    assert next(csv.read(tmp_path)).path == tmp_path / "cats/1.jpg"


def test_a_row_that_cannot_be_read_is_left_to_preparation(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("path,label,split\n1.jpg,a,maybe\n,b,\n2.jpg,b,test\n")
    split, no_file, good = csv.read(tmp_path)
    assert [f.kind for f in (*split.findings, *no_file.findings)] == ["unreadable_label"] * 2
    assert "labels.csv:2: split 'maybe' is not" in split.findings[0].detail
    assert no_file.findings[0].detail == "labels.csv:3 names no file."
    assert (good.path.name, good.label, good.split, good.findings) == ("2.jpg", "b", "test", ())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"path,label\n\xe9.jpg,cat\n", "not UTF-8"),
        (b"name,weight\n1.jpg,3\n", "holds no labels"),
        (b"", "holds no labels"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "labels.csv").write_bytes(content)
    with pytest.raises(DataError, match=message):
        list(read_samples(tmp_path))
