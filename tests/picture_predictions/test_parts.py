import hashlib
import json
import os
from io import BytesIO
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from tests.picture_predictions.many_pictures import write_files, write_parquet

from pixloop.errors import DataError
from pixloop.picture_predictions.listing import Input, Listing
from pixloop.picture_predictions.parts import Answering, Piece, Plan
from pixloop.picture_predictions.places import Stores
from pixloop.picture_predictions.planning import write_plan

ANSWERING = Answering(model="colours:1", bundle="0" * 64, graph="onnx")


def planned(folder: Path, *places: Path, column: str | None = None, name: str = "plan") -> Plan:
    file = folder / name
    asked = Input(places=tuple(map(str, places)), column=column)
    write_plan(file, asked, ANSWERING, Stores())
    return Plan(BytesIO(file.read_bytes()), str(file))


def pieces(plan: Plan) -> list[Piece]:
    return [piece for number in range(plan.head.parts) for piece in plan.part(number)]


def test_files_are_parted_in_the_order_of_their_names(tmp_path: Path, small_parts: None) -> None:
    names = list(write_files(tmp_path / "pictures", 12))
    plan = planned(tmp_path, tmp_path / "pictures")
    assert (plan.head.parts, plan.head.pictures, plan.head.kind) == (3, 12, "pictures")
    assert [len(plan.part(number)) for number in range(3)] == [5, 5, 2]
    assert [piece.source for piece in pieces(plan)] == names
    assert {(piece.group, piece.rows) for piece in pieces(plan)} == {(None, 1)}


def test_names_that_are_no_text_are_kept(tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/pictures/caf\xe9.jpg"
    (tmp_path / "pictures").mkdir()
    Path(os.fsdecode(name)).touch()
    (piece,) = planned(tmp_path, tmp_path / "pictures").part(0)
    assert os.fsencode(piece.source) == name


def test_row_groups_are_parted_and_large_ones_cut(tmp_path: Path, small_parts: None) -> None:
    write_parquet(tmp_path / "set/a.parquet", ["red"] * 8, group=3)
    write_parquet(tmp_path / "set/b/c.parquet", ["red"] * 20, group=20)
    (tmp_path / "set/_metadata.parquet").touch()
    plan = planned(tmp_path, tmp_path / "set")
    parts = [plan.part(number) for number in range(plan.head.parts)]
    assert [[(p.group, p.first, p.rows, p.skip) for p in part] for part in parts] == [
        [(0, 0, 3, 0), (1, 3, 3, 0)],
        [(2, 6, 2, 0), (0, 0, 5, 0)],
        [(0, 5, 5, 5)],
        [(0, 10, 5, 10)],
        [(0, 15, 5, 15)],
    ]
    assert [plan.begins_inside(number) for number in range(5)] == [False, False, True, True, True]
    assert (plan.head.pictures, plan.head.files, plan.head.kind) == (28, 2, "parquet")


def test_the_same_input_is_planned_the_same(tmp_path: Path) -> None:
    write_files(tmp_path / "pictures", 5)
    plans = [planned(tmp_path, tmp_path / "pictures", name=name) for name in "ab"]
    assert plans[0].head.identity == plans[1].head.identity
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_list_of_the_first_format_is_read(tmp_path: Path) -> None:
    """It knew no cut row groups, and did not grow; answers to it stay its answers."""
    write_files(tmp_path / "pictures", 3)
    new = planned(tmp_path, tmp_path / "pictures")
    head = json.loads(new.head.model_dump_json(exclude={"earlier"})) | {"format": 1}
    text = json.dumps(head, separators=(",", ":"))
    file = BytesIO()
    table = pq.read_table(tmp_path / "plan").drop_columns(["skip"])
    pq.write_table(table.replace_schema_metadata({"pixloop": text}), file)
    with Plan(file, "old") as old:
        assert pieces(old) == pieces(new)
        assert old.head.identity == old.head.identity_of(0)
        assert old.head.identity == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize("change", ["content", "gone", "new", "renamed"])
def test_a_change_of_the_input_is_seen(tmp_path: Path, change: str) -> None:
    first = Path(next(iter(write_files(tmp_path / "pictures", 5))))

    def listed() -> str:
        listing = Listing(Input(places=(str(tmp_path / "pictures"),)), Stores())
        assert len(list(listing)) == listing.files
        return listing.sha256

    before = listed()
    assert listed() == before
    if change == "content":
        first.write_bytes(b"other")
    elif change == "gone":
        first.unlink()
    elif change == "renamed":
        first.rename(first.with_name("other.png"))
    else:
        first.with_name("new.png").touch()
    assert listed() != before


def test_files_of_two_kinds_are_not_guessed_about(tmp_path: Path) -> None:
    write_files(tmp_path / "set", 3)
    write_parquet(tmp_path / "set/z.parquet", ["red"])
    with pytest.raises(DataError, match=r"z\.parquet is the first of the other kind.*--column"):
        planned(tmp_path, tmp_path / "set")
    plan = planned(tmp_path, tmp_path / "set", column="image")
    assert [Path(piece.source).name for piece in pieces(plan)] == ["z.parquet"]


def test_an_input_without_pictures_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/notes.txt").touch()
    with pytest.raises(DataError, match=r"no pictures in .*empty.*\.jpg.*\.parquet"):
        planned(tmp_path, tmp_path / "empty")
    write_files(tmp_path / "files", 2)
    with pytest.raises(DataError, match=r"no Parquet files in .*files.*--column"):
        planned(tmp_path, tmp_path / "files", column="image")
    with pytest.raises(DataError, match="gone cannot be read: No such file"):
        planned(tmp_path, tmp_path / "gone")
    assert not (tmp_path / "plan").exists()


def test_what_is_no_plan_is_refused(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", ["red"])
    (tmp_path / "b").write_text("mine")
    for name in ("a.parquet", "b"):
        with pytest.raises(DataError, match="not what this pixloop writes"):
            Plan((tmp_path / name).open("rb"), name)
