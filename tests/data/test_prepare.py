import io
import json
import math
import os
import random
import shutil
import signal
import sqlite3
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pixloop.bundle import Task
from pixloop.config import DataConfig
from pixloop.data import inspection
from pixloop.data.dataset import SPLITS, Dataset, DatasetInfo
from pixloop.data.findings import KINDS, summary
from pixloop.data.formats import read_samples
from pixloop.data.prepare import prepare
from pixloop.data.rules import apply_rules
from pixloop.data.samples import write_digits
from pixloop.decoding import decode_image
from pixloop.errors import DataError
from pixloop.files import sha256_folder
from pixloop.records import Sample

Put = Callable[..., Path]


class Room:
    """A source, and what prepare makes of it."""

    def __init__(self, folder: Path) -> None:
        self.source, self.output, self.work = (folder / n for n in ("source", "out", "work"))

    def prepare(
        self, test: Path | None = None, train: Path | None = None, **data: Any
    ) -> DatasetInfo:
        config = DataConfig(train="source", **data)
        return prepare(config, train or self.source, test, self.output, self.work)

    @property
    def report(self) -> dict[str, Any]:
        return json.loads((self.output / "data_report.json").read_text())

    @property
    def quarantine(self) -> dict[str, tuple[str, str]]:
        lines = (self.output / "quarantine.jsonl").read_text().splitlines()
        return {e["path"]: (e["reason"], e["detail"]) for e in map(json.loads, lines)}

    def finding(self, kind: str) -> dict[str, Any]:
        return next(f for f in self.report["findings"] if f["kind"] == kind)

    def kinds(self) -> set[str]:
        return {f["kind"] for f in self.report["findings"]}

    def splits(self) -> dict[str, str]:
        dataset = Dataset.open(self.output)
        return {row.path: split for split in SPLITS for row in dataset.split(split)}


@pytest.fixture
def room(tmp_path: Path, put: Put) -> Room:
    """Sixteen good pictures of two classes."""
    room = Room(tmp_path)
    for number in range(16):
        put(room.source / ("cat", "dog")[number % 2] / f"{number:02d}.png", number)
    return room


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def test_good_pictures_become_a_data_set_without_findings(room: Room) -> None:
    info = room.prepare()
    assert info.classes == ("cat", "dog")
    assert sum(sum(c.values()) for c in info.counts.values()) == 16
    assert all(count >= 1 for split in SPLITS for count in info.counts[split].values())
    assert room.report["kept"] == room.report["pictures"] == 16
    assert room.quarantine == {}
    assert room.kinds() <= {"moved_to_fill"}
    for split in SPLITS:
        for row in Dataset.open(room.output).split(split):
            assert row.image == (room.source / row.path).read_bytes()
            assert info.classes[row.label] == row.path.split("/")[0]
            assert (row.width, row.height) == (48, 40)


