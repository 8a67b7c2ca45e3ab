"""The answers of a run so far, so that after a kill the same command goes on.

A file of JSON lines: what is asked, then an answer a line, each written out as it comes, with the
stamp that its picture's file had. A last line that a kill has left broken is dropped.
"""

import fcntl
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from pydantic import BaseModel, ValidationError

from pixloop.errors import DataError
from pixloop.picture_predictions.record import PicturePrediction, Summary


class _Line(BaseModel):
    stamp: str
    answer: PicturePrediction


class Journal:
    """A journal that is open for more. Use it in a ``with`` block; iterating gives its answers.

    Attributes:
        done: the stamp of each path that has an answer from an earlier run.
        summary: what the answers come to, once ``keep`` has said which earlier ones count.
    """

    def __init__(
        self, file: Path, asked: str, places: Sequence[str] = (), resume: bool = True
    ) -> None:
        """Open a journal, or begin one.

        Args:
            file: where it is; its folder is made where it is missing.
            asked: which model answers. A journal of another one's answers is begun anew.
            places: absolute paths of what is predicted. As above.
            resume: whether to go on with what is there; else it is begun anew.

        Raises:
            DataError: the file is something else, or cannot be written, or another process is
                writing it.
        """
        header = json.dumps({"asked": asked, "places": list(places)})
        self._path, self._header = file, header.encode() + b"\n"
        # Where the answers of this run begin.
        self._begun = len(self._header)
        self.done: dict[str, str] = {}
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
            at = len(next(lines))
            for content in lines:
                line = _Line.model_validate_json(content)
                # A picture that has changed since has a later line as well.
                if at >= self._begun or self.done.get(line.answer.path) == line.stamp:
                    yield line.answer
                at += len(content)

    def keep(self, stamps: Mapping[str, str]) -> None:
        """Leave out earlier answers whose pictures are not asked for any more, or have changed.

        Args:
            stamps: of the pictures in ``done`` that are asked for, as they are now.
        """
        self.done = {path: stamp for path, stamp in self.done.items() if stamps.get(path) == stamp}
        self.summary = Summary()
        for answer in self:
            self.summary.add(answer)
        self.summary.earlier = self.summary.pictures

    def add(self, answer: PicturePrediction, stamp: str = "") -> None:
        """Write an answer, and the stamp of its picture's file. After a kill it is there.

        Raises:
            DataError: the disk is full, or something like it.
        """
        line = _Line(stamp=stamp, answer=answer)
        try:
            self._file.write(line.model_dump_json(exclude_none=True).encode() + b"\n")
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
        for content in self._file:
            if (line := _read(content)) is None:
                break
            self.done[line.answer.path] = line.stamp
            self._begun += len(content)
        self._file.truncate(self._begun)


def _is_header(line: bytes) -> bool:
    try:
        # The first journals did not say the places.
        return list(json.loads(line)) in (["asked"], ["asked", "places"])
    except (ValueError, TypeError):
        return False


def _read(content: bytes) -> _Line | None:
    """A line, or None for one that was not written to its end."""
    if not content.endswith(b"\n"):
        return None
    try:
        return _Line.model_validate_json(content)
    except ValidationError:
        return None
