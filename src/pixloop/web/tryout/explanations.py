"""Why a version answers as it does: asked of a process that is kept warm."""

import base64
import importlib.util
import json
import queue
import secrets
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from pixloop.bundle import MANIFEST, Bundle
from pixloop.errors import PipelineError, PixloopError
from pixloop.files import sha256_file
from pixloop.web.tryout.answers import words

#: How often whoever waits is told that it goes on.
_BEAT_S = 1.0
#: The checks of a large detector take minutes.
_MOST_S = 1800.0
_LOG_BYTES = 600
_Told = dict[str, Any]


def why_not(bundle: Bundle) -> str:
    """Why a version's answers cannot be explained here; nothing where they can.

    The process may still find a reason that takes torch to see.
    """
    if any(importlib.util.find_spec(name) is None for name in ("torch", "captum")):
        return "torch and captum are not installed here."
    if all(graph.format != "torchscript" for graph in bundle.manifest.graphs):
        return "This version's bundle has no TorchScript graph, from which the network is taken."
    return ""


def is_checked(bundle: Bundle, cache: Path) -> bool:
    """Whether methods were checked for a version already, which takes long."""
    return (cache / f"{sha256_file(bundle.path / MANIFEST)}.json").is_file()


class Explanations:
    """Asks the process, one picture after the other; it is started when it is first needed.

    Args:
        folder: for its log, and for pictures while they are explained.
        cache: where the checks of methods are kept.
        most_s: a picture that takes longer ends the process.
    """

    def __init__(self, folder: Path, cache: Path, most_s: float = _MOST_S) -> None:
        self._folder, self._cache, self._most_s = folder, cache, most_s
        self._turn = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._told: queue.Queue[_Told | None] = queue.Queue()
        self._end: Callable[[], object] | None = None

    def explain(self, bundle: Bundle, picture: bytes) -> Iterator[_Told]:
        """Explain the answer to a picture.

        Yields:
            ``{"state": "waiting" | "working", "seconds"}`` again and again; ``{"drawing": <base64
            of a PNG>, "label", "score"}`` for each answer; at the end ``{"done": {"method",
            "pictures"}}``, the pictures being those that it was checked on, or ``{"error"}``.
        """
        began = time.monotonic()
        while not self._turn.acquire(timeout=_BEAT_S):
            yield {"state": "waiting", "seconds": round(time.monotonic() - began)}
        try:
            yield from self._ask(bundle, picture)
        except PixloopError as e:
            yield {"error": words(e)}
        finally:
            self._turn.release()

    def close(self) -> None:
        """End the process."""
        if self._end is not None:
            self._end()
        self._process = self._end = None

    def _ask(self, bundle: Bundle, picture: bytes) -> Iterator[_Told]:
        self._folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._folder, prefix=".explaining-") as place:
            file, identity = Path(place) / "picture", secrets.token_hex(8)
            file.write_bytes(picture)
            self._send(
                {
                    "id": identity,
                    "bundle": str(bundle.path),
                    "cache": str(self._cache),
                    "picture": str(file),
                    "output": str(Path(place) / "drawings"),
                }
            )
            yield from self._hear(identity)

    def _send(self, question: Mapping[str, str]) -> None:
        if self._process is None or self._process.poll() is not None:
            self.close()
            self._process = self._start()
        pipe = self._process.stdin
        assert pipe is not None  # noqa: S101  (it was started with one)
        try:
            pipe.write(json.dumps(question).encode() + b"\n")
            pipe.flush()
        except OSError as e:
            raise PipelineError(f"the process that explains is gone: {e.strerror}.") from e

    def _hear(self, identity: str) -> Iterator[_Told]:
        began = time.monotonic()
        while True:
            seconds = time.monotonic() - began
            if seconds > self._most_s:
                self.close()
                minutes = max(1, round(self._most_s / 60))
                raise PipelineError(f"it took longer than {minutes} min, and was given up.")
            try:
                told = self._told.get(timeout=_BEAT_S)
            except queue.Empty:
                yield {"state": "working", "seconds": round(seconds)}
                continue
            if told is None:
                self.close()
                raise PipelineError(f"the process that explains ended. {self._last_words()}")
            if told.pop("id") != identity:
                continue  # for somebody who has gone
            yield _shown(told)
            if "found" not in told:
                return

    def _start(self) -> "subprocess.Popen[bytes]":
        with self._log.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "pixloop.web.tryout.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the server, with which it ends
            )
        assert process.stdout is not None  # noqa: S101  (it was started with one)
        # With whoever would ask it, and with the interpreter.
        self._end = weakref.finalize(self, _end, process)
        self._told = queue.Queue()
        reading = (process.stdout, self._told)
        threading.Thread(target=_listen, args=reading, daemon=True).start()
        return process

    @property
    def _log(self) -> Path:
        return self._folder / "explaining.log"

    def _last_words(self) -> str:
        with suppress(OSError):
            text = self._log.read_bytes()[-_LOG_BYTES:].decode("utf-8", "replace")
            lines = [line for line in text.splitlines() if line.strip()]
            return lines[-1] if lines else ""
        return ""


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.wait()
    with suppress(OSError):  # something may be left to write
        if process.stdin is not None:
            process.stdin.close()


def _listen(pipe: IO[bytes], told: "queue.Queue[_Told | None]") -> None:
    with pipe:
        for line in pipe:
            told.put(json.loads(line))
    told.put(None)


def _shown(told: _Told) -> _Told:
    """What the process told, for the page."""
    if "error" in told:
        return {"error": words(PipelineError(str(told["error"])))}
    found = told.get("found")
    if found is None:
        return told
    if found["drawing"] is None:
        return {"drawing": None, "label": None, "score": None}
    drawing = base64.b64encode(Path(found["drawing"]).read_bytes()).decode()
    return {"drawing": drawing, "label": found["label"], "score": found["score"]}
