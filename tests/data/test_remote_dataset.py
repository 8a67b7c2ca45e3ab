"""A data set on a real server of S3's protocol, moto's."""

import hashlib
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from pixloop.data import dataset as dataset_module
from pixloop.data import remote_shards
from pixloop.data.dataset import Dataset, DatasetWriter, Row, Split
from pixloop.data.remote_dataset import ADDRESS, is_prepared, write_note
from pixloop.data.shard_cache import FOLDER, SIZE
from pixloop.errors import DataError, SourceError

pytestmark = pytest.mark.integration

ADDRESS_OF_DATA = "s3://bucket/sets/digits"
ROWS, SHARD_ROWS = 96, 8


@pytest.fixture(scope="module")
def moto_server() -> Iterator[str]:
    pytest.importorskip("s3fs")
    moto = pytest.importorskip("moto.server")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(FOLDER, str(tmp_path / "cache"))
    monkeypatch.setattr(remote_shards, "_WAITS_S", (0.0, 0.0))
    return tmp_path / "cache"


@pytest.fixture
def s3(moto_server: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    import boto3

    for name, value in {
        "AWS_ENDPOINT_URL": moto_server,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3", endpoint_url=moto_server)
    client.create_bucket(Bucket="bucket")
    yield client
    httpx.post(f"{moto_server}/moto-api/reset").raise_for_status()


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
    for file in sorted(p for p in local.rglob("*") if p.is_file()):
        key = f"sets/digits/{file.relative_to(local).as_posix()}"
        s3.upload_file(str(file), "bucket", key)
    return s3


def shard_files(cache: Path) -> list[Path]:
    return sorted(cache.glob("*.parquet*"))


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
        kept.append(sum(file.stat().st_size for file in shard_files(cache)))
    random = np.random.default_rng(0).integers(ROWS, size=100)
    for number in random.tolist():
        assert train.read(number) == make_row(number)
        kept.append(sum(file.stat().st_size for file in shard_files(cache)))
    assert max(kept) <= limit
    assert max(kept) > limit - 2 * largest_shard(local)


def test_the_least_recently_used_shard_goes(
    stored: Any, local: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SIZE, str(3 * largest_shard(local) / 1e9))

    def fetched(shard: int) -> Path:
        return Dataset.open(ADDRESS_OF_DATA).split("train")._files.path(shard)

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
    assert not fourth.exists() or len(shard_files(cache)) == 3
    # POSIX: who has it open reads on.
    expected = Dataset.open(local).folder / "train/00000.parquet"
    assert content.read() == expected.read_bytes()
    content.close()


def test_a_cache_that_is_too_small_is_told(
    stored: Any, local: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SIZE, str(7 * largest_shard(local) / 1e9))
    train = Dataset.open(ADDRESS_OF_DATA).split("train")
    with pytest.raises(DataError, match=SIZE):
        train.ahead([0, 1, 2, 3])
    monkeypatch.setenv(SIZE, "0.000001")
    with pytest.raises(DataError, match=f"{ADDRESS_OF_DATA}/train/00000.parquet.*{SIZE}"):
        Dataset.open(ADDRESS_OF_DATA).split("train").read(0)
    for wrong in ("many", "-1", "0", "nan", "inf"):
        monkeypatch.setenv(SIZE, wrong)
        with pytest.raises(DataError, match=f"{SIZE} is '{wrong}'"):
            Dataset.open(ADDRESS_OF_DATA).split("train")


def read_all(split: Split, start: Any, answers: Any) -> None:
    start.wait()
    answers.put([row.sha256 for row in split])


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_share_what_is_fetched(
    stored: Any, cache: Path, method: str, moto_server: str
) -> None:
    train = Dataset.open(ADDRESS_OF_DATA).split("train")
    train.read(0)  # this process has a connection of its own by now
    train.ahead([1, 2, 3])
    requests_before = gets(moto_server)
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
    assert gets(moto_server) - requests_before <= ROWS // SHARD_ROWS
    assert not list(cache.glob("*.part"))


def gets(server: str) -> int:
    """How many shards the server was asked for."""
    return len([path for path in GETS if path.endswith(".parquet")])


GETS: list[str] = []


@pytest.fixture(autouse=True)
def count_gets(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server runs in this process, so it can be asked what it has served."""
    moto = pytest.importorskip("moto.s3.responses")
    GETS.clear()
    get = moto.S3Response.get_object

    def counted(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.method == "GET":
            GETS.append(self.path)
        return get(self, *args, **kwargs)

    monkeypatch.setattr(moto.S3Response, "get_object", counted)
