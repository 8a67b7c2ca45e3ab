import pickle
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pixloop.errors import DataError
from pixloop.picture_predictions.parquet_pictures import PictureFile, Stored, find_columns

BYTES = pa.binary()
STRUCT = pa.struct({"bytes": BYTES, "path": pa.string()})


def found(columns: dict[str, Any], column: str | None = None) -> tuple[str, ...]:
    return find_columns(pa.schema(columns), "a.parquet", column).image


def test_the_column_of_pictures_is_found_by_its_type() -> None:
    assert found({"label": pa.int64(), "image": STRUCT}) == ("image", "bytes")
    assert found({"label": pa.int64(), "scan": pa.large_binary()}) == ("scan",)
    assert found({"hash": BYTES, "image": BYTES}) == ("image",)
    assert found({"a": BYTES, "b": STRUCT}, "b") == ("b", "bytes")


@pytest.mark.parametrize(
    ("columns", "column", "message"),
    [
        ({"label": pa.int64()}, None, r"no column can hold pictures; there are label\..*--column"),
        ({"a": BYTES, "b": STRUCT}, None, r"several columns can hold pictures; there are a, b\."),
        ({"a": BYTES}, "b", "the column 'b' is not there"),
        ({"a": BYTES, "b": pa.int64()}, "b", "the column 'b' is int64"),
        ({"a": pa.struct({"path": pa.string()})}, "a", "the column 'a' is struct"),
    ],
)
def test_what_cannot_be_found_is_said(
    columns: dict[str, Any], column: str | None, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        found(columns, column)


def test_what_says_which_picture_it_is_comes_along() -> None:
    columns = find_columns(
        pa.schema({"image": BYTES, "file_name": pa.string(), "sha256": pa.string()}), "a"
    )
    assert (columns.path, columns.sha256) == (("file_name",), ("sha256",))
    inside = find_columns(pa.schema({"image": STRUCT, "path": pa.string()}), "a")
    assert (inside.path, inside.sha256) == (("image", "path"), None)


def stored(rows: list[dict[str, Any]], schema: Any = None) -> list[Stored]:
    file = BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema), file, row_group_size=2)
    pictures = PictureFile("a.parquet", file)
    return [row for group in range(len(pictures.groups())) for row in pictures.read(group)]


def test_rows_are_read_with_what_is_missing() -> None:
    rows = [
        {"image": {"bytes": b"1", "path": "1.png"}, "sha256": "x"},
        {"image": {"bytes": None, "path": "2.png"}, "sha256": None},
        {"image": None, "sha256": "z"},
    ]
    assert stored(rows) == [
        Stored(b"1", "1.png", "x"),
        Stored(None, "2.png", None),
        Stored(None, None, "z"),
    ]
    dotted = [{"my.image": b"1"}]
    assert stored(dotted) == [Stored(b"1", None, None)]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_text_that_is_no_utf8_is_read(kind: Any) -> None:
    """Parquet does not check it, and Latin-1 is written as text often enough."""
    odd = pa.array([b"caf\xe9.png", "ü.png".encode(), None], pa.binary())
    if kind == pa.large_string():
        odd = odd.cast(pa.large_binary())
    # Casting would check.
    text = pa.Array.from_buffers(kind, len(odd), odd.buffers())
    image = pa.StructArray.from_arrays([pa.array([b"1"] * 3, BYTES), text], ["bytes", "path"])
    for table in (
        pa.table({"image": pa.array([b"1"] * 3, BYTES), "path": text}),
        pa.table({"image": image}),
    ):
        file = BytesIO()
        pq.write_table(table, file)
        rows = list(PictureFile("a.parquet", file).read(0))
        assert [row.path for row in rows] == [r"caf\xe9.png", "ü.png", None]


def test_what_is_no_parquet_is_said_so() -> None:
    with pytest.raises(DataError, match=r"a\.parquet cannot be read as Parquet"):
        PictureFile("a.parquet", BytesIO(b"PAR1 and no more"))


class Trap:
    def __reduce__(self) -> Any:
        return Path.touch, (Path("sprung"),)


def test_nothing_is_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray registers types whose values are pickles; a file may say that it holds them."""
    monkeypatch.chdir(tmp_path)
    data = pytest.importorskip("ray.data")
    assert data is not None
    extension = {
        b"ARROW:extension:name": b"ray.data.arrow_pickled_object",
        b"ARROW:extension:metadata": b"",
    }
    fields = [pa.field("image", pa.large_binary(), metadata=extension)]
    file = BytesIO()
    table = pa.Table.from_arrays([pa.array([pickle.dumps(Trap())], pa.large_binary())], ["image"])
    pq.write_table(table.cast(pa.schema(fields)), file)
    with pytest.raises(DataError, match="no column can hold pictures"):
        PictureFile("a.parquet", file)
    assert not Path("sprung").exists()
