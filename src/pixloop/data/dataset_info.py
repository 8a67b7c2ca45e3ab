"""What dataset.json says of a data set."""

import json
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pixloop.bundle import Task
from pixloop.errors import DataError

SplitName = Literal["train", "validation", "calibration", "test"]

SPLITS: tuple[SplitName, ...] = ("train", "validation", "calibration", "test")
MANIFEST = "dataset.json"
FORMAT_VERSION = 3


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Shard(_Part):
    """One Parquet file."""

    split: SplitName
    file: str  #: relative to the data set's folder
    rows: int = Field(ge=1)


class AnnotationsInfo(_Part):
    """Which annotations took part: annotations.jsonl lists them."""

    count: int
    pictures: int  #: that they are of
    sha256: str  #: of annotations.jsonl


class DatasetInfo(_Part):
    """The content of dataset.json."""

    format_version: int = FORMAT_VERSION
    task: Task = "classification"
    classes: tuple[str, ...]  #: sorted; a row's label is an index into them
    #: Of each split and class, zeros included: pictures, in detection boxes that are no crowd.
    counts: dict[SplitName, dict[str, int]]
    pictures: dict[SplitName, int] = {}  #: of each split; none in files of format 1
    channel_mean: tuple[float, float, float] | None = None  #: RGB in 0..1, of the training pictures
    channel_std: tuple[float, float, float] | None = None
    #: Over every picture's SHA-256, class or objects, and split, in the order of the rows.
    sha256: str
    annotations: AnnotationsInfo | None = None  #: none in files before format 3
    shards: tuple[Shard, ...]


def parse_info(text: str | bytes, where: str) -> DatasetInfo:
    """The content of a dataset.json.

    Args:
        text: the file's.
        where: its path or address, for errors.

    Raises:
        DataError: it is not valid, or written by a newer pixloop.
    """
    try:
        raw = json.loads(text)
    except ValueError as e:
        raise DataError(f"{where} is not valid JSON: {e}") from e
    version = raw.get("format_version") if isinstance(raw, dict) else None
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise DataError(f"{where} was written by a newer pixloop (format {version}).")
    try:
        return DatasetInfo.model_validate(raw)
    except ValidationError as e:
        raise DataError(f"{where} is not a data set's description: {e}") from e
