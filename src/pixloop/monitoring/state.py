"""What a monitor knows between two looks: one file, replaced whole, so that it is never half."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from pixloop.errors import MonitoringError
from pixloop.files import atomic_path
from pixloop.monitoring.accuracy import AccuracyEstimate
from pixloop.monitoring.alarms import Alarm

Arrays = dict[str, NDArray[np.generic]]

_RECORD, _LOCK = "record", "look.lock"


class Record(BaseModel):
    """The part of the state that is no arithmetic."""

    model_config = ConfigDict(extra="forbid")

    offsets: dict[str, int] = {}  #: by capture file, how far it was read
    count: int = 0  #: observations
    damaged: int = 0  #: lines of captures, or pictures, that could not be read
    referred: int = 0
    first: int = 0  #: the observation with which the drift test began
    tests: int = 0  #: drift tests that were ended by an acknowledgement
    reference: str = ""  #: the folder of the new normal; empty for the bundle's
    recent: list[str] = []  #: the beginnings of the latest pictures' SHA-256
    alarms: list[Alarm] = []
    quality_from: int = 0  #: the checked answer with which the quality test began
    accuracy: AccuracyEstimate | None = None  #: as the last look has it, without labels


def read_state(file: Path) -> tuple[Record, Arrays]:
    """What was written; of a monitor that never looked, nothing.

    Raises:
        MonitoringError: the file is not what pixloop writes.
    """
    if not file.is_file():
        return Record(), {}
    with _reading(file) as content:
        arrays: Arrays = dict(content)
        return Record.model_validate_json(arrays.pop(_RECORD).tobytes()), arrays


def read_record(file: Path) -> Record:
    """As ``read_state``, without the arrays, which are large.

    Raises:
        MonitoringError: the file is not what pixloop writes.
    """
    if not file.is_file():
        return Record()
    with _reading(file) as content:
        return Record.model_validate_json(content[_RECORD].tobytes())


@contextmanager
def _reading(file: Path) -> Iterator[Mapping[str, NDArray[np.generic]]]:
    try:
        # Opened here: of half a file numpy would leave its own open.
        with file.open("rb") as raw, np.load(raw, allow_pickle=False) as content:
            yield content
    except (ValueError, KeyError, OSError, EOFError, BadZipFile, ValidationError) as e:
        raise MonitoringError(
            f"{file} is not what pixloop writes: {e}. Remove the file: the next look reads the "
            "captures that are kept anew."
        ) from e


@contextmanager
def locked(folder: Path, patience_s: float) -> Iterator[None]:
    """One at a time may change what a monitor knows, of this process or another.

    Args:
        folder: the monitor's.
        patience_s: how long another one is waited for; for ever, where it is negative.

    Raises:
        MonitoringError: another one was at it all the while.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / _LOCK, timeout=patience_s):
            yield
    except Timeout as e:
        raise MonitoringError(
            "the pictures are being looked at right now. Try again when that look is done."
        ) from e


def write_state(file: Path, record: Record, arrays: Arrays) -> None:
    """Replace the state."""
    text = np.frombuffer(record.model_dump_json().encode(), np.uint8)
    with atomic_path(file) as temporary, temporary.open("wb") as target:
        np.savez(target, allow_pickle=False, **{_RECORD: text, **arrays})
