"""A data set on a real server of S3's protocol, moto's."""

import hashlib
import multiprocessing
import pickle
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.moto_s3 import empty_bucket, serve_s3, store

from pixloop.data import dataset as dataset_module
from pixloop.data import remote_shards
from pixloop.data.dataset import Dataset, DatasetWriter, Row, Split
from pixloop.data.remote_dataset import ADDRESS, is_prepared, write_note
from pixloop.data.shard_cache import FOLDER, SIZE, ShardCache
from pixloop.errors import DataError, SourceError

pytestmark = pytest.mark.integration

ADDRESS_OF_DATA = "s3://bucket/sets/digits"
ROWS, SHARD_ROWS = 96, 8


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with serve_s3() as address:
        yield address


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(FOLDER, str(tmp_path / "cache"))
    monkeypatch.setattr(remote_shards, "_WAITS_S", (0.0, 0.0))
    return tmp_path / "cache"


@pytest.fixture
def s3(server: str, cache: Path) -> Iterator[Any]:
    with empty_bucket(server) as client:
        yield client


def make_row(number: int) -> Row:
    image = np.random.default_rng(number).bytes(1000)
    sha256 = hashlib.sha256(image).hexdigest()
    return Row(image, f"{number}.png", number % 2, 1, 1, sha256)


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of twelve shards for training and one for testing."""
    folder = tmp_path_factory.mktemp("data") / "digits"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dataset_module, "SHARD_BYTES", SHARD_ROWS * 1250)
        writer = DatasetWriter(folder, ("cat", "dog"))
        for number in range(ROWS):
            writer.add("train", make_row(number), source=f"labels.csv:{number}")
        for number in range(ROWS, ROWS + 5):
            writer.add("test", make_row(number))
        writer.finish()
    return folder


@pytest.fixture
def stored(s3: Any, local: Path) -> Any:
    """The data set on S3; gives the client."""
    store(s3, local, "sets/digits")
    return s3


def shard_files(cache: Path) -> list[Path]:
    return sorted(cache.glob("*.parquet*"))


def kept_bytes(cache: Path, limit: int) -> int:
    """What the shards in the cache have now.

    Others come and go while they are listed, so that more than ``limit`` must be seen twice.
    """
    for _ in range(2):
        found = 0
        for file in shard_files(cache):
            with suppress(FileNotFoundError):
                found += file.stat().st_size
        if found <= limit:
            break
    return found


def wait_for(what: Callable[[], bool]) -> None:
    for _ in range(600):
        if what():
            return
        time.sleep(0.05)
    raise AssertionError("it did not come")


@pytest.mark.parametrize("place", [ADDRESS_OF_DATA, ADDRESS_OF_DATA + "/", Path(ADDRESS_OF_DATA)])
def test_an_address_is_opened_like_a_folder(stored: Any, local: Path, place: str | Path) -> None:
    data = Dataset.open(place)
    assert data.info == Dataset.open(local).info
    assert str(data) == ADDRESS_OF_DATA


def test_rows_are_those_of_the_folder(stored: Any, local: Path) -> None:
    there, here = Dataset.open(ADDRESS_OF_DATA), Dataset.open(local)
    for name in ("train", "test", "validation"):
        remote, split = there.split(name), here.split(name)
        assert list(remote) == list(split)
        assert len(remote) == len(split)
        assert remote.shard_rows == split.shard_rows
        assert remote.labels.tolist() == split.labels.tolist()
        assert remote.sources == split.sources
    train, expected = there.split("train"), here.split("train")
    assert train.streams
    assert len(train.shard_rows) == ROWS // SHARD_ROWS
    for number in (0, 95, 8, 7, 40, 95, 3, 64, 16, 24, 32, 48, 56, 72, 80, 1):
        assert train.read(number) == expected.read(number)


def test_opening_reads_no_picture(stored: Any, cache: Path) -> None:
    train = Dataset.open(ADDRESS_OF_DATA).split("train")
    assert len(train) == ROWS
    assert len(pickle.dumps(train)) < 200 * len(train.shard_rows) + 2000
    assert not cache.exists()


def test_what_is_asked_ahead_comes_without_being_read(stored: Any, cache: Path) -> None:
    train = Dataset.open(ADDRESS_OF_DATA).split("train")
    train.ahead([3, 4, 5, 6, 7, 8])
    wait_for(lambda: len(list(cache.glob("*.parquet"))) == 6)
    key = "sets/digits/train/00005.parquet"
    stored.delete_object(Bucket="bucket", Key=key)
    assert train.read(5 * SHARD_ROWS) == make_row(5 * SHARD_ROWS)


def test_reading_in_order_reads_ahead(stored: Any, cache: Path) -> None:
    rows = iter(Dataset.open(ADDRESS_OF_DATA).split("train"))
    assert next(rows) == make_row(0)
    wait_for(lambda: len(list(cache.glob("*.parquet"))) == 3)


def test_reading_by_number_in_order_reads_ahead(stored: Any, cache: Path) -> None:
    train = Dataset.open(ADDRESS_OF_DATA).split("train")
    train.read(0)
    wait_for(lambda: len(list(cache.glob("*.parquet"))) == 3)
    train.read(SHARD_ROWS)
    wait_for(lambda: len(list(cache.glob("*.parquet"))) == 4)


def test_a_shard_is_fetched_once_while_it_is_kept(stored: Any, cache: Path) -> None:
    assert len(list(Dataset.open(ADDRESS_OF_DATA).split("train"))) == ROWS
    before = {file.name: file.stat().st_ino for file in shard_files(cache)}
    assert len(before) == ROWS // SHARD_ROWS
    assert len(list(Dataset.open(ADDRESS_OF_DATA).split("train"))) == ROWS
    assert {file.name: file.stat().st_ino for file in shard_files(cache)} == before


def largest_shard(local: Path) -> int:
    return max(file.stat().st_size for file in local.rglob("*.parquet"))


def test_the_cache_stays_within_its_bound(
    stored: Any, local: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = 5 * largest_shard(local)
    monkeypatch.setenv(SIZE, str(limit / 1e9))
    train = Dataset.open(ADDRESS_OF_DATA).split("train")
    kept = []
    for number, row in enumerate(train):
        assert row == make_row(number)
        kept.append(kept_bytes(cache, limit))
    random = np.random.default_rng(0).integers(ROWS, size=100)
    for number in random.tolist():
        assert train.read(number) == make_row(number)
        kept.append(kept_bytes(cache, limit))
    assert max(kept) <= limit
    assert max(kept) > limit - 2 * largest_shard(local)


def test_the_least_recently_used_shard_goes(
    stored: Any, local: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SIZE, str(3 * largest_shard(local) / 1e9))

    fetched = Dataset.open(ADDRESS_OF_DATA).split("train")._files.path
    first, second, third = fetched(0), fetched(1), fetched(2)
    content = first.open("rb")
    fetched(1)
    fetched(0)
    fourth = fetched(3)
    assert not third.exists()
    assert first.exists()
    assert second.exists()
    fetched(4)
    fetched(5)
    assert not first.exists()
    assert not second.exists()
    assert fourth.exists()
    # POSIX: who has it open reads on.
    expected = Dataset.open(local).folder / "train/00000.parquet"
    assert content.read() == expected.read_bytes()
    content.close()


def test_a_cache_that_is_too_small_is_told(
    stored: Any, local: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SIZE, str(3 * largest_shard(local) / 1e9))
    train = Dataset.open(ADDRESS_OF_DATA).split("train")
    with pytest.raises(DataError, match=SIZE):
        train.ahead([0, 1, 2, 3])
    monkeypatch.setenv(SIZE, "0.000001")
    with pytest.raises(DataError, match=f"{ADDRESS_OF_DATA}/test/00000.parquet.*{SIZE}"):
        Dataset.open(ADDRESS_OF_DATA).split("test").read(0)
    for wrong in ("many", "-1", "0", "nan", "inf"):
        monkeypatch.setenv(SIZE, wrong)
        with pytest.raises(DataError, match=f"{SIZE} is '{wrong}'"):
            Dataset.open(ADDRESS_OF_DATA).split("train")


def read_all(split: Split, start: Any, answers: Any) -> None:
    start.wait()
    answers.put([row.sha256 for row in split])


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ranges of shards that the server, which runs in this process, is asked for."""
    responses = pytest.importorskip("moto.s3.responses").S3Response
    answer, served = responses.get_object, []

    def noted(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.method == "GET" and self.path.endswith(".parquet"):
            served.append(f"{self.path} {self.headers['Range']}")
        return answer(self, *args, **kwargs)

    monkeypatch.setattr(responses, "get_object", noted)
    return served


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_share_what_is_fetched(
    stored: Any, cache: Path, served: list[str], method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[2])  # for a spawned one to find this module
    train = Dataset.open(ADDRESS_OF_DATA).split("train")
    train.read(0)  # this process has a connection of its own by now
    train.ahead([1, 2, 3])
    context: Any = multiprocessing.get_context(method)
    start, answers = context.Barrier(3), context.Queue()
    workers = [context.Process(target=read_all, args=(train, start, answers)) for _ in range(3)]
    for worker in workers:
        worker.start()
    expected = [make_row(number).sha256 for number in range(ROWS)]
    assert [answers.get(timeout=60) for _ in workers] == [expected] * 3
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert len(served) == len(set(served)) == ROWS // SHARD_ROWS
    assert not list(cache.glob("*.part"))


KILLED = f"""
import os, sys
from pixloop.data import remote_shards
from pixloop.data.dataset import Dataset
remote_shards._BLOCK = 3000
files = remote_shards.open_filesystem

class Slow:  # the third block never comes
    def __init__(self, inner): self.inner, self.asked = inner, 0
    def __getattr__(self, name): return getattr(self.inner, name)
    def open(self, *args, **kwargs):
        opened = self.inner.open(*args, **kwargs)
        read = opened.read
        def slow(n):
            self.asked += 1
            if self.asked == 3:
                print("two blocks", flush=True)
                sys.stdin.read()
            return read(n)
        opened.read = slow
        return opened

remote_shards.open_filesystem = lambda: Slow(files())
Dataset.open("{ADDRESS_OF_DATA}").split("test").read(0)
"""


def test_a_fetch_that_was_killed_is_taken_up(
    stored: Any, local: Path, cache: Path, served: list[str]
) -> None:
    size = (local / "test/00000.parquet").stat().st_size
    assert size > 6000
    with subprocess.Popen(
        [sys.executable, "-c", KILLED], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "two blocks\n"
        process.kill()
    (part,) = shard_files(cache)
    assert part.suffix == ".part"
    assert part.stat().st_size == 6000
    served.clear()
    rows = list(Dataset.open(ADDRESS_OF_DATA).split("test"))
    assert rows == list(Dataset.open(local).split("test"))
    (asked,) = served
    assert asked.partition(" ")[2].startswith("bytes=6000-")
    (whole,) = shard_files(cache)
    assert whole.read_bytes() == (local / "test/00000.parquet").read_bytes()


def test_what_is_being_fetched_does_not_make_room(
    stored: Any, local: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards = ShardCache(cache, 2 * largest_shard(local))
    size = largest_shard(local)
    with shards.fetching(shards.place("a", "1", size)) as first:
        assert first is not None
        with shards.fetching(shards.place("b", "1", size)) as second:
            assert second is not None
            second.write_bytes(bytes(size))
        with shards.fetching(shards.place("c", "1", size)) as third:
            assert third is not None
            third.write_bytes(bytes(size))
        assert not shards.has(shards.place("b", "1", size))
        assert first.exists()
        with shards.fetching(shards.place("a", "1", size), wait=False) as again:
            assert again is None
        first.write_bytes(bytes(size))
    assert shards.has(shards.place("a", "1", size))
    with shards.fetching(shards.place("a", "1", size)) as again:
        assert again is None


def test_a_break_is_waited_out_and_nothing_is_fetched_twice(
    stored: Any,
    local: Path,
    cache: Path,
    served: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(remote_shards, "_BLOCK", 5000)
    go_on, breaks = remote_shards._go_on, [True, True]

    def broken(files: Any, shard: Any, part: Path) -> None:
        if breaks:
            breaks.pop()
            with part.open("ab") as file:
                start = file.tell()
                file.write((local / "test/00000.parquet").read_bytes()[start : start + 2000])
            raise OSError("the line is dead")
        go_on(files, shard, part)

    monkeypatch.setattr(remote_shards, "_go_on", broken)
    rows = list(Dataset.open(ADDRESS_OF_DATA).split("test"))
    assert rows == list(Dataset.open(local).split("test"))
    assert served[0].endswith("bytes=4000-8999")
    breaks.extend([True] * 3)
    (whole,) = shard_files(cache)
    whole.unlink()
    with pytest.raises(SourceError, match=r"test/00000.parquet cannot be fetched: the line is"):
        Dataset.open(ADDRESS_OF_DATA).split("test").read(0)


def test_a_shard_that_was_changed_is_told_and_another_opening_takes_it(
    stored: Any, local: Path, cache: Path
) -> None:
    train = Dataset.open(ADDRESS_OF_DATA).split("train")
    stored.upload_file(
        str(local / "train/00001.parquet"), "bucket", "sets/digits/train/00000.parquet"
    )
    with pytest.raises(DataError, match=r"train/00000.parquet has changed since"):
        train.read(0)
    assert Dataset.open(ADDRESS_OF_DATA).split("train").read(0) == make_row(SHARD_ROWS)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"no Parquet", "cannot be read"), (None, "has 8 rows; dataset.json promises .* of 5 rows")],
)
def test_what_is_not_the_promised_shard_is_refused_and_not_kept(
    stored: Any, local: Path, cache: Path, content: bytes | None, message: str
) -> None:
    content = content or (local / "train/00000.parquet").read_bytes()
    stored.put_object(Bucket="bucket", Key="sets/digits/test/00000.parquet", Body=content)
    with pytest.raises(DataError, match=f"{ADDRESS_OF_DATA}/test/00000.parquet {message}"):
        Dataset.open(ADDRESS_OF_DATA).split("test").read(0)
    assert shard_files(cache) == []


def test_what_is_missing_is_told(stored: Any) -> None:
    with pytest.raises(DataError, match=r"s3://bucket/nothing is no data set"):
        Dataset.open("s3://bucket/nothing")
    with pytest.raises(DataError, match=r"s3://nobody/digits is no data set"):
        Dataset.open("s3://nobody/digits")
    train = Dataset.open(ADDRESS_OF_DATA).split("train")
    stored.delete_object(Bucket="bucket", Key="sets/digits/train/00003.parquet")
    with pytest.raises(DataError, match=f"{ADDRESS_OF_DATA}/train/00003.parquet is missing"):
        train.read(3 * SHARD_ROWS)
    with pytest.raises(DataError, match=f"{ADDRESS_OF_DATA} is incomplete: train/00003.parquet"):
        Dataset.open(ADDRESS_OF_DATA)
    stored.put_object(Bucket="bucket", Key="sets/digits/dataset.json", Body=b"{")
    with pytest.raises(DataError, match=f"{ADDRESS_OF_DATA}/dataset.json is not valid JSON"):
        Dataset.open(ADDRESS_OF_DATA)


def test_who_has_no_access_is_told(stored: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import s3fs

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError("Access Denied")

    train = Dataset.open(ADDRESS_OF_DATA).split("train")
    monkeypatch.setattr(s3fs.S3FileSystem, "open", refuse)
    with pytest.raises(SourceError, match=f"{ADDRESS_OF_DATA}/train/00000.parquet: no access"):
        train.read(0)
    monkeypatch.setattr(s3fs.S3FileSystem, "cat_file", refuse)
    with pytest.raises(SourceError, match=f"{ADDRESS_OF_DATA}: no access"):
        Dataset.open(ADDRESS_OF_DATA)


def test_without_s3fs_it_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(SourceError, match=f"{ADDRESS_OF_DATA}.*pip install 'pixloop\\[s3\\]'"):
        Dataset.open(ADDRESS_OF_DATA)


def test_a_cache_that_cannot_be_written_is_told(
    stored: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv(FOLDER, str(tmp_path / "file"))
    with pytest.raises(DataError, match=f"{tmp_path}/file.*{FOLDER}"):
        Dataset.open(ADDRESS_OF_DATA).split("train").read(0)


def test_a_note_stands_for_the_data_set(stored: Any, local: Path, tmp_path: Path) -> None:
    stored.put_object(Bucket="bucket", Key="sets/digits/data_report.json", Body=b"{}")
    assert is_prepared(ADDRESS_OF_DATA)
    assert not is_prepared("s3://bucket/sets")
    note = write_note(ADDRESS_OF_DATA, tmp_path / "note")
    names = sorted(path.name for path in note.iterdir())
    assert names == [ADDRESS, "data_report.json", "dataset.json"]
    data = Dataset.open(note)
    assert str(data) == ADDRESS_OF_DATA
    assert data.bytes == Dataset.open(local).bytes
    assert list(data.split("test")) == list(Dataset.open(local).split("test"))
    before = {path: path.stat().st_mtime_ns for path in note.iterdir()}
    stored.delete_object(Bucket="bucket", Key="sets/digits/data_report.json")
    write_note(ADDRESS_OF_DATA, note)
    after = {path: path.stat().st_mtime_ns for path in note.iterdir()}
    assert after == {k: v for k, v in before.items() if k.name != "data_report.json"}


def test_a_note_of_what_has_changed_is_told(stored: Any, local: Path, tmp_path: Path) -> None:
    note = write_note(ADDRESS_OF_DATA, tmp_path / "note")
    text = (local / "dataset.json").read_text().replace('"sha256": "', '"sha256": "f')
    stored.put_object(Bucket="bucket", Key="sets/digits/dataset.json", Body=text.encode())
    data = Dataset.open(note)
    with pytest.raises(DataError, match=f"{ADDRESS_OF_DATA} holds another data set"):
        data.split("train")
    write_note(ADDRESS_OF_DATA, note)
    assert Dataset.open(note).split("test").read(0) == make_row(ROWS)
