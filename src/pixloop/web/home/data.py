"""The room of data: the data set that the latest run prepared."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pydantic import ValidationError

from pixloop.data.dataset import MANIFEST, DatasetInfo
from pixloop.pipeline.runs import RunRecord
from pixloop.run_summary import output_of
from pixloop.web.cached import stamp
from pixloop.web.home.times import moment_of
from pixloop.web.site import Site


@dataclass(frozen=True, slots=True)
class DataState:
    """The data set of the latest run that prepared one.

    Attributes:
        sha256: its version; empty while there is none.
        pictures: of all splits.
        classes: how many.
        annotations: how many of people's took part.
        at: when it was prepared; ISO 8601, UTC.
        problem: why it cannot be read.
    """

    sha256: str = ""
    pictures: int = 0
    classes: int = 0
    annotations: int = 0
    at: str = ""
    problem: str = ""


def read_data(site: Site, runs: Sequence[RunRecord]) -> DataState:
    """What the data are; ``runs``: all, the newest first."""
    for run in runs:
        file = output_of(run, "Prepare", "dataset") / MANIFEST
        if file.is_file():
            return site.cached.get("loop data", (file, stamp(file)), partial(_read, file))
    return DataState()


def _read(file: Path) -> DataState:
    try:
        raw = json.loads(file.read_text(encoding="utf-8"))
        info = DatasetInfo.model_validate(raw)
        at = moment_of(file.stat().st_mtime)
    except (OSError, ValueError, ValidationError) as e:
        return DataState(problem=f"{MANIFEST} cannot be read: {str(e).splitlines()[0]}")
    return DataState(
        info.sha256,
        sum(shard.rows for shard in info.shards),
        len(info.classes),
        info.annotations.count if info.annotations else 0,
        at,
    )
