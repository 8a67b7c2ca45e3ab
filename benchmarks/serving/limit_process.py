"""The in-process limit, asked from the harness: ``limit.py`` in a process of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
BATCHES = (1, 2, 4, 8, 16)
_TRIED_S = 1.0


class Limit:
    """What this machine can do without HTTP."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self._batches: dict[Path, int] = {}

    def rate(self, pictures: Path, seconds: float) -> float:
        """Pictures a second, with the batch size that is best for these pictures."""
        if pictures not in self._batches:
            tried = {batch: self._ask(pictures, _TRIED_S, batch)["rate"] for batch in BATCHES}
            self._batches[pictures] = max(tried, key=lambda batch: tried[batch])
        return float(self._ask(pictures, seconds, self._batches[pictures])["rate"])

    def batch(self, pictures: Path) -> int:
        """The batch size that ``rate`` found best."""
        return self._batches[pictures]

    def lone_latency_ms(self, pictures: Path, seconds: float) -> float:
        """The median time that a lone picture takes."""
        return float(self._ask(pictures, seconds, None)["p50_ms"])

    def _ask(self, pictures: Path, seconds: float, batch: int | None) -> dict[str, Any]:
        assert self._process.stdin
        assert self._process.stdout
        question = {"pictures": str(pictures), "seconds": seconds, "batch": batch}
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError("limit.py ended; its message stands above")
        return dict(json.loads(answer))


@contextmanager
def open_limit(bundle: Path) -> Iterator[Limit]:
    """Load a bundle's chosen graph; nothing is computed until something is asked."""
    environment = {**os.environ, "PYTHONPATH": str(HERE.parents[1] / "src")}
    command = [sys.executable, str(HERE / "limit.py"), str(bundle)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            assert process.stdout
            if not process.stdout.readline():
                raise RuntimeError("limit.py did not start; its message stands above")
            yield Limit(process)
        finally:
            process.kill()
