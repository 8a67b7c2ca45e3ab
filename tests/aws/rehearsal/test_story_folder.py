"""Where a rehearsal may be played."""

import os
from pathlib import Path

import pytest

from pixloop.aws.rehearsal.story import rehearse
from pixloop.errors import ConfigError, PipelineError
from pixloop.pipeline.lock import exclusive


def test_two_in_one_folder_are_refused_and_harm_nothing(tmp_path: Path) -> None:
    kept = tmp_path / "pictures" / "first.png"
    kept.parent.mkdir()
    kept.write_bytes(b"of the first")
    with (
        exclusive(tmp_path / "cloud" / "lock", "busy"),
        pytest.raises(PipelineError, match=f"process {os.getpid()}"),
    ):
        rehearse(tmp_path)
    assert kept.read_bytes() == b"of the first"


@pytest.mark.parametrize("name", ["thesis.txt", "cloud/thesis.txt"])
def test_a_folder_of_somebody_elses_is_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine")
    with pytest.raises(ConfigError, match="not empty"):
        rehearse(tmp_path)
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == [tmp_path / name]
