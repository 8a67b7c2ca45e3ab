"""A run that is killed again and again: each picture has one row in the end."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests.picture_predictions.many_pictures import answers, contents, labels, write_files

from pixloop.bundle import Bundle
from pixloop.picture_predictions.batch import predict_batch
from pixloop.picture_predictions.batch_output import BatchOutput
from pixloop.picture_predictions.listing import Listing

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]

RUN = """
import sys
from pathlib import Path
from pixloop.bundle import Bundle
from pixloop.picture_predictions import planning
from pixloop.picture_predictions.batch import predict_batch
planning.PART_PICTURES = 20
if sys.argv[4:]:
    from tests.picture_predictions.test_batch_killed import die_at
    die_at(sys.argv[4])
predict_batch(Bundle.open(Path(sys.argv[1])), "colours:1", [sys.argv[2]], sys.argv[3])
"""


def die_at(moment: str) -> None:
    """Be killed at a moment that is over too soon for another process to hit."""

    def die(*_: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    if moment == "listing":
        count, counted = Listing._count, iter(range(30))

        def some(self: Listing, found: Any, named: bool) -> None:
            die() if next(counted) == 25 else count(self, found, named)

        Listing._count = some  # type: ignore[method-assign]
    elif moment == "plan":
        publish = BatchOutput.publish_plan

        def published(self: BatchOutput, local: Path) -> None:
            publish(self, local)
            die()

        BatchOutput.publish_plan = published  # type: ignore[method-assign]
    elif moment == "before the plan":
        BatchOutput.publish_plan = die  # type: ignore[assignment, method-assign]
    else:
        BatchOutput.publish_summary = die  # type: ignore[assignment, method-assign]


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-c", RUN, *map(str, arguments)]


def test_each_picture_has_one_row_whatever_is_killed(
    tmp_path: Path, classifier_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pixloop.picture_predictions.planning.PART_PICTURES", 20)
    pictures = write_files(tmp_path / "pictures", 4_000)
    output = tmp_path / "answers"
    killed = 0
    asked = command(classifier_bundle.path, tmp_path / "pictures", output)
    for parts in (1, 40, 90):
        process = subprocess.Popen(asked, stderr=subprocess.DEVNULL)
        while process.poll() is None and len(list(output.glob("part-*"))) < parts:
            time.sleep(0.001)
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            killed += 1
        process.wait()
    assert killed
    assert not (output / "_summary.json").exists()

    summary = predict_batch(classifier_bundle, "colours:1", [tmp_path / "pictures"], output)
    assert 0 < summary.earlier < summary.pictures == 4_000
    rows = answers(output)
    assert [row["path"] for row in rows] == list(pictures)
    assert list(labels(rows)) == list(pictures.values())
    predict_batch(classifier_bundle, "colours:1", [tmp_path / "pictures"], tmp_path / "whole")
    assert contents(output) == contents(tmp_path / "whole")


MOMENTS = ("listing", "before the plan", "plan", "summary")


def test_a_run_is_killed_at_each_moment_and_goes_on(
    tmp_path: Path, classifier_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first half of the pictures is there at first, the others come then."""
    monkeypatch.setattr("pixloop.picture_predictions.planning.PART_PICTURES", 20)
    place, output = tmp_path / "pictures", tmp_path / "answers"
    expected: list[str] = []
    for day, count in ((1, 60), (2, 110)):
        write_files(place / str(day), count)
        expected += sorted(map(str, (place / str(day)).rglob("*.png")))
        for moment in MOMENTS:
            asked = command(classifier_bundle.path, place, output, moment)
            done = subprocess.run(asked, stderr=subprocess.PIPE, check=False, cwd=ROOT)
            assert done.returncode == -signal.SIGKILL, done.stderr.decode()
            # Until the list has grown, all that it had is there.
            assert (output / "_summary.json").exists() == (day == 2 and moment in MOMENTS[:2])
        summary = predict_batch(classifier_bundle, "colours:1", [place], output)
        assert summary.earlier == summary.pictures == len(expected)
        assert [row["path"] for row in answers(output)] == expected
