"""Several machines inspect a share of the pictures each; one prepares the data set of them all."""

import math
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pixloop.config import DataConfig
from pixloop.data import inspection
from pixloop.data.prepare import prepare
from pixloop.data.shared_inspections import inspect_share
from pixloop.files import sha256_folder

Put = Callable[..., Path]
MAX_PIXELS = 1_000_000


@pytest.fixture
def source(tmp_path: Path, put: Put, paint: Any, encode: Any) -> Path:
    """Class folders with all that an inspection can find."""
    folder = tmp_path / "source"
    for number in range(24):
        put(folder / ("cat", "dog")[number % 2] / f"{number:02}.jpg", number)
    turned = Image.Exif()
    turned[0x0112] = 6
    for number in (30, 31, 32):
        put(folder / "cat" / f"{number}.jpg", encode(paint(number), "JPEG", exif=turned))
    shutil.copy(folder / "cat/30.jpg", folder / "cat/30 again.jpg")
    shutil.copy(folder / "cat/00.jpg", folder / "cat/00.png")  # another suffix, another finding
    shutil.copy(folder / "cat/02.jpg", folder / "cat/no suffix")
    put(folder / "dog/near.jpg", encode(paint(1), "JPEG", quality=40))
    put(folder / "dog/empty.jpg", b"")
    half = encode(paint(41, 400, 300), "JPEG")
    put(folder / "dog/half.jpg", half[: len(half) // 2])
    put(folder / "dog/words.jpg", b"no picture")
    put(folder / "dog/large.jpg", encode(paint(40, 1200, 1000), "JPEG"))
    return folder


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The files that are decoded."""
    names: list[str] = []
    real = inspection.inspect

    def spy(data: bytes, name: str, max_pixels: int) -> Any:
        names.append(Path(name).name)
        return real(data, name, max_pixels)

    monkeypatch.setattr(inspection, "inspect", spy)
    # However long it takes: in another process the spy would see nothing.
    monkeypatch.setattr(inspection, "_ALONE_S", math.inf)
    return names


def share(source: Path, folder: Path, count: int) -> None:
    """Copy a source's files to as many machines, and let each inspect its own."""
    files = sorted(p for p in source.rglob("*") if p.is_file())
    for number in range(count):
        machine = folder / f"machine-{number}"
        for file in files[number::count]:
            copy = machine / "input" / file.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
        inspect_share(
            [machine / "input", machine / "missing"],
            folder / "inspections",
            machine / "work",
            MAX_PIXELS,
            f"algo-{number + 1}",
        )


def make(source: Path, folder: Path, inspections: Path | None = None, **settings: Any) -> str:
    """Prepare the data set in a fresh place; the digest of all of it."""
    config = DataConfig(train=str(source), **{"max_pixels": MAX_PIXELS, **settings})
    prepare(config, source, None, folder / "set", folder / "work", "classification", inspections)
    return sha256_folder(folder / "set")


@pytest.mark.parametrize("count", [1, 3])
def test_the_data_set_is_the_same_and_no_picture_is_decoded_twice(
    source: Path, tmp_path: Path, count: int, looked_at: list[str]
) -> None:
    alone = make(source, tmp_path / "alone")
    share(source, tmp_path, count)
    looked_at.clear()
    assert make(source, tmp_path / "shared", tmp_path / "inspections") == alone
    assert looked_at == []


def test_inspections_are_the_same_bytes_whenever_they_are_made(
    source: Path, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        share(source, tmp_path / name, 2)
        for file in source.rglob("*.jpg"):
            os.utime(file, ns=(1, 1))
    digests = {sha256_folder(tmp_path / name / "inspections") for name in ("a", "b")}
    assert len(digests) == 1


def test_a_picture_that_has_changed_since_is_inspected_anew(
    source: Path, tmp_path: Path, put: Put, looked_at: list[str]
) -> None:
    share(source, tmp_path, 2)
    state = (source / "cat/04.jpg").stat()
    put(source / "cat/04.jpg", 99)
    os.utime(source / "cat/04.jpg", ns=(state.st_atime_ns, state.st_mtime_ns))
    put(source / "dog/new.jpg", 98)
    looked_at.clear()
    shared = make(source, tmp_path / "shared", tmp_path / "inspections")
    assert sorted(looked_at) == ["04.jpg", "new.jpg"]
    assert shared == make(source, tmp_path / "alone")


def test_inspections_under_other_settings_are_not_believed(
    source: Path, tmp_path: Path, looked_at: list[str]
) -> None:
    share(source, tmp_path, 1)
    looked_at.clear()
    shared = make(source, tmp_path / "shared", tmp_path / "inspections", max_pixels=2_000_000)
    assert len(looked_at) == len([p for p in source.rglob("*") if p.is_file()])
    assert shared == make(source, tmp_path / "alone", max_pixels=2_000_000)


@pytest.mark.parametrize("damage", ["foreign", "gone"])
def test_a_turned_picture_is_taken_over_only_if_it_is_what_was_written(
    source: Path, tmp_path: Path, looked_at: list[str], damage: str
) -> None:
    share(source, tmp_path, 2)
    for file in (tmp_path / "inspections/upright").iterdir():
        if damage == "gone":
            file.unlink()
        else:
            shutil.copyfile(source / "cat/00.jpg", file)
    looked_at.clear()
    shared = make(source, tmp_path / "shared", tmp_path / "inspections")
    assert sorted(looked_at) == ["30 again.jpg", "30.jpg", "31.jpg", "32.jpg"]
    assert shared == make(source, tmp_path / "alone")


def test_a_damaged_file_of_inspections_costs_time_and_nothing_else(
    source: Path, tmp_path: Path, looked_at: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    share(source, tmp_path, 2)
    (tmp_path / "inspections/algo-1.parquet").write_bytes(b"PAR1 and then nothing")
    looked_at.clear()
    shared = make(source, tmp_path / "shared", tmp_path / "inspections")
    assert looked_at
    assert "algo-1.parquet cannot be read, so its pictures are checked again" in caplog.text
    assert shared == make(source, tmp_path / "alone")


def test_a_share_of_nothing_is_no_error(tmp_path: Path, source: Path) -> None:
    share(tmp_path / "missing", tmp_path, 1)
    assert [p.name for p in (tmp_path / "inspections").iterdir()] == ["algo-1.parquet"]
    assert make(source, tmp_path / "a", tmp_path / "inspections") == make(source, tmp_path / "b")


def test_what_was_inspected_before_a_kill_is_not_inspected_again(
    source: Path, tmp_path: Path, looked_at: list[str]
) -> None:
    for _ in range(2):
        inspect_share([source], tmp_path / "out", tmp_path / "work", MAX_PIXELS, "algo-1")
    assert len(looked_at) == len([p for p in source.rglob("*") if p.is_file()])
