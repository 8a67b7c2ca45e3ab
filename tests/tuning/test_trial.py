"""Ctrl-C while a trial's process is starting."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

INTERRUPTED = textwrap.dedent(
    """
    import os, signal, threading, time
    from pathlib import Path
    from pixloop.tuning import trial
    from tests.tuning.conftest import make_config

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job has none
    folder, over = Path.cwd(), threading.Event()
    trial._PRELOADED = ("long_import",)
    training = trial.Training(make_config(), folder, folder / "trial", None, 1, {})
    worker = threading.Thread(target=trial.train_apart, args=(training, lambda *_: True, over))
    try:
        worker.start()
        while not Path("importing").exists():
            time.sleep(0.05)
        os.killpg(0, signal.SIGINT)  # as a terminal does
        time.sleep(10)
    except KeyboardInterrupt:
        over.set()
        worker.join()
        print("interrupted")
    """
)
LONG_IMPORT = """
import pathlib, time
pathlib.Path("importing").touch()
time.sleep(1)
"""


def test_ctrl_c_while_a_trial_is_starting_ends_it_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "long_import.py").write_text(LONG_IMPORT)
    path = os.pathsep.join([str(Path(__file__).parents[2]), str(tmp_path)])
    ended = subprocess.run(
        [sys.executable, "-c", INTERRUPTED],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,  # which ends when all that hold it have
        text=True,
        timeout=60,
        start_new_session=True,
        check=True,
    )
    assert ended.stdout == "interrupted\n"
    assert ended.stderr == ""
