"""Pictures predicted in parts: one row each, in order, whatever was interrupted."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.certified_bundles import scenes
from tests.picture_predictions.many_pictures import (
    answers,
    contents,
    labels,
    part_files,
    write_files,
    write_parquet,
)

from pixloop.bundle import Bundle
from pixloop.data.check import MAX_FILE_BYTES
from pixloop.errors import ConfigError, DataError
from pixloop.picture_predictions.batch import Batch, BatchSummary, predict_batch, predict_here
from pixloop.picture_predictions.batch_output import BatchOutput
from pixloop.picture_predictions.computing import predict_parts
from pixloop.picture_predictions.parquet_pictures import PictureFile, Stored
from pixloop.picture_predictions.part_answers import Facts, read_facts, write_part
from pixloop.picture_predictions.places import Folders, Stores
from pixloop.picture_predictions.predict import predict_with_bundle
from pixloop.picture_predictions.record import Summary
from pixloop.progress import Advance
from pixloop.serving.predictor import open_predictor

pytestmark = pytest.mark.usefixtures("small_parts")
COUNT = 23


@pytest.fixture
def run(tmp_path: Path, classifier_bundle: Bundle) -> Callable[..., BatchSummary]:
    """Predicts ``pictures`` into ``answers``."""

    def run(**changes: Any) -> BatchSummary:
        how = {"bundle": classifier_bundle, "model": "colours:1", "output": tmp_path / "answers"}
        return predict_batch(**{**how, "places": [tmp_path / "pictures"], **changes})

    return run


def test_each_file_has_a_row_in_the_order_of_names(tmp_path: Path, run: Any) -> None:
    pictures = write_files(tmp_path / "pictures", COUNT)
    summary = run()
    rows = answers(tmp_path / "answers")
    assert [row["path"] for row in rows] == list(pictures)
    assert list(labels(rows)) == list(pictures.values())
    assert [len(pq.read_table(file)) for file in part_files(tmp_path / "answers")] == [5] * 4 + [3]
    broken = list(pictures.values()).count(None)
    assert (summary.pictures, summary.unreadable, summary.parts) == (COUNT, broken, 5)
    assert sum(summary.classes.values()) == summary.accepted + summary.referred == COUNT - broken
    assert json.loads((tmp_path / "answers/_summary.json").read_text()) == summary.model_dump(
        mode="json"
    )


def test_a_folder_of_answers_is_a_data_set_to_others(tmp_path: Path, run: Any) -> None:
    write_files(tmp_path / "pictures", COUNT)
    run()
    assert len(pq.read_table(tmp_path / "answers")) == COUNT


def test_answers_are_those_of_other_ways_to_predict(
    tmp_path: Path, bundle: Bundle, run: Any
) -> None:
    write_files(tmp_path / "pictures", 7)
    for number, scene in enumerate(scenes()):
        (tmp_path / f"pictures/scene-{number}.png").write_bytes(scene)
    run(bundle=bundle)
    rows = answers(tmp_path / "answers")
    for row, answer in zip(
        rows, predict_with_bundle(bundle, [Path(row["path"]) for row in rows]), strict=True
    ):
        known = answer.model_dump(mode="json") | {"source": None, "row": None, "sha256": None}
        found = row | {"probabilities": dict(row["probabilities"] or ()) or None}
        assert found == known


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
        yield from read(self, group)
        if group == 3 and change == "overwritten":
            write_parquet(file, ["blue"] * COUNT, group=3)

    monkeypatch.setattr(PictureFile, "read", changing)
    with pytest.raises(DataError, match="has changed since its rows were counted"):
        run()
    assert len(part_files(tmp_path / "answers")) <= 1
    assert not (tmp_path / "answers/_summary.json").exists()


def test_a_file_that_is_too_large_is_an_error_in_its_row(tmp_path: Path, run: Any) -> None:
    pictures = write_files(tmp_path / "pictures", 3)
    with (tmp_path / "pictures/0/large.png").open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)  # takes no room
    assert run().pictures == 4
    rows = {row["path"]: row for row in answers(tmp_path / "answers")}
    large = rows.pop(str(tmp_path / "pictures/0/large.png"))
    assert large["error"] == "the file has 200,000,001 bytes; at most 200,000,000 are read"
    assert list(rows) == list(pictures)


class Killed(Exception):
    """Stands for a kill."""


def stopping_after(parts: int) -> Callable[[Batch, list[int], Advance], None]:
    def compute(batch: Batch, missing: list[int], advance: Advance) -> None:
        predict_here(batch, missing[:parts], advance)
        raise Killed

    return compute


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


def test_two_processes_do_not_write_one_folder(tmp_path: Path, run: Any) -> None:
    write_files(tmp_path / "pictures", 3)
    held = BatchOutput(str(tmp_path / "answers"), Stores())
    with held.lock(), pytest.raises(DataError, match="another process is writing"):
        run()
    assert run().pictures == 3


def test_a_run_whose_output_was_begun_anew_stops(tmp_path: Path, run: Any) -> None:
    """On S3 nothing keeps a second process away."""
    write_files(tmp_path / "pictures", COUNT)

    def overtaken(batch: Batch, parts: list[int], advance: Advance) -> None:
        plan = tmp_path / "answers/_plan"
        plan.write_bytes(plan.read_bytes() + b" ")
        predict_here(batch, parts, advance)

    with pytest.raises(DataError, match="begun anew meanwhile"):
        run(engine=overtaken)
    assert not part_files(tmp_path / "answers")


def test_parts_that_are_missing_at_the_end_are_told(tmp_path: Path, run: Any) -> None:
    write_files(tmp_path / "pictures", COUNT)
    with pytest.raises(DataError, match="1 of 5 parts have no answers"):
        run(engine=lambda batch, parts, advance: predict_here(batch, parts[1:], advance))
    assert not (tmp_path / "answers/_summary.json").exists()
    assert run().earlier == COUNT - 5


def test_a_part_in_anothers_place_is_no_answer(tmp_path: Path, run: Any) -> None:
    write_files(tmp_path / "pictures", COUNT)

    def confused(batch: Batch, parts: list[int], advance: Advance) -> None:
        predict_here(batch, parts, advance)
        first = tmp_path / "answers/part-00000.parquet"
        batch.output.publish(first, 1)

    with pytest.raises(DataError, match="1 of 5 parts have no answers"):
        run(engine=confused)


def test_a_file_with_other_rows_than_it_says_is_no_answer() -> None:
    facts = Facts(plan="0" * 64, part=0, summary=Summary(pictures=2))
    for rows, known in ((2, facts), (1, None), (3, None)):
        file = BytesIO()
        with pq.ParquetWriter(file, pa.schema({"path": pa.string()})) as writer:
            writer.write_table(pa.table({"path": ["a"] * rows}))
            writer.add_key_value_metadata({"pixloop": facts.model_dump_json()})
        assert read_facts(file) == known


def test_what_others_wrote_is_left_alone(tmp_path: Path, run: Any) -> None:
    write_files(tmp_path / "pictures", 3)
    write_parquet(tmp_path / "answers/part-00000.parquet", ["red"])
    for restart in (False, True):
        with pytest.raises(DataError, match=r"holds part-00000\.parquet.* empty folder"):
            run(restart=restart)
    assert len(pq.read_table(tmp_path / "answers/part-00000.parquet")) == 1


def test_an_output_inside_its_input_is_refused(tmp_path: Path, run: Any) -> None:
    write_files(tmp_path / "pictures", 3)
    for output in ("pictures", "pictures/answers"):
        with pytest.raises(ConfigError, match="which is to be predicted"):
            run(output=tmp_path / output)


def test_links_hide_no_output_inside_its_input(tmp_path: Path, run: Any) -> None:
    write_files(tmp_path / "pictures", 3)
    (tmp_path / "link").symlink_to("pictures/0")
    with pytest.raises(ConfigError, match="which is to be predicted"):
        run(output=tmp_path / "link/answers")


@pytest.mark.parametrize("inner", ["pictures", "pictures/0", "pictures/0/0000.png", "link"])
def test_places_inside_each_other_are_refused(tmp_path: Path, run: Any, inner: str) -> None:
    """Else a picture has two rows."""
    write_files(tmp_path / "pictures", 3)
    (tmp_path / "pictures-too").mkdir()
    (tmp_path / "link").symlink_to("pictures/1")
    places = [tmp_path / name for name in (inner, "pictures-too", "pictures")]
    with pytest.raises(ConfigError, match=rf"{inner} lies in {tmp_path}/pictures: .* two rows"):
        run(places=places)


def test_places_beside_each_other_are_not(tmp_path: Path, run: Any) -> None:
    write_files(tmp_path / "pictures", 6)
    shutil.copytree(tmp_path / "pictures/0", tmp_path / "pictures/0-too")
    places = [tmp_path / "pictures" / name for name in ("0-too", "0")]
    assert run(places=places).pictures == 4


def test_files_that_cannot_be_written_are_told(
    tmp_path: Path, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match="part cannot be written: "):
        write_part(tmp_path / "no/part", "0", 0, [])

    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError(28, "No space left on device")

    write_files(tmp_path / "pictures", 3)
    monkeypatch.setattr("pixloop.picture_predictions.computing.TemporaryDirectory", full)
    with pytest.raises(DataError, match="no temporary folder can be made: No space left"):
        run()


def test_a_trouble_that_may_pass_is_no_answer(
    tmp_path: Path, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_files(tmp_path / "pictures", COUNT)
    read = Folders.read
    asked = iter(range(COUNT))

    def failing(self: Folders, file: str) -> bytes:
        if next(asked) == 12:
            raise DataError(f"{file} cannot be read: too many open files.")
        return read(self, file)

    monkeypatch.setattr(Folders, "read", failing)
    with pytest.raises(DataError, match="too many open files"):
        run()
    monkeypatch.setattr(Folders, "read", read)
    assert run().earlier in (5, 10)


def test_a_picture_that_is_gone_is_an_error_in_its_row(tmp_path: Path, run: Any) -> None:
    pictures = write_files(tmp_path / "pictures", 5)

    def late(batch: Batch, parts: list[int], advance: Advance) -> None:
        Path(next(iter(pictures))).unlink()
        predict_here(batch, parts, advance)

    run(engine=late)
    row = answers(tmp_path / "answers")[0]
    assert row["error"] == "the file cannot be read: No such file or directory"


def test_few_bytes_are_held_however_many_pictures(
    tmp_path: Path, classifier_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Observed where pictures are read, and where the model is done with them."""
    pictures = write_files(tmp_path / "pictures", 120)
    size = max(Path(name).stat().st_size for name in pictures)
    read, answered, most = 0, 0, 0
    whole = Folders.read

    def counted(self: Folders, file: str) -> bytes:
        nonlocal read, most
        read += 1
        most = max(most, read - answered)
        return whole(self, file)

    monkeypatch.setattr(Folders, "read", counted)

    def advance(n: int = 1, note: str = "") -> None:
        nonlocal answered
        answered += n

    def small(batch: Batch, parts: list[int], _: Advance) -> None:
        ask = open_predictor(batch.bundle).predict_each
        for facts, file in predict_parts(
            ask, batch.plan, batch.stores, parts, advance, most=10 * size
        ):
            batch.output.publish(file, facts.part)

    predict_batch(
        classifier_bundle, "m:1", [tmp_path / "pictures"], tmp_path / "answers", engine=small
    )
    assert answered == 120
    # The budget's ten or so (broken pictures are smaller), the part's five, and a few in hand.
    assert most <= 16 + 5 + 4
