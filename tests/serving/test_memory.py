import mmap
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from pixloop.serving import memory
from pixloop.serving.memory import Tidying, forget_pages, give_back_free_memory, room_bytes

_SCRIPT = """
import platform, sys, threading
from pathlib import Path
from types import SimpleNamespace
import numpy as np
from pixloop.serving.memory import give_back_large_blocks

if sys.argv[1] == "yes":
    give_back_large_blocks(2)

def resident():
    return 4096 * int(Path("/proc/self/statm").read_text().split()[1])

def work():
    kept = []
    for size in (5, 9, 14, 21, 27) * 3:
        kept.append(np.ones(size * 2**20, np.uint8))
        small = np.ones(2**16, np.uint8)  # lies on top, so that a heap cannot shrink
        kept.append(small)
        if len(kept) > 4:
            del kept[0]
    kept[:] = [each for each in kept if len(each) == 2**16]

before = resident()
threads = [threading.Thread(target=work) for _ in range(2)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(resident() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads Linux' own numbers")
def test_large_blocks_are_given_back() -> None:
    grown = int(subprocess.check_output([sys.executable, "-c", _SCRIPT, "yes"], text=True))
    assert grown < 10_000_000


def test_there_is_room_in_a_machine() -> None:
    assert room_bytes() > 0


def _resident(file: Path) -> int:
    """Bytes of a mapped file that are in this process's memory."""
    lines = iter(Path("/proc/self/smaps").read_text(encoding="utf-8").splitlines())
    return sum(
        int(next(each for each in lines if each.startswith("Rss:")).split()[1]) * 1024
        for line in lines
        if line.endswith(str(file))
    )


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads Linux' own numbers")
@pytest.mark.parametrize("access", [mmap.ACCESS_READ, mmap.ACCESS_COPY])
def test_pages_of_a_file_are_forgotten_and_read_anew(tmp_path: Path, access: int) -> None:
    path, content = (tmp_path / "weights.bin").resolve(), bytes(range(256)) * 40_000
    path.write_bytes(content)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=access) as mapped:
        if access == mmap.ACCESS_COPY:  # what was written to its memory would be lost
            mapped[:3] = b"new"
        expected = mapped[:]
        before = _resident(path)
        forget_pages(path)
        after = _resident(path)
        assert before >= len(content)
        assert after == (0 if access == mmap.ACCESS_READ else before)
        assert mapped[:] == expected


def test_forgetting_and_giving_back_harm_nothing(tmp_path: Path) -> None:
    give_back_free_memory()
    forget_pages(tmp_path / "nothing")


def test_it_is_time_to_tidy_a_while_after_work_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(memory, "time", SimpleNamespace(monotonic=lambda: now))
    tidying = Tidying()
    assert (tidying.due_in(), tidying.take()) == (None, False)
    tidying.worked()
    now += 4
    tidying.worked()  # which puts nothing off
    assert (tidying.due_in(), tidying.take()) == (1.0, False)
    now += 2
    assert (tidying.due_in(), tidying.take()) == (0.0, True)
    assert (tidying.due_in(), tidying.take()) == (None, False)
