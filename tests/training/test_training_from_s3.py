"""A network learns the same from S3 as from the disk."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.moto_s3 import empty_bucket, serve_s3, store

from pixloop.config import Config
from pixloop.data import dataset as dataset_module
from pixloop.data.dataset import Dataset
from pixloop.data.remote_dataset import write_note
from pixloop.data.shard_cache import FOLDER, SIZE
from pixloop.data.shard_files import LocalShards
from pixloop.files import sha256_file
from pixloop.training.train import train

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with serve_s3() as address:
        yield address


@pytest.fixture
def s3(server: str) -> Iterator[Any]:
    with empty_bucket(server) as client:
        yield client


@pytest.fixture
def folder(
    tmp_path: Path, make_dataset: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A data set of several windows of shards."""
    monkeypatch.setattr(dataset_module, "SHARD_BYTES", 5_000)
    found = make_dataset(tmp_path / "colours", (40, 40, 40), validation=6)
    assert len(Dataset.open(found).split("train").shard_rows) > 20
    return found


@pytest.mark.parametrize("workers", [0, 2])
def test_weights_are_those_of_the_same_data_on_disk(
    s3: Any,
    folder: Path,
    tmp_path: Path,
    configure: Callable[..., Config],
    monkeypatch: pytest.MonkeyPatch,
    workers: int,
) -> None:
    # Three windows fit, and not the data set.
    monkeypatch.setenv(FOLDER, str(tmp_path / "cache"))
    largest = max(file.stat().st_size for file in folder.rglob("*.parquet"))
    monkeypatch.setenv(SIZE, str(14 * largest / 1e9))
    config = configure({"name": "test_resnet"}, workers=workers)
    address = store(s3, folder, "colours")
    places = {"streamed": address, "noted": write_note(address, tmp_path / "note")}
    for name, place in places.items():
        train(config, place, *(tmp_path / name / part for part in ("out", "kept", "logs")))
    monkeypatch.setattr(LocalShards, "streams", True)  # in windows, too
    train(config, folder, *(tmp_path / "local" / part for part in ("out", "kept", "logs")))
    weights = [
        sha256_file(tmp_path / name / "out" / "weights.safetensors")
        for name in ("local", "streamed", "noted")
    ]
    assert weights[0] == weights[1] == weights[2]
    kept = sum(file.stat().st_size for file in (tmp_path / "cache").glob("*.parquet*"))
    assert 0 < kept <= 14 * largest
