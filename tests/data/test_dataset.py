import hashlib
import json
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest

from pixloop.data import dataset as dataset_module
from pixloop.data.dataset import SPLITS, Dataset, DatasetWriter, Objects, Row, Split
from pixloop.errors import DataError

PNG_1X1 = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b55"
    "0000000a49444154789c6360000000020001e221bc330000000049454e44ae426082"
)


def make_row(number: int, image: bytes = PNG_1X1) -> Row:
    return Row(
        image=image,
        path=f"pictures/{number}.png",
        label=number % 2,
        width=1,
        height=1,
        sha256=hashlib.sha256(str(number).encode()).hexdigest(),
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    writer = DatasetWriter(tmp_path / "dataset", ("cat", "dog"))
    for number in range(300):
        writer.add("train", make_row(number), source=f"labels.csv:{number + 2}")
    for number in range(300, 303):
        writer.add("test", make_row(number))
    writer.finish((0.1, 0.2, 0.3), (1.0, 1.0, 1.0))
    return tmp_path / "dataset"


def test_rows_come_back_as_written_in_any_order(folder: Path) -> None:
    split = Dataset.open(folder).split("train")
    assert len(split) == 300
    for number in (0, 63, 64, 299, 5, 128, 64):
        assert split.read(number) == make_row(number)
    assert list(split) == [make_row(number) for number in range(300)]


def test_info_counts_every_split_and_class(folder: Path) -> None:
    info = Dataset.open(folder).info
    assert info.classes == ("cat", "dog")
    assert set(info.counts) == set(SPLITS)
    assert info.counts["train"] == {"cat": 150, "dog": 150}
    assert info.counts["test"] == {"cat": 2, "dog": 1}
    assert info.counts["validation"] == {"cat": 0, "dog": 0}
    assert info.pictures == {"train": 300, "validation": 0, "calibration": 0, "test": 3}
    assert info.channel_mean == (0.1, 0.2, 0.3)


def test_a_description_without_pictures_is_read(folder: Path) -> None:
    raw = json.loads((folder / "dataset.json").read_text())
    del raw["pictures"]
    (folder / "dataset.json").write_text(json.dumps(raw | {"format_version": 1}))
    assert Dataset.open(folder).info.pictures == {}


def test_the_hash_of_a_classification_data_set_stays_what_it_was(folder: Path) -> None:
    expected = "8683168db1caa3e3ca19c5b85b5fd3a553243d83ea150188531b37b60f2cf0ef"
    assert Dataset.open(folder).info.sha256 == expected


def test_labels_of_full_and_of_empty_splits(folder: Path) -> None:
    dataset = Dataset.open(folder)
    labels = dataset.split("train").labels
    assert labels.dtype == np.int64
    assert labels.tolist() == [number % 2 for number in range(300)]
    assert dataset.split("validation").labels.shape == (0,)
    assert len(dataset.split("validation")) == 0
    assert list(dataset.split("validation")) == []


@pytest.mark.parametrize("index", [-1, 3, 1000])
def test_an_index_outside_the_split_is_refused(folder: Path, index: int) -> None:
    with pytest.raises(IndexError):
        Dataset.open(folder).split("test").read(index)


def test_a_split_on_disk_says_how_long_its_shards_are_and_needs_no_reading_ahead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset_module, "SHARD_BYTES", 1_000)
    writer = DatasetWriter(tmp_path, ("cat", "dog"))
    for number in range(23):
        writer.add("train", make_row(number, bytes(100)))
    shards = writer.finish().shards
    split = Dataset.open(tmp_path).split("train")
    assert len(shards) > 2
    assert split.shard_rows == tuple(shard.rows for shard in shards)
    assert not split.streams
    split.ahead([0, 1])
    assert Dataset.open(tmp_path).split("test").shard_rows == ()


def test_a_split_pickles_small_even_after_reading(folder: Path) -> None:
    split = Dataset.open(folder).split("train")
    split.read(7)
    pickled = pickle.dumps(split)
    assert len(pickled) < 2000
    copy = pickle.loads(pickled)  # noqa: S301
    assert isinstance(copy, Split)
    assert copy.read(7) == make_row(7)


def test_threads_may_share_a_split(folder: Path) -> None:
    split = Dataset.open(folder).split("train")
    numbers = [n * 37 % 300 for n in range(600)]
    with ThreadPoolExecutor(4) as pool:
        assert [r.path for r in pool.map(split.read, numbers)] == [
            make_row(n).path for n in numbers
        ]


def test_shards_stay_below_their_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset_module, "SHARD_BYTES", 100_000)
    writer = DatasetWriter(tmp_path, ("cat", "dog"))
    rows = [make_row(n, image=bytes([n]) * 10_000) for n in range(50)]
    for row in rows:
        writer.add("train", row)
    info = writer.finish()
    assert len(info.shards) > 1
    assert all((tmp_path / shard.file).stat().st_size <= 105_000 for shard in info.shards)
    split = Dataset.open(tmp_path).split("train")
    assert list(split) == rows
    assert [split.read(n) for n in range(50)] == rows


