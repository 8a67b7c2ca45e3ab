"""Watches that are killed with SIGKILL, as a machine that goes down kills them."""

import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from pixloop.files import write_json
from pixloop.watching.events import read_events

pytestmark = pytest.mark.integration

PROGRAM = Path(__file__).with_name("killable.py")


def start(folder: Path, *options: str) -> "subprocess.Popen[str]":
    command = [sys.executable, str(PROGRAM), str(folder), *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def finish(folder: Path) -> str:
    output, _ = start(folder, "--once").communicate(timeout=60)
    return output.strip()


@pytest.mark.parametrize("seed", [0, 1])
def test_killed_again_and_again_it_loses_and_doubles_nothing(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    made = {"versions": [], "champions": [], "rejected": [], "promotions": 0, "rollbacks": 0}
    write_json(tmp_path / "made.json", made)
    alarms: list[str] = []
    for data in range(12):
        write_json(tmp_path / "world.json", {"data": data, "alarms": alarms})
        process = start(tmp_path)
        time.sleep(chance.uniform(0.0, 0.25))
        process.kill()
        assert process.wait() == -signal.SIGKILL
        assert process.stdout is not None
        process.stdout.close()
        champions = json.loads((tmp_path / "made.json").read_text())["champions"]
        if data == 7 and len(champions) > 1:
            alarms = champions[-1:]
    finish(tmp_path)
    assert finish(tmp_path) == "[]"  # nothing is due
    found = json.loads((tmp_path / "made.json").read_text())
    assert found["versions"][-1] == "11"  # the last change was not lost
    assert len(found["versions"]) == len(set(found["versions"]))
    assert found["rollbacks"] == len(alarms)
    assert found["rejected"] == alarms
    assert found["promotions"] - found["rollbacks"] == len(found["champions"])
    assert found["champions"][-1] == str(len(found["versions"]))
    counts = Counter(event.id for event in read_events(tmp_path / "watch"))
    assert counts.most_common(1)[0][1] == 1


def test_a_watch_that_was_killed_leaves_no_lock(tmp_path: Path) -> None:
    made = {"versions": [], "champions": [], "rejected": [], "promotions": 0, "rollbacks": 0}
    write_json(tmp_path / "made.json", made)
    write_json(tmp_path / "world.json", {"data": 1, "alarms": []})
    process = start(tmp_path)
    process.kill()
    process.communicate()
    finish(tmp_path)
    assert finish(tmp_path) == "[]"
