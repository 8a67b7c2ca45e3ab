"""The same command once more: it goes on, or says what differs."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.picture_predictions.interrupted import Killed, stopping_after
from tests.picture_predictions.many_pictures import (
    answers,
    contents,
    part_files,
    write_files,
    write_parquet,
)

from pixloop.bundle import Bundle
from pixloop.errors import DataError

pytestmark = pytest.mark.usefixtures("small_parts")
COUNT = 23


def test_the_same_command_goes_on_and_gives_the_same_bytes(tmp_path: Path, run: Any) -> None:
    write_files(tmp_path / "pictures", COUNT)
    run(output=tmp_path / "whole")
    with pytest.raises(Killed):
        run(engine=stopping_after(2))
    assert len(part_files(tmp_path / "answers")) == 2
    assert not (tmp_path / "answers/_summary.json").exists()
    kept = part_files(tmp_path / "answers")[0].stat().st_mtime_ns
    assert run().earlier == 10
    assert part_files(tmp_path / "answers")[0].stat().st_mtime_ns == kept
    assert contents(tmp_path / "answers") == contents(tmp_path / "whole")
    assert run().earlier == COUNT  # and once more does nothing


def test_files_that_are_not_this_runs_answers_are_replaced(tmp_path: Path, run: Any) -> None:
    write_files(tmp_path / "pictures", COUNT)
    run()
    whole = contents(tmp_path / "answers")
    files = part_files(tmp_path / "answers")
    shutil.copyfile(files[0], files[1])  # another part's
    files[2].write_bytes(files[2].read_bytes()[:-100])  # cut
    write_parquet(files[3], ["red"])  # anything
    assert run().earlier == 8
    assert contents(tmp_path / "answers") == whole


def test_another_model_is_told_and_can_begin_anew(
    tmp_path: Path, run: Any, boxes_bundle: Bundle
) -> None:
    write_files(tmp_path / "pictures", COUNT)
    run()
    before = contents(tmp_path / "answers")
    with pytest.raises(DataError, match=r"another model: colours:1 .*, and things:2 .*--restart"):
        run(bundle=boxes_bundle, model="things:2")
    assert contents(tmp_path / "answers") == before
    assert run(bundle=boxes_bundle, model="things:2", restart=True).earlier == 0
    rows = answers(tmp_path / "answers")
    assert all((row["boxes"] is None) == (row["error"] is not None) for row in rows)


def test_a_changed_input_is_told_and_can_begin_anew(tmp_path: Path, run: Any) -> None:
    pictures = write_files(tmp_path / "pictures", COUNT)
    run()
    Path(next(iter(pictures))).unlink()
    with pytest.raises(
        DataError, match=r"other pictures: .* gone since; .* 23 files and are 22.*--restart"
    ):
        run()
    with pytest.raises(DataError, match="another input"):
        run(places=[tmp_path / "pictures/0"])
    assert run(restart=True).pictures == COUNT - 1
    assert [row["path"] for row in answers(tmp_path / "answers")] == list(pictures)[1:]


def test_pictures_that_have_come_are_added(tmp_path: Path, run: Any) -> None:
    paths = list(write_files(tmp_path / "pictures", COUNT))
    run()
    before = contents(tmp_path / "answers")
    for names in (("0/0000a.png", "1/z.png"), ("0/0000b.png",), ("a.png", "0/0.png")):
        for name in names:
            shutil.copyfile(paths[0], tmp_path / "pictures" / name)
        earlier = len(paths)
        paths += sorted(str(tmp_path / "pictures" / name) for name in names)
        summary = run()
        assert (summary.earlier, summary.pictures) == (earlier, len(paths))
        after = contents(tmp_path / "answers")
        assert {name: after[name] for name in before} == before
        assert [row["path"] for row in answers(tmp_path / "answers")] == paths
        before = after
    assert run().earlier == len(paths)
    # Anew, they are in the order of their names.
    (tmp_path / "pictures/b.png").write_bytes(b"")
    assert run(restart=True).earlier == 0
    found = [row["path"] for row in answers(tmp_path / "answers")]
    assert found == sorted([*paths, str(tmp_path / "pictures/b.png")])


def test_pictures_that_come_to_an_interrupted_run_are_added(tmp_path: Path, run: Any) -> None:
    paths = list(write_files(tmp_path / "pictures", COUNT))
    with pytest.raises(Killed):
        run(engine=stopping_after(2))
    shutil.copyfile(paths[0], tmp_path / "pictures/0/0.png")
    with pytest.raises(Killed):
        run(engine=stopping_after(1))
    assert run().earlier == 15
    found = [row["path"] for row in answers(tmp_path / "answers")]
    assert found == [*paths, str(tmp_path / "pictures/0/0.png")]


def test_what_says_that_all_is_there_goes_when_pictures_come(tmp_path: Path, run: Any) -> None:
    paths = list(write_files(tmp_path / "pictures", COUNT))
    run()
    shutil.copyfile(paths[0], tmp_path / "pictures/new.png")
    with pytest.raises(Killed):
        run(engine=stopping_after(0))
    assert not (tmp_path / "answers/_summary.json").exists()


def test_a_picture_that_has_changed_is_told(tmp_path: Path, run: Any) -> None:
    paths = list(write_files(tmp_path / "pictures", COUNT))
    run()
    before = contents(tmp_path / "answers")
    (tmp_path / "pictures/new.png").touch()
    Path(paths[7]).write_bytes(b"other")
    with pytest.raises(DataError, match=rf"{paths[7]} has changed since\. Add --restart"):
        run()
    assert contents(tmp_path / "answers") == before


def test_restart_goes_on_where_nothing_differs(tmp_path: Path, run: Any) -> None:
    """After an interruption a person is told that the same command goes on."""
    write_files(tmp_path / "pictures", COUNT)
    with pytest.raises(Killed):
        run(engine=stopping_after(2), restart=True)
    assert run(restart=True).earlier == 10


def test_fewer_parts_than_before_leave_none_behind(tmp_path: Path, run: Any) -> None:
    write_files(tmp_path / "pictures", COUNT)
    run()
    run(places=[tmp_path / "pictures/0"], restart=True)
    assert len(answers(tmp_path / "answers")) == 8


def test_an_input_that_cannot_be_listed_costs_no_answers(tmp_path: Path, run: Any) -> None:
    write_files(tmp_path / "pictures", COUNT)
    run()
    with pytest.raises(DataError, match="nowhere"):
        run(places=[tmp_path / "nowhere"], restart=True)
    assert run().earlier == COUNT
