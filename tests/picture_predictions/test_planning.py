"""Lists that grow: each file is in one part, and parts that were there stay as they are."""

from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.picture_predictions.many_pictures import write_parquet

from pixloop.picture_predictions.listing import Input
from pixloop.picture_predictions.parts import Answering, Piece, Plan
from pixloop.picture_predictions.places import Stores
from pixloop.picture_predictions.planning import OtherPictures, write_grown, write_plan

ANSWERING = Answering(model="colours:1", bundle="0" * 64, graph="onnx")


def opened(file: Path) -> Plan:
    return Plan(BytesIO(file.read_bytes()), str(file))


def begun(file: Path, place: Path) -> Plan:
    write_plan(file, Input(places=(str(place),)), ANSWERING, Stores())
    return opened(file)


def parts(plan: Plan) -> list[list[Piece]]:
    return [plan.part(number) for number in range(plan.head.parts)]


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if not (folder / name).exists():
            (folder / name).touch()


@settings(max_examples=30)
@given(st.lists(st.sets(st.integers(0, 60), min_size=1, max_size=12), min_size=2, max_size=4))
def test_what_has_come_makes_parts_after_those_that_are_there(
    tmp_path_factory: pytest.TempPathFactory, days: list[set[int]]
) -> None:
    folder = tmp_path_factory.mktemp("days")
    place, file = folder / "pictures", folder / "plan"
    seen: set[int] = set()
    plan = None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pixloop.picture_predictions.planning.PART_PICTURES", 3)
        for day in days:
            touch(place, *(f"{number % 3}/{number:02}.png" for number in day))
            if plan is None:
                plan, before, identities = begun(file, place), [], []
            else:
                before = parts(plan)
                identities = [plan.head.identity_of(number) for number in range(len(before))]
                assert write_grown(file, plan, Stores()) == bool(day - seen)
                plan = opened(file)
            seen |= day
            after = parts(plan)
            assert after[: len(before)] == before
            known = [plan.head.identity_of(number) for number in range(len(after))]
            assert known[: len(before)] == identities
            assert not set(known[len(before) :]) & set(identities)
            sources = [piece.source for part in after for piece in part]
            assert sorted(sources) == sorted(map(str, place.glob("*/*")))
            assert (plan.head.pictures, plan.head.files) == (len(seen), len(seen))


def test_parquet_files_that_have_come_are_added(tmp_path: Path, small_parts: None) -> None:
    write_parquet(tmp_path / "set/b.parquet", ["red"] * 7, group=7)
    plan = begun(tmp_path / "plan", tmp_path / "set")
    write_parquet(tmp_path / "set/a.parquet", ["red"] * 6, group=3)
    assert write_grown(tmp_path / "plan", plan, Stores())
    grown = opened(tmp_path / "plan")
    assert parts(grown)[: plan.head.parts] == parts(plan)
    assert (grown.head.pictures, grown.head.parts) == (13, 3)
    assert [Path(piece.source).name for piece in parts(grown)[2]] == ["a.parquet"] * 2


@pytest.mark.parametrize("change", ["changed", "gone"])
def test_a_list_of_which_something_is_not_as_it_was_does_not_grow(
    tmp_path: Path, change: str
) -> None:
    place = tmp_path / "pictures"
    touch(place, "a.png", "b.png", "c.png")
    plan = begun(tmp_path / "plan", place)
    content = (tmp_path / "plan").read_bytes()
    touch(place, "aa.png", "z.png")
    if change == "changed":
        (place / "b.png").write_bytes(b"other")
    else:
        (place / "b.png").unlink()
    with pytest.raises(OtherPictures, match=rf"b\.png (has|is) {change} since"):
        write_grown(tmp_path / "plan", plan, Stores())
    assert (tmp_path / "plan").read_bytes() == content
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pictures", "plan"]