def test_a_split_of_many_shards_holds_few_of_them_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset_module, "SHARD_BYTES", 1)
    writer = DatasetWriter(tmp_path, ("cat", "dog"))
    for number in range(80):
        writer.add("train", make_row(number))
    assert len(writer.finish().shards) == 80
    split = Dataset.open(tmp_path).split("train")
    before = psutil.Process().num_fds()
    for number in (*range(80), *range(79, -1, -1)):
        assert split.read(number) == make_row(number)
    assert psutil.Process().num_fds() - before <= 32


def test_the_hash_tells_pictures_labels_and_splits_apart(tmp_path: Path) -> None:
    def written(split: str, row: Row) -> str:
        writer = DatasetWriter(tmp_path, ("cat", "dog"))
        writer.add(split, row)  # type: ignore[arg-type]
        return writer.finish().sha256

    other_label = Row(PNG_1X1, "pictures/0.png", 1, 1, 1, make_row(0).sha256)
    other_path = Row(PNG_1X1, "elsewhere.png", 0, 1, 1, make_row(0).sha256)
    assert written("train", make_row(0)) == written("train", other_path)
    hashes = [
        written("train", make_row(0)),
        written("train", make_row(2)),
        written("train", other_label),
        written("test", make_row(0)),
    ]
    assert len(set(hashes)) == 4


def test_equal_rows_give_equal_bytes(folder: Path, tmp_path: Path) -> None:
    first = (folder / "train/00000.parquet").read_bytes()
    writer = DatasetWriter(tmp_path / "again", ("cat", "dog"))
    for number in range(300):
        writer.add("train", make_row(number), source=f"labels.csv:{number + 2}")
    writer.finish()
    assert (tmp_path / "again/train/00000.parquet").read_bytes() == first


def test_writing_again_replaces_the_data_set(folder: Path) -> None:
    writer = DatasetWriter(folder, ("cat", "dog"))
    with pytest.raises(DataError, match="no data set"):
        Dataset.open(folder)
    writer.add("train", make_row(0))
    writer.finish()
    assert not (folder / "test/00000.parquet").exists()
    assert len(Dataset.open(folder).split("train")) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no data set"),
        ("{", "not valid JSON"),
        ("{}", "not a data set's description"),
        ('{"format_version": 99}', "newer pixloop"),
    ],
)
def test_what_is_no_data_set_is_refused(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "dataset.json").write_text(content)
    with pytest.raises(DataError, match=message):
        Dataset.open(tmp_path)


def test_a_missing_shard_is_named(folder: Path) -> None:
    (folder / "test/00000.parquet").unlink()
    with pytest.raises(DataError, match=r"test/00000\.parquet is missing"):
        Dataset.open(folder)


def test_an_unknown_split_is_refused(folder: Path) -> None:
    with pytest.raises(DataError, match="no split 'dev'"):
        Dataset.open(folder).split("dev")


def test_the_parquet_is_plain_and_says_where_labels_were_read(folder: Path) -> None:
    table = pq.read_table(folder / "train")
    assert table.num_rows == 300
    assert table["split"][0].as_py() == "train"
    assert table["source"][0].as_py() == "labels.csv:2"
    assert table["image"][0].as_py() == {"bytes": PNG_1X1, "path": "pictures/0.png"}
    column = pq.ParquetFile(folder / "train/00000.parquet").metadata.row_group(0).column(0)
    assert column.path_in_schema == "image.bytes"
    assert column.compression == "UNCOMPRESSED"


