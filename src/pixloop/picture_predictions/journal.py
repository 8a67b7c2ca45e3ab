"""The answers of a run so far, so that after a kill the same command goes on.

A file of JSON lines: what is asked, then an answer a line, each written out as it comes. A last
line that a kill has left broken is dropped.
"""

import fcntl
import json
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from pydantic import ValidationError

from pixloop.errors import DataError
from pixloop.picture_predictions.record import PicturePrediction, Summary


class Journal:
    """A journal that is open for more. Use it in a ``with`` block; iterating gives its answers.

    Attributes:
        done: the paths that have an answer from an earlier run.
        summary: what the answers come to, the earlier ones too.
    """

    def __init__(self, file: Path, asked: str, resume: bool = True) -> None:
        """Open a journal, or begin one.

        Args:
            file: where it is; its folder is made where it is missing.
            asked: which model answers. A journal of another one's answers is begun anew.
            resume: whether to go on with what is there; else it is begun anew.

        Raises:
            DataError: the file is something else, or cannot be written, or another process is
                writing it.
        """
        self._path, self._header = file, json.dumps({"asked": asked}).encode() + b"\n"
        self.done: set[str] = set()
        self.summary = Summary()
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            self._file = file.open("a+b")
        except OSError as e:
            raise DataError(f"{file} cannot be written: {e.strerror}.") from e
        try:
            self._lock()
            self._begin(resume)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def __iter__(self) -> Iterator[PicturePrediction]:
        with self._path.open("rb") as lines:
            next(lines)
            for line in lines:
                yield PicturePrediction.model_validate_json(line)

    def add(self, answer: PicturePrediction) -> None:
        """Write an answer. After a kill it is there.

        Raises:
            DataError: the disk is full, or something like it.
        """
        try:
            self._file.write(answer.model_dump_json(exclude_none=True).encode() + b"\n")
            self._file.flush()
        except OSError as e:
            raise DataError(f"{self._path} cannot be written: {e.strerror}.") from e
        self.summary.add(answer)

    def remove(self) -> None:
        """Delete the file: its answers are elsewhere now."""
        self._path.unlink()

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as e:
            raise DataError(f"another process is writing {self._path}; wait for its end.") from e

    def _begin(self, resume: bool) -> None:
        self._file.seek(0)
        header = self._file.readline()
        if header and not _is_header(header):
            raise DataError(
                f"{self._path} is in the way, and no journal of 'pixloop predict'. Move it, or "
                "name another output."
            )
        if not resume or header != self._header:
            self._file.truncate(0)
            self._file.write(self._header)
            self._file.flush()
            return
        end = len(header)
        for line in self._file:
            if (answer := _read(line)) is None:
                break
            self.done.add(answer.path)
            self.summary.add(answer)
            end += len(line)
        self._file.truncate(end)
        self.summary.earlier = len(self.done)


def _is_header(line: bytes) -> bool:
    try:
        return list(json.loads(line)) == ["asked"]
    except (ValueError, TypeError):
        return False


def _read(line: bytes) -> PicturePrediction | None:
    """The answer in a line, or None for one that was not written to its end."""
    if not line.endswith(b"\n"):
        return None
    try:
        return PicturePrediction.model_validate_json(line)
    except ValidationError:
        return None