def test_channel_statistics_are_those_of_the_training_pictures(room: Room) -> None:
    info = room.prepare()
    rows = list(Dataset.open(room.output).split("train"))
    pixels = np.concatenate([decode_image(row.image).reshape(-1, 3) for row in rows]) / 255.0
    np.testing.assert_allclose(info.channel_mean, pixels.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(info.channel_std, pixels.std(axis=0), atol=1e-6)


def test_unusable_files_are_quarantined_with_their_reason(
    room: Room, put: Put, paint: Any, encode: Any
) -> None:
    jpeg = encode(paint(100, 200, 200), "JPEG")
    put(room.source / "cat/truncated.jpg", jpeg[: len(jpeg) // 2])
    put(room.source / "cat/empty.jpg", b"")
    put(room.source / "dog/notes.txt", b"these are dogs")
    put(room.source / "dog/bomb.png", png_header(60_000, 60_000))
    put(room.source / "dog/large.png", encode(paint(101, 300, 300)))
    room.prepare(max_pixels=80_000)
    reasons = {path: reason for path, (reason, _) in room.quarantine.items()}
    assert reasons == {
        "cat/truncated.jpg": "corrupt",
        "cat/empty.jpg": "empty",
        "dog/notes.txt": "not_a_picture",
        "dog/bomb.png": "too_large",
        "dog/large.png": "too_large",
    }
    assert room.report["kept"] == 16
    assert room.finding("too_large")["count"] == 2
    assert room.finding("too_large")["examples"][1]["path"] == "dog/large.png"
    assert "300×300" in room.quarantine["dog/large.png"][1]


def test_odd_but_usable_pictures_are_kept_and_named(
    room: Room, put: Put, paint: Any, encode: Any
) -> None:
    frames = [paint(n) for n in (110, 111)]
    put(
        room.source / "cat/moving.gif",
        encode(frames[0], "GIF", save_all=True, append_images=[frames[1]]),
    )
    put(room.source / "cat/really_a_png.jpg", encode(paint(112)))
    put(room.source / "dog/tiny.png", encode(paint(113, 4, 4)))
    room.prepare()
    assert room.report["kept"] == 19
    for kind, path in [
        ("animated", "cat/moving.gif"),
        ("extension_mismatch", "cat/really_a_png.jpg"),
        ("tiny", "dog/tiny.png"),
    ]:
        assert [e["path"] for e in room.finding(kind)["examples"]] == [path]
    assert {"cat/moving.gif", "cat/really_a_png.jpg", "dog/tiny.png"} <= set(room.splits())


def test_lying_pictures_are_stored_upright(room: Room, put: Put, paint: Any, encode: Any) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    lying = encode(paint(120, 64, 32), "JPEG", exif=exif, quality=95)
    put(room.source / "cat/lying.jpg", lying)
    room.prepare()
    dataset = Dataset.open(room.output)
    row = next(r for s in SPLITS for r in dataset.split(s) if r.path == "cat/lying.jpg")
    assert (row.width, row.height) == (32, 64)
    with Image.open(io.BytesIO(row.image)) as stored:
        assert (stored.format, stored.size) == ("JPEG", (32, 64))
        assert not stored.getexif()
    difference = decode_image(row.image).astype(int) - decode_image(lying).astype(int)
    assert np.abs(difference).mean() < 2
    assert room.finding("rotated")["count"] == 1


def test_of_exact_duplicates_one_is_kept(room: Room) -> None:
    shutil.copy(room.source / "cat/00.png", room.source / "cat/copy.png")
    shutil.copy(room.source / "cat/00.png", room.source / "cat/copy2.png")
    room.prepare()
    assert room.report["kept"] == 16
    assert room.quarantine == {
        "cat/copy.png": ("duplicate", "the same as cat/00.png"),
        "cat/copy2.png": ("duplicate", "the same as cat/00.png"),
    }


def test_one_picture_under_two_labels_is_left_out_wholly(room: Room) -> None:
    shutil.copy(room.source / "cat/00.png", room.source / "dog/copy.png")
    room.prepare()
    assert room.report["kept"] == 15
    detail = "labelled 'cat' and 'dog'"
    assert room.quarantine == {
        "cat/00.png": ("conflicting_labels", detail),
        "dog/copy.png": ("conflicting_labels", detail),
    }


def test_near_duplicates_share_a_split(room: Room, put: Put, paint: Any, encode: Any) -> None:
    for number in range(200, 216):
        picture = paint(number, 96, 80)
        put(room.source / f"cat/{number}.png", encode(picture))
        put(room.source / f"cat/{number}_again.jpg", encode(picture, "JPEG", quality=60))
        put(room.source / f"cat/{number}_half.png", encode(picture.resize((48, 40))))
    room.prepare()
    splits = room.splits()
    for number in range(200, 216):
        same = {splits[f"cat/{number}{tail}"] for tail in (".png", "_again.jpg", "_half.png")}
        assert len(same) == 1
    assert room.finding("near_duplicate")["count"] == 32
    assert len({splits[f"cat/{number}.png"] for number in range(200, 216)}) > 1


def test_near_duplicates_of_another_class_are_a_warning(
    room: Room, put: Put, paint: Any, encode: Any
) -> None:
    put(room.source / "dog/00.jpg", encode(paint(0), "JPEG", quality=90))
    room.prepare()
    assert [e["path"] for e in room.finding("near_duplicate_labels")["examples"]] == [
        "cat/00.png",
        "dog/00.jpg",
    ]


def test_handwritten_digits_are_not_each_others_duplicates(room: Room) -> None:
    write_digits(room.source.parent / "digits")
    info = room.prepare(train=room.source.parent / "digits")
    assert room.report["kept"] == 1797
    assert "near_duplicate" not in room.kinds()
    assert "tiny" not in room.kinds()
    assert sum(info.counts["test"].values()) == 360


@pytest.fixture
def sided(tmp_path: Path, put: Put) -> Room:
    """Two classes with train and test of their own."""
    room = Room(tmp_path)
    for number in range(16):
        split = "test" if number >= 12 else "train"
        put(room.source / split / ("cat", "dog")[number % 2] / f"{number:02d}.png", number)
    return room


def test_given_test_pictures_are_the_test(sided: Room) -> None:
    sided.prepare()
    in_test = {path for path, split in sided.splits().items() if split == "test"}
    assert in_test == {"test/cat/12.png", "test/dog/13.png", "test/cat/14.png", "test/dog/15.png"}


def test_a_separate_test_source_counts_as_test_whatever_it_calls_itself(
    sided: Room, put: Put
) -> None:
    folder = sided.source.parent / "elsewhere"
    put(folder / "train/cat/20.png", 20)
    put(folder / "train/dog/21.png", 21)
    sided.prepare(test=folder, train=sided.source / "train")
    in_test = {path for path, split in sided.splits().items() if split == "test"}
    assert in_test == {"test/train/cat/20.png", "test/train/dog/21.png"}


def test_a_picture_in_train_and_test_stays_in_test(sided: Room) -> None:
    shutil.copy(sided.source / "test/cat/12.png", sided.source / "train/cat/leak.png")
    sided.prepare()
    assert sided.quarantine == {
        "train/cat/leak.png": ("in_train_and_test", "the same as test/cat/12.png")
    }
    assert sided.splits()["test/cat/12.png"] == "test"


def test_near_duplicates_of_test_pictures_go_to_test(
    sided: Room, put: Put, paint: Any, encode: Any
) -> None:
    put(sided.source / "train/cat/leak.jpg", encode(paint(12), "JPEG", quality=90))
    sided.prepare()
    assert sided.splits()["train/cat/leak.jpg"] == "test"
    assert sided.finding("near_duplicate_sides")["examples"] == [
        {"path": "train/cat/leak.jpg", "detail": "looks like test/cat/12.png"}
    ]


def test_classes_on_one_side_only(sided: Room, put: Put) -> None:
    put(sided.source / "test/owl/30.png", 30)
    put(sided.source / "train/fox/31.png", 31)
    put(sided.source / "train/fox/32.png", 32)
    info = sided.prepare()
    assert info.classes == ("cat", "dog", "fox")
    assert sided.quarantine["test/owl/30.png"][0] == "class_not_in_train"
    assert sided.finding("class_not_in_train")["severity"] == "error"
    assert sided.finding("class_not_in_test")["examples"] == [
        {"path": "fox", "detail": "no test picture"}
    ]


def test_a_class_with_one_picture_trains_with_it_and_is_a_warning(room: Room, put: Put) -> None:
    put(room.source / "owl/only.png", 40)
    info = room.prepare()
    assert info.counts["train"]["owl"] == 1
    assert room.finding("single_picture")["examples"] == [
        {"path": "owl", "detail": "one picture: owl/only.png"}
    ]
    assert room.finding("class_not_in_validation")["count"] == 1


def test_files_and_labels_that_a_csv_lacks(room: Room) -> None:
    rows = [f"{label}/{n:02d}.png,{label}" for n in range(16) for label in [("cat", "dog")[n % 2]]]
    rows[0], rows[1] = "cat/00.png,", "dog/gone.png,dog"
    (room.source / "labels.csv").write_text("\n".join(["path,label", *rows]))
    room.prepare(format="csv")
    assert room.quarantine == {
        "cat/00.png": ("unlabelled", "labels.csv:2"),
        "dog/gone.png": ("missing_file", "named by labels.csv:3"),
    }
    assert room.report["kept"] == 14


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_pipes_and_names_that_are_no_text_are_left_out(room: Room) -> None:
    os.mkfifo(room.source / "cat/pipe.png")
    shutil.copy(room.source / "cat/00.png", os.fsencode(room.source) + b"/cat/caf\xe9.png")

    room.prepare()

    assert {name: reason for name, (reason, _) in room.quarantine.items()} == {
        "cat/pipe.png": "missing_file",
        "cat/caf\\udce9.png": "missing_file",
    }
    assert room.report["kept"] == 16


def test_strict_turns_warnings_into_an_error_that_lists_them(room: Room, put: Put) -> None:
    room.prepare(strict=True)
    put(room.source / "cat/empty.jpg", b"")
    with pytest.raises(DataError, match=r"1 empty file \(left out\): cat/empty\.jpg"):
        room.prepare(strict=True)
    assert room.finding("empty")["count"] == 1
    with pytest.raises(DataError, match="no data set"):
        Dataset.open(room.output)


@pytest.mark.parametrize(("keep", "message"), [("cat", "only the class 'cat'"), ("", "no class")])
def test_fewer_than_two_classes_are_refused_with_the_reasons(
    room: Room, put: Put, keep: str, message: str
) -> None:
    for file in room.source.rglob("*.png"):
        if file.parent.name != keep:
            put(file, b"not a picture")
    with pytest.raises(DataError, match=f"{message}(.|\n)*files that are no pictures"):
        room.prepare()


def test_an_index_of_an_older_pixloop_is_made_again(room: Room) -> None:
    info = room.prepare()
    with closing(sqlite3.connect(room.work / "index.sqlite")) as db:
        db.execute("DROP TABLE files")
        db.execute("CREATE TABLE files (path TEXT PRIMARY KEY, size INTEGER, sha256 TEXT)")
        db.execute("UPDATE settings SET value = '1 50000000'")
        db.commit()
    assert room.prepare() == info


def test_listed_classes_are_the_classes(room: Room, put: Put) -> None:
    (room.source / "dog").rename(room.source / "Dog")
    for number in range(20, 24):
        put(room.source / "cats" / f"{number}.png", number)
    info = room.prepare(classes=["cat", " dog", "owl"])
    assert info.classes == ("cat", "dog")
    assert room.report["classes"] == {"cat": 8, "dog": 8}
    assert set(room.quarantine) == {f"cats/{number}.png" for number in range(20, 24)}
    assert room.quarantine["cats/20.png"] == (
        "unknown_class",
        "data.classes lists no 'cats'; did you mean 'cat'?",
    )
    assert room.finding("respelt_class")["examples"] == [
        {"path": "Dog", "detail": "8 pictures counted as 'dog'"}
    ]
    assert room.finding("class_not_found")["examples"] == [
        {"path": "owl", "detail": "data.classes lists it"}
    ]


def test_labels_that_differ_in_case_are_a_warning(room: Room, put: Put) -> None:
    put(room.source / "CAT/20.png", 20)
    info = room.prepare()
    assert info.classes == ("CAT", "cat", "dog")
    assert room.finding("similar_classes")["examples"] == [
        {"path": "CAT", "detail": "1 picture; looks like 'cat' (8)"}
    ]


def test_every_kind_of_finding_is_reported_in_words(sided: Room, put: Put) -> None:
    put(sided.source / "train/cat/empty.jpg", b"")
    info = sided.prepare()
    lines = summary(info, sided.report)
    assert "warning: 1 empty file (left out): train/cat/empty.jpg" in lines
    assert lines[0].startswith("16 pictures in 2 classes: ")
    assert {f["kind"] for f in sided.report["findings"]} <= set(KINDS)


def test_the_data_set_is_the_same_whatever_the_workers_and_the_order(
    room: Room, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(50, 150):
        put(room.source / f"cat/{number}.jpg", number)
    room.prepare()
    alone = sha256_folder(room.output)
    other = Room(room.source.parent / "other")
    shutil.copytree(room.source, other.source)

    def shuffled(root: Path, format_: str, task: Task) -> list[Sample]:
        samples = list(read_samples(root, format_, task))
        random.Random(1).shuffle(samples)
        return samples

    monkeypatch.setattr("pixloop.data.prepare.read_samples", shuffled)
    monkeypatch.setattr(inspection, "_ALONE_S", 0.0)
    monkeypatch.setattr("pixloop.data.inspection.cores", lambda: 2)
    other.prepare()
    assert sha256_folder(other.output) == alone


def test_adding_pictures_moves_none(room: Room, put: Put) -> None:
    for number in range(50, 110):
        put(room.source / ("cat", "dog")[number % 2] / f"{number}.png", number)
    room.prepare()
    before = room.splits()
    for number in range(110, 150):
        put(room.source / ("cat", "dog")[number % 2] / f"{number}.png", number)
    room.prepare()
    after = room.splits()
    assert {path: after[path] for path in before} == before


def test_a_changed_file_is_looked_at_again_and_others_are_not(
    room: Room, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    room.prepare()
    looked_at = []
    real = inspection.inspect

    def spy(data: bytes, name: str, max_pixels: int) -> Any:
        looked_at.append(Path(name).name)
        return real(data, name, max_pixels)

    monkeypatch.setattr(inspection, "inspect", spy)
    monkeypatch.setattr(inspection, "_ALONE_S", math.inf)  # in another process it sees nothing
    put(room.source / "cat/00.png", 77)
    (room.source / "dog/01.png").unlink()
    room.prepare()
    assert looked_at == ["00.png"]
    assert room.report["kept"] == 15
    room.prepare(max_pixels=1_000_000)
    assert len(looked_at) == 16


def test_a_damaged_index_is_made_again(room: Room) -> None:
    info = room.prepare()
    (room.work / "index.sqlite").write_bytes(b"SQLite format 3\0" + b"\xff" * 5000)
    assert room.prepare() == info


def test_an_index_that_turns_out_to_be_damaged_is_told_and_made_again(room: Room) -> None:
    info = room.prepare()
    file = room.work / "index.sqlite"
    with closing(sqlite3.connect(file)) as db:
        (size,) = db.execute("PRAGMA page_size").fetchone()
        pages = db.execute("SELECT rootpage FROM sqlite_master WHERE tbl_name = 'files'").fetchall()
    with file.open("r+b") as content:
        for (page,) in pages:
            content.seek((page - 1) * size)
            content.write(b"\xff" * size)
    with pytest.raises(DataError, match=r"index\.sqlite was damaged"):
        room.prepare()
    assert room.prepare() == info


def test_an_index_in_use_is_told_and_kept(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    room.prepare()
    file = room.work / "index.sqlite"
    # What is in use stays so: nobody need wait for it.
    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, timeout=0))
    with closing(sqlite3.connect(file)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(
            DataError, match=r"index\.sqlite cannot be used: .* locked\. Another run"
        ):
            room.prepare()
    with closing(sqlite3.connect(file)) as db:
        assert db.execute("SELECT COUNT(*) FROM files").fetchone() == (16,)


def test_the_data_set_is_the_same_however_much_is_read_ahead(
    room: Room, put: Put, paint: Any, encode: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    put(room.source / "cat/turned.jpg", encode(paint(40), "JPEG", exif=turned))
    put(room.source / "dog/large.png", encode(paint(41, 400, 300)))
    room.prepare()
    expected = sha256_folder(room.output)
    for most in (1, 5000):
        monkeypatch.setattr("pixloop.data.prepare._AHEAD_BYTES", most)
        room.prepare()
        assert sha256_folder(room.output) == expected


def test_several_pictures_are_read_at_a_time_as_they_are_written(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    room.prepare()  # so that none is read to be checked
    readers, several, real = set(), threading.Event(), Path.read_bytes

    def read_bytes(file: Path) -> bytes:
        readers.add(threading.get_ident())
        if len(readers) > 1:
            several.set()
        several.wait(5)
        return real(file)

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    room.prepare()
    assert several.is_set()


def test_a_picture_that_changes_after_it_was_checked_is_told(
    room: Room, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    def change(*arguments: Any) -> None:
        apply_rules(*arguments)
        put(room.source / "cat/00.png", 77)

    monkeypatch.setattr("pixloop.data.prepare.apply_rules", change)
    with pytest.raises(DataError, match=r"00\.png has changed since it was checked"):
        room.prepare()
    with pytest.raises(DataError, match="no data set"):
        Dataset.open(room.output)


@pytest.mark.parametrize("cores", [1, 2])
def test_a_file_that_kills_its_reader_is_quarantined(
    room: Room, put: Put, tmp_path: Path, cores: int
) -> None:
    """Run apart: the reader's death is arranged in the child processes by a site module."""
    put(room.source / "cat/killer.png", b"KILL")
    (tmp_path / "sitecustomize.py").write_text(
        "import os, pathlib\n"
        "real = pathlib.Path.read_bytes\n"
        "def read_bytes(self):\n"
        "    data = real(self)\n"
        "    if data == b'KILL': os.kill(os.getpid(), 9)\n"
        "    return data\n"
        "pathlib.Path.read_bytes = read_bytes\n"
    )
    code = (
        "from pathlib import Path\n"
        "from pixloop.config import DataConfig\n"
        "from pixloop.data import inspection\n"
        "from pixloop.data.prepare import prepare\n"
        "if __name__ == '__main__':\n"
        "    inspection._ALONE_S, inspection._CHUNK = 0.0, 4\n"
        f"    inspection.cores = lambda: {cores}\n"
        f"    prepare(DataConfig(train='x'), Path({str(room.source)!r}), None,"
        f" Path({str(room.output)!r}), Path({str(room.work)!r}))\n"
    )
    script = tmp_path / "script.py"
    script.write_text(code)
    subprocess.run(
        [sys.executable, str(script)],
        check=True,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        timeout=120,
    )
    assert room.quarantine["cat/killer.png"][0] == "corrupt"
    assert room.report["kept"] == 16


def test_a_program_whose_start_is_unguarded_is_told_so(room: Room, tmp_path: Path) -> None:
    """Its processes die as they start, and no picture is to blame."""
    script = tmp_path / "script.py"
    script.write_text(
        "from pathlib import Path\n"
        "from pixloop.config import DataConfig\n"
        "from pixloop.data import inspection\n"
        "from pixloop.data.prepare import prepare\n"
        "inspection._ALONE_S = 0.0\n"
        f"prepare(DataConfig(train='x'), Path({str(room.source)!r}), None,"
        f" Path({str(room.output)!r}), Path({str(room.work)!r}))\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1
    assert "if __name__" in done.stderr.splitlines()[-1]
    assert not (room.output / "dataset.json").exists()


RUN = """
import sys
from pathlib import Path
from pixloop.config import DataConfig
from pixloop.data.prepare import prepare
if __name__ == "__main__":
    source, output, work = map(Path, sys.argv[1:])
    prepare(DataConfig(train="source"), source, None, output, work)
"""


def test_killed_in_the_middle_it_resumes_to_the_same_data_set(
    room: Room, put: Put, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    for number in range(150):
        noise = Image.fromarray(rng.integers(0, 256, (400, 400, 3), np.uint8))
        file = room.source / ("cat", "dog")[number % 2] / f"noise{number}.png"
        noise.save(file, compress_level=1)
    room.prepare()
    whole = sha256_folder(room.output)
    (tmp_path / "run.py").write_text(RUN)
    again = Room(tmp_path / "again")
    command = [sys.executable, str(tmp_path / "run.py"), room.source, again.output, again.work]
    process = subprocess.Popen([str(c) for c in command])
    index = again.work / "index.sqlite-wal"
    deadline = time.monotonic() + 60
    while not (index.exists() and index.stat().st_size > 120_000):
        assert time.monotonic() < deadline
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    with pytest.raises(DataError, match="no data set"):
        Dataset.open(again.output)
    again.source = room.source
    again.prepare()
    assert sha256_folder(again.output) == whole


MEASURED = """
import math, re, sys
from pathlib import Path
from pixloop.config import DataConfig
from pixloop.data import inspection
from pixloop.data.prepare import prepare
if __name__ == "__main__":
    inspection._ALONE_S = math.inf  # so that pictures are checked in the memory that is measured
    source, made = map(Path, sys.argv[1:])
    prepare(DataConfig(train="source"), source, None, made / "set", made / "work")
    # Not getrusage: its peak is at least that of the process that started this one.
    print(re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1])
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is told by Linux")
def test_memory_does_not_grow_with_the_data(room: Room, tmp_path: Path) -> None:
    """300 more incompressible pictures of 120 kB are 36 MB; a third may stay."""
    (tmp_path / "measured.py").write_text(MEASURED)
    rng, peaks = np.random.default_rng(0), []
    for first, end in ((0, 60), (60, 360)):
        for number in range(first, end):
            pixels = rng.integers(0, 256, (200, 200, 3), np.uint8)
            file = room.source / ("cat", "dog")[number % 2] / f"noise{number}.png"
            Image.fromarray(pixels).save(file, compress_level=0)
        command = [sys.executable, str(tmp_path / "measured.py"), room.source, tmp_path / str(end)]
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
        peaks.append(1024 * int(done.stdout))
    assert peaks[1] - peaks[0] < 12_000_000


@pytest.mark.parametrize(
    ("name", "classes", "test"), [("vehicles", 2, 200), ("shapes", 4, 200), ("intel", 6, 540)]
)
@pytest.mark.slow
def test_real_pictures(room: Room, shared_data: Path, name: str, classes: int, test: int) -> None:
    info = room.prepare(train=shared_data / name)
    assert len(info.classes) == classes
    assert sum(info.counts["test"].values()) == test
    assert room.quarantine == {}
