"""What a monitor knows between two looks: one file, replaced whole, so that it is never half."""

from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from pixloop.errors import MonitoringError
from pixloop.files import atomic_path
from pixloop.monitoring.alarms import Alarm

Arrays = dict[str, NDArray[np.generic]]

_RECORD = "record"


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


def read_state(file: Path) -> tuple[Record, Arrays]:
    """What was written; of a monitor that never looked, nothing.

    Raises:
        MonitoringError: the file is not what pixloop writes.
    """
    if not file.is_file():
        return Record(), {}
    try:
        # Opened here: of half a file numpy would leave its own open.
        with file.open("rb") as raw, np.load(raw, allow_pickle=False) as content:
            arrays: Arrays = dict(content)
        record = Record.model_validate_json(arrays.pop(_RECORD).tobytes())
    except (ValueError, KeyError, OSError, EOFError, BadZipFile, ValidationError) as e:
        raise MonitoringError(
            f"{file} is not what pixloop writes: {e}. Remove the file: the next look reads the "
            "captures that are kept anew."
        ) from e
    return record, arrays


def write_state(file: Path, record: Record, arrays: Arrays) -> None:
    """Replace the state."""
    text = np.frombuffer(record.model_dump_json().encode(), np.uint8)
    with atomic_path(file) as temporary, temporary.open("wb") as target:
        np.savez(target, allow_pickle=False, **{_RECORD: text, **arrays})
