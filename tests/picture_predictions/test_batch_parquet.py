"""The pictures in Parquet files, predicted in parts."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from tests.picture_predictions.interrupted import Killed, stopping_after
from tests.picture_predictions.many_pictures import (
    answers,
    contents,
    labels,
    part_files,
    write_parquet,
)

from pixloop.errors import DataError
from pixloop.picture_predictions.parquet_pictures import PictureFile, Stored

pytestmark = pytest.mark.usefixtures("small_parts")
COUNT = 23


def test_each_row_of_parquet_files_has_a_row(tmp_path: Path, run: Any) -> None:
    colours = {"a": ["red", None, "blue", "green"] * 2, "b/c": ["blue"] * 3}
    for name, each in colours.items():
        write_parquet(tmp_path / f"pictures/{name}.parquet", each)
    assert run().pictures == 11
    rows = answers(tmp_path / "answers")
    assert list(labels(rows)) == [*colours["a"], *colours["b/c"]]
    places = [(Path(row["source"]).stem, row["row"]) for row in rows]
    assert places == [*(("a", i) for i in range(8)), *(("c", i) for i in range(3))]
    assert [(row["path"], int(row["sha256"])) for row in rows] == [
        (f"{i}.png", i) for _, i in places
    ]


def test_a_damaged_row_group_gives_its_rows_as_errors(tmp_path: Path, run: Any) -> None:
    file = tmp_path / "pictures/a.parquet"
    write_parquet(file, ["red"] * 9, group=3)
    damaged = bytearray(file.read_bytes())
    start = pq.read_metadata(file).row_group(1).column(0).data_page_offset
    damaged[start : start + 20] = b"\xff" * 20
    file.write_bytes(damaged)
    assert run().unreadable == 3
    rows = answers(tmp_path / "answers")
    assert [row["row"] for row in rows] == list(range(9))
    assert list(labels(rows)) == ["red"] * 3 + [None] * 3 + ["red"] * 3
    assert "damaged" in rows[4]["error"]


def test_a_large_row_group_is_gone_through_once(
    tmp_path: Path, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What pandas writes is one row group of up to a million rows."""
    colours = ["red", None, "blue", "green"] * 6
    write_parquet(tmp_path / "pictures/a.parquet", colours, group=24)
    begun = []
    read = PictureFile.read

    def counted(self: PictureFile, group: int) -> Iterator[Stored]:
        begun.append(group)
        return read(self, group)

    monkeypatch.setattr(PictureFile, "read", counted)
    assert run(output=tmp_path / "whole").parts == 5
    assert list(labels(answers(tmp_path / "whole"))) == colours
    assert [row["row"] for row in answers(tmp_path / "whole")] == list(range(24))
    assert begun == [0]
    with pytest.raises(Killed):
        run(engine=stopping_after(2))
    assert run().earlier == 10
    assert contents(tmp_path / "answers") == contents(tmp_path / "whole")
    (tmp_path / "answers/part-00001.parquet").unlink()
    (tmp_path / "answers/part-00003.parquet").unlink()
    assert run().earlier == 14
    assert contents(tmp_path / "answers") == contents(tmp_path / "whole")


def test_a_damaged_row_group_is_damaged_for_whoever_goes_on_in_it(tmp_path: Path, run: Any) -> None:
    file = tmp_path / "pictures/a.parquet"
    write_parquet(file, ["red"] * 20, group=20)
    damaged = bytearray(file.read_bytes())
    start = pq.read_metadata(file).row_group(0).column(0).data_page_offset
    damaged[start : start + 20] = b"\xff" * 20
    file.write_bytes(damaged)
    assert run().unreadable == 20
    whole = contents(tmp_path / "answers")
    (tmp_path / "answers/part-00002.parquet").unlink()
    assert run().earlier == 15
    assert contents(tmp_path / "answers") == whole


@pytest.mark.parametrize("change", ["overwritten", "cut"])
def test_a_parquet_file_that_changes_while_it_is_read_stops_the_run(
    tmp_path: Path, run: Any, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    file = tmp_path / "pictures/a.parquet"
    write_parquet(file, ["red"] * COUNT, group=3)
    os.utime(file, ns=(1, 1))
    read = PictureFile.read

    def changing(self: PictureFile, group: int) -> Iterator[Stored]:
        if group == 3 and change == "cut":
            file.write_bytes(file.read_bytes()[:100])
        rows = read(self, group)
        yield next(rows)
        if group == 3 and change == "overwritten":
            write_parquet(file, ["blue"] * COUNT, group=3)
        yield from rows

    monkeypatch.setattr(PictureFile, "read", changing)
    with pytest.raises(DataError, match="has changed since its rows were counted"):
        run()
    assert len(part_files(tmp_path / "answers")) <= 1
    assert not (tmp_path / "answers/_summary.json").exists()
