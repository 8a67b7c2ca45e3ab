import subprocess
import sys

import pytest

from pixloop.serving.memory import room_bytes

_SCRIPT = """
import platform, sys, threading
from pathlib import Path
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
