import hashlib
from pathlib import Path

import pytest

from pixloop.config import DataConfig
from pixloop.data.dataset import Dataset, DatasetWriter, Row
from pixloop.data.prepared import take_over
from pixloop.data.remote_dataset import ADDRESS, noted_address, remote_address
from pixloop.errors import DataError

CONFIG = DataConfig(train=".")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    writer = DatasetWriter(folder, ("cat", "dog"))
    for number in range(6):
        sha256 = hashlib.sha256(str(number).encode()).hexdigest()
        writer.add("test" if number > 3 else "train", Row(b"x", "a.png", number % 2, 1, 1, sha256))
    writer.finish()
    (folder / "data_report.json").write_text("{}")
    (folder / "notes.txt").write_text("mine")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_the_data_set_is_taken_over_and_nothing_else(source: Path, tmp_path: Path) -> None:
    output = tmp_path / "output"
    info = take_over(CONFIG, source, None, output)
    assert info == Dataset.open(source).info
    expected = contents(source)
    del expected["notes.txt"]
    assert contents(output) == expected
    take_over(CONFIG, source, None, output)
    assert contents(output) == expected


def test_it_is_copied_where_the_file_system_knows_no_links(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("another disk")

    monkeypatch.setattr("os.link", refuse)
    take_over(CONFIG, source, None, tmp_path / "output")
    assert list(Dataset.open(tmp_path / "output").split("train")) == list(
        Dataset.open(source).split("train")
    )


def test_of_a_note_no_shard_is_needed(source: Path, tmp_path: Path) -> None:
    for shard in source.rglob("*.parquet"):
        shard.unlink()
    (source / ADDRESS).write_text("s3://bucket/digits\n")
    take_over(CONFIG, source, None, tmp_path / "output")
    taken = Dataset.open(tmp_path / "output")
    assert str(taken) == "s3://bucket/digits"
    assert taken.info == Dataset.open(source).info
    assert sorted(contents(tmp_path / "output")) == [ADDRESS, "data_report.json", "dataset.json"]


def test_what_cannot_be_done_with_a_prepared_data_set_is_refused(
    source: Path, tmp_path: Path
) -> None:
    output = tmp_path / "output"
    with pytest.raises(DataError, match=r"data set for classification, and task is detection"):
        take_over(CONFIG, source, None, output, "detection")
    with pytest.raises(DataError, match=r"data.test is set.*Leave data.test away"):
        take_over(CONFIG, source, tmp_path, output)
    with pytest.raises(DataError, match=r"people's answers cannot be added"):
        take_over(CONFIG, source, None, output, annotations=tmp_path)
    with pytest.raises(DataError, match=r"data.classes is cat, owl.* has cat, dog"):
        take_over(DataConfig(train=".", classes=("cat", "owl")), source, None, output)
    (source / "train/00000.parquet").unlink()
    with pytest.raises(DataError, match=r"incomplete: train/00000.parquet"):
        take_over(CONFIG, source, None, output)
    assert not (output / "dataset.json").exists()
    take_over(DataConfig(train=".", classes=("dog", "cat")), _noted(source), None, output)


def _noted(folder: Path) -> Path:
    (folder / ADDRESS).write_text("s3://bucket/digits")
    return folder


@pytest.mark.parametrize("name", ["../../stolen.parquet", "/tmp/stolen.parquet"])
def test_a_shard_is_never_written_elsewhere(source: Path, tmp_path: Path, name: str) -> None:
    stolen = (source / name).resolve()
    text = (source / "dataset.json").read_text()
    (source / "dataset.json").write_text(text.replace("train/00000.parquet", name))
    existed = stolen.exists()
    if not existed:
        stolen.parent.mkdir(parents=True, exist_ok=True)
        stolen.write_bytes(b"")
    with pytest.raises(DataError, match="outside its folder"):
        take_over(CONFIG, source, None, tmp_path / "deep" / "output")
    if not existed:
        stolen.unlink()


def test_a_note_must_name_an_address(source: Path) -> None:
    assert noted_address(source) is None
    (source / ADDRESS).write_text("https://example.org/digits\n")
    with pytest.raises(DataError, match=r"address.txt says 'https://example.org/digits'"):
        Dataset.open(source)


@pytest.mark.parametrize(
    ("place", "address"),
    [
        ("s3://bucket/a/b", "s3://bucket/a/b"),
        ("s3://bucket/a/b/", "s3://bucket/a/b"),
        (Path("s3://bucket/a/b"), "s3://bucket/a/b"),
        ("s3://bucket", "s3://bucket"),
        ("/data/s3:/bucket", None),
        ("digits", None),
        (Path("s3"), None),
    ],
)
def test_addresses_are_told_from_paths(place: str | Path, address: str | None) -> None:
    assert remote_address(place) == address
