"""Pictures predicted in parts: one row each, in order, whatever was interrupted."""

import json
import shutil
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.certified_bundles import scenes
from tests.picture_predictions.many_pictures import (
    answers,
    labels,
    part_files,
    write_files,
    write_parquet,
)

from pixloop.bundle import Bundle
from pixloop.data.check import MAX_FILE_BYTES
from pixloop.errors import ConfigError, DataError
from pixloop.picture_predictions.batch import Batch, predict_batch, predict_here
from pixloop.picture_predictions.batch_output import BatchOutput
from pixloop.picture_predictions.computing import predict_parts
from pixloop.picture_predictions.part_answers import Facts, read_facts, write_part
from pixloop.picture_predictions.places import Folders, Stores
from pixloop.picture_predictions.predict import predict_with_bundle
from pixloop.picture_predictions.record import Summary
from pixloop.progress import Advance
from pixloop.serving.predictor import open_predictor

pytestmark = pytest.mark.usefixtures("small_parts")
COUNT = 23


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


def test_a_file_that_is_too_large_is_an_error_in_its_row(tmp_path: Path, run: Any) -> None:
    pictures = write_files(tmp_path / "pictures", 3)
    with (tmp_path / "pictures/0/large.png").open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)  # takes no room
    assert run().pictures == 4
    rows = {row["path"]: row for row in answers(tmp_path / "answers")}
    large = rows.pop(str(tmp_path / "pictures/0/large.png"))
    assert large["error"] == "the file has 200,000,001 bytes; at most 200,000,000 are read"
    assert list(rows) == list(pictures)


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
