"""A run that is killed again and again: each picture has one row in the end."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.picture_predictions.many_pictures import answers, contents, labels, write_files

from pixloop.bundle import Bundle
from pixloop.picture_predictions.batch import predict_batch

pytestmark = pytest.mark.slow

RUN = """
import sys
from pathlib import Path
from pixloop.bundle import Bundle
from pixloop.picture_predictions import parts
from pixloop.picture_predictions.batch import predict_batch
parts.PART_PICTURES = 20
predict_batch(Bundle.open(Path(sys.argv[1])), "colours:1", [sys.argv[2]], sys.argv[3])
"""


def test_each_picture_has_one_row_whatever_is_killed(
    tmp_path: Path, classifier_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pixloop.picture_predictions.parts.PART_PICTURES", 20)
    pictures = write_files(tmp_path / "pictures", 4_000)
    output = tmp_path / "answers"
    killed = 0
    command = [sys.executable, "-c", RUN]
    command += map(str, (classifier_bundle.path, tmp_path / "pictures", output))
    for parts in (1, 40, 90):
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
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