def test_hugging_face_datasets_reads_pictures_and_class_names(folder: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    loaded = datasets.load_dataset(
        "parquet",
        data_files={"train": str(folder / "train/*.parquet")},
        cache_dir=str(tmp_path / "cache"),
    )["train"]
    assert isinstance(loaded.features["image"], datasets.Image)
    assert loaded.features["label"].names == ["cat", "dog"]
    assert loaded[1]["image"].size == (1, 1)
    assert json.loads(json.dumps(loaded[1]["label"])) == 1


def make_objects(number: int) -> Objects:
    """``number % 4`` boxes, of which every third is a crowd."""
    count = number % 4
    corner = np.random.default_rng(number).uniform(0, 50, (count, 2))
    size = np.random.default_rng(number + 1).uniform(0.5, 50, (count, 2))
    boxes = np.minimum(np.concatenate([corner, corner + size], axis=1), [100, 80, 100, 80])
    return Objects(boxes, np.arange(count) % 2, np.arange(count) % 3 == 2)


def make_detection_row(number: int, objects: Objects | None = None) -> Row:
    digest = hashlib.sha256(str(number).encode()).hexdigest()
    objects = make_objects(number) if objects is None else objects
    return Row(PNG_1X1, f"pictures/{number}.png", -1, 100, 80, digest, objects)


def assert_equal_objects(actual: Objects | None, expected: Objects | None) -> None:
    assert actual is not None
    assert expected is not None
    assert actual.boxes.dtype == np.float64
    assert actual.boxes.shape == (len(expected), 4)
    np.testing.assert_allclose(actual.boxes, expected.boxes, rtol=0, atol=1e-12)
    assert (actual.labels.dtype, actual.crowd.dtype) == (np.int64, np.bool_)
    np.testing.assert_array_equal(actual.labels, expected.labels)
    np.testing.assert_array_equal(actual.crowd, expected.crowd)


@pytest.fixture
def boxes_folder(tmp_path: Path) -> Path:
    writer = DatasetWriter(tmp_path / "boxes", ("cat", "dog"), "detection")
    for number in range(150):
        writer.add("train", make_detection_row(number))
    writer.finish()
    return tmp_path / "boxes"


def test_objects_come_back_as_written(boxes_folder: Path) -> None:
    split = Dataset.open(boxes_folder).split("train")
    copy = pickle.loads(pickle.dumps(split))  # noqa: S301
    for number in (0, 3, 63, 64, 149, 5):
        row = copy.read(number)
        assert row.label == -1
        assert_equal_objects(row.objects, make_objects(number))
    for number, row in enumerate(split):
        assert_equal_objects(row.objects, make_objects(number))
    assert len(split.objects) == 150
    for number, objects in enumerate(split.objects):
        assert_equal_objects(objects, make_objects(number))
        assert (objects.boxes[:, 2:] <= [100, 80]).all()
    assert Dataset.open(boxes_folder).split("test").objects == []


def test_boxes_at_the_edge_come_back_inside(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    boxes = np.empty((5000, 4))
    boxes[:, :2] = random.uniform(0, 79, (5000, 2)) * random.uniform(0, 1, (5000, 1)) ** 9
    boxes[:, 2:] = 100, 80
    objects = Objects(boxes, np.zeros(5000, int), np.zeros(5000, bool))
    writer = DatasetWriter(tmp_path, ("cat",), "detection")
    writer.add("train", make_detection_row(0, objects))
    writer.finish()
    read = Dataset.open(tmp_path).split("train").read(0).objects
    assert read is not None
    assert (read.boxes[:, 2:] == [100.0, 80.0]).all()


def test_boxes_that_are_no_crowd_are_counted(boxes_folder: Path) -> None:
    info = Dataset.open(boxes_folder).info
    assert info.task == "detection"
    assert info.pictures["train"] == 150
    assert info.counts["train"] == {"cat": 112, "dog": 74}
    assert info.counts["test"] == {"cat": 0, "dog": 0}


def test_the_hash_tells_boxes_labels_and_crowds_apart(tmp_path: Path) -> None:
    def written(boxes: list[list[float]], labels: list[int], crowd: list[bool]) -> str:
        objects = Objects(np.array(boxes).reshape(-1, 4), np.array(labels, int), np.array(crowd))
        writer = DatasetWriter(tmp_path, ("cat", "dog"), "detection")
        writer.add("train", make_detection_row(0, objects))
        return writer.finish().sha256

    box = [1.0, 2.0, 30.0, 40.5]
    hashes = [
        written([], [], []),
        written([box], [0], [False]),
        written([box], [1], [False]),
        written([box], [0], [True]),
        written([[1.0, 2.0, 30.0, 40.25]], [0], [False]),
        written([box, box], [0, 0], [False, False]),
    ]
    assert len(set(hashes)) == len(hashes)
    assert written([box], [0], [False]) == hashes[1]


def test_a_detection_row_needs_objects(tmp_path: Path) -> None:
    writer = DatasetWriter(tmp_path, ("cat", "dog"), "detection")
    with pytest.raises(ValueError, match="has no objects"):
        writer.add("train", make_row(0))


def test_hugging_face_datasets_reads_boxes(boxes_folder: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    files = str(boxes_folder / "train/*.parquet")
    loaded = datasets.load_dataset(
        "parquet", data_files={"train": files}, cache_dir=str(tmp_path / "cache")
    )["train"]
    assert loaded.features["objects"]["category"].feature.names == ["cat", "dog"]
    assert loaded[0]["objects"] == {"bbox": [], "category": [], "crowd": []}
    left, top, right, bottom = make_objects(1).boxes[0].tolist()
    assert loaded[1]["objects"]["bbox"] == [[left, top, right - left, bottom - top]]
    assert loaded[3]["objects"]["category"] == [0, 1, 0]
    assert loaded[3]["objects"]["crowd"] == [False, False, True]
    assert loaded[3]["image"].size == (1, 1)
