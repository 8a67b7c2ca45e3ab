"""Inspection in processes: how many there are changes nothing in what is found."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pixloop.config import DataConfig
from pixloop.data import inspection
from pixloop.data.index import FileState
from pixloop.data.prepare import prepare
from pixloop.files import sha256_folder

Put = Callable[..., Path]


@pytest.mark.slow
def test_the_data_set_is_the_same_whatever_the_number_of_workers(
    tmp_path: Path, put: Put, paint: Any, encode: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "source"
    turned = Image.Exif()
    turned[0x0112] = 8
    for number in range(60):
        options = {"exif": turned} if number % 20 == 7 else {}
        content = encode(paint(number), "JPEG", **options)
        put(source / ("cat", "dog")[number % 2] / f"{number:02}.jpg", content)
    put(source / "dog/near.jpg", encode(paint(1), "JPEG", quality=40))
    put(source / "dog/half.jpg", encode(paint(70, 400, 300), "JPEG")[:5000])
    put(source / "cat/empty.jpg", b"")
    monkeypatch.setattr(inspection, "_ALONE_S", 0.0)
    monkeypatch.setattr(inspection, "_CHUNK", 5)
    digests = set()
    for workers in (1, 2, 3):
        monkeypatch.setattr(inspection, "cores", lambda workers=workers: workers)
        made = tmp_path / str(workers)
        prepare(DataConfig(train="source"), source, None, made / "set", made / "work")
        assert len(list((made / "work" / "upright").iterdir())) == 3
        digests.add(sha256_folder(made / "set"))
    assert len(digests) == 1


def test_a_mark_lies_in_the_work_folder_while_this_process_reads_pictures(
    tmp_path: Path, put: Put
) -> None:
    states = []
    for number in range(3):
        file = put(tmp_path / f"{number}.png", number)
        states.append(FileState(str(file), file.stat().st_size, file.stat().st_mtime_ns))
    mark = tmp_path / "work/alone"
    found = inspection.inspect_files(iter(states), 10**6, tmp_path / "work/upright", 1)
    assert len(next(found)) == 3
    assert mark.exists()
    found.close()
    assert not mark.exists()
    assert len(list(inspection.inspect_files(iter(states), 10**6, tmp_path / "work/up", 1))) == 1
    assert not mark.exists()


RUN = """
import sys
from pathlib import Path
from pixloop.config import DataConfig
from pixloop.data.prepare import prepare
if __name__ == "__main__":
    source, output, work = map(Path, sys.argv[1:])
    prepare(DataConfig(train="source"), source, None, output, work)
"""
#: Python runs it as it starts: who reads a certain file dies of it.
DEADLY = """
import os, pathlib
real = pathlib.Path.read_bytes
def read_bytes(self):
    data = real(self)
    if data == b"KILL": os.kill(os.getpid(), 9)
    return data
pathlib.Path.read_bytes = read_bytes
"""


@pytest.mark.slow
def test_a_file_that_kills_the_run_itself_is_found_out_by_the_next_one(
    tmp_path: Path, put: Put
) -> None:
    source, output, work = (tmp_path / name for name in ("source", "set", "work"))
    for number in range(6):
        put(source / ("cat", "dog")[number % 2] / f"{number}.png", number)
    put(source / "cat/killer.png", b"KILL")
    (tmp_path / "sitecustomize.py").write_text(DEADLY)
    (tmp_path / "run.py").write_text(RUN)

    def run() -> int:
        command = [sys.executable, str(tmp_path / "run.py"), source, output, work]
        environment = os.environ | {"PYTHONPATH": str(tmp_path)}
        return subprocess.run(command, env=environment, timeout=120, check=False).returncode

    assert run() == -signal.SIGKILL
    assert (work / "alone").exists()
    assert run() == 0
    assert not (work / "alone").exists()
    lines = (output / "quarantine.jsonl").read_text().splitlines()
    assert [json.loads(line)["reason"] for line in lines] == ["corrupt"]
    assert json.loads((output / "data_report.json").read_text())["kept"] == 6
