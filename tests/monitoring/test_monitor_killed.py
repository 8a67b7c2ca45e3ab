"""A monitor that is killed with SIGKILL, again and again."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.monitoring.monitored import capture, clean, make_bundle, open_monitor

_LOOK = """
import sys
from pathlib import Path
from pixloop.bundle import Bundle
from pixloop.monitoring import monitor
from tests.monitoring.monitored import open_monitor
monitor._STEP_PICTURES = 8
open_monitor(Path(sys.argv[1]), Bundle.open(Path(sys.argv[2]))).look()
"""


@pytest.mark.slow
def test_every_picture_counts_once_after_any_number_of_kills(tmp_path):
    random = np.random.default_rng(3)
    bundle = make_bundle(tmp_path / "bundle")
    capture(tmp_path / "captures", clean(600, random), random)
    kills, delay = 0, 1.5
    while True:
        look = subprocess.Popen(
            [sys.executable, "-c", _LOOK, str(tmp_path), str(bundle.path)],
            cwd=Path(__file__).parents[2],
        )
        try:
            look.wait(delay)
            break
        except subprocess.TimeoutExpired:
            os.kill(look.pid, signal.SIGKILL)
            look.wait()
            kills, delay = kills + 1, delay + float(random.uniform(0.0, 0.4))
    assert look.returncode == 0
    assert kills >= 1
    monitor = open_monitor(tmp_path, bundle)
    assert monitor.look().seen == 600
    assert len({row.id for row in monitor.observations()}) == 600
