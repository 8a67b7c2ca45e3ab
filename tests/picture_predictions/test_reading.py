"""Rows of Parquet files, read ahead of whoever takes them."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pixloop.picture_predictions.listing import Input
from pixloop.picture_predictions.parquet_pictures import PictureFile, Stored
from pixloop.picture_predictions.parts import Answering, Plan
from pixloop.picture_predictions.places import Stores
from pixloop.picture_predictions.planning import write_plan
from pixloop.picture_predictions.reading import read_parts


def test_few_rows_are_read_ahead_though_they_have_no_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else all rows of a file would be held."""
    rows = pa.table({"image": pa.nulls(3_000, pa.binary())})
    (tmp_path / "set").mkdir()
    pq.write_table(rows, tmp_path / "set/a.parquet")
    answering = Answering(model="m:1", bundle="0" * 64, graph="onnx")
    write_plan(tmp_path / "plan", Input(places=(str(tmp_path / "set"),)), answering, Stores())
    read = 0
    whole = PictureFile.read

    def counted(self: PictureFile, group: int) -> Iterator[Stored]:
        nonlocal read
        for row in whole(self, group):
            read += 1
            yield row

    monkeypatch.setattr(PictureFile, "read", counted)
    with Plan(BytesIO((tmp_path / "plan").read_bytes()), "plan") as plan:
        for taken, each in enumerate(read_parts(plan, range(3), Stores(), most=5_000)):
            assert str(each.data) == "the row holds no picture"
            assert read <= taken + 10 + 3
    assert read == 3_000
