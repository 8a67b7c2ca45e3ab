"""What is kept of each answered picture, as Parquet files that only grow.

A file is named by the number of its first row, and holds at most ``ROWS`` rows. How many rows there
are in all stands in the monitor's state, which is written after them: rows beyond that number are
those of a look that was killed, and are written again.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pixloop.files import atomic_path
from pixloop.monitoring.columns import read_table, rows_of_floats

Floats = NDArray[np.float32]

#: Rows of a file: what is in memory at once.
ROWS = 512

_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("at", pa.timestamp("us", "UTC")),
        ("model", pa.string()),
        ("sha256", pa.string()),
        ("answer", pa.string()),
        ("score", pa.float32()),
        ("decision", pa.string()),
        ("values", pa.list_(pa.float32())),
        ("embedding", pa.list_(pa.float32())),
        ("file", pa.string()),
        ("offset", pa.int64()),
    ]
)


@dataclass(frozen=True, slots=True, eq=False)
class Observation:
    """An answered picture.

    Attributes:
        id: ``<event>:<i>``, the capture's event and which of its pictures.
        at: when it was asked.
        model: what the answer calls the model, ``vehicles:3``.
        sha256: of the encoded picture.
        answer: as the server's JSON has it for a picture.
        score: of the answer, calibrated; detection: the mean of the boxes, NaN without any.
        decision: ``accept`` or ``refer``; a detection is referred where one of its boxes is.
        values: float32 (S,), one a signal; NaN where the picture has none.
        embedding: float32 (E,).
        file: the capture file, relative to the folder of captures.
        offset: of its line in it, in bytes.
    """

    id: str
    at: datetime
    model: str
    sha256: str
    answer: dict[str, Any]
    score: float
    decision: str
    values: Floats
    embedding: Floats
    file: str = ""
    offset: int = 0


class Observations:
    """The rows of one version.

    Args:
        folder: theirs.
        count: how many rows count.
    """

    def __init__(self, folder: Path, count: int = 0) -> None:
        self._folder, self.count = folder, count

    def append(self, rows: Sequence[Observation]) -> None:
        """Write rows; they count once ``count`` is raised, which is the caller's to do."""
        end, written = self.count, 0
        while written < len(rows):
            start = end - end % ROWS
            part = rows[written : written + ROWS - (end - start)]
            table = _table(part)
            if end > start:
                table = pa.concat_tables([self._read(start).slice(0, end - start), table])
            with atomic_path(self._file(start)) as temporary:
                pq.write_table(table, temporary)
            end += len(part)
            written += len(part)

    def read(self, since: datetime | None = None, first: int = 0) -> Iterator[Observation]:
        """The rows in their order, from the ``first`` on, those before ``since`` left out."""
        for row in self.tables(first=first):
            for each in row.to_pylist():
                if since is None or each["at"] >= since:
                    yield _observation(each)

    def tables(self, columns: Sequence[str] | None = None, first: int = 0) -> Iterator[pa.Table]:
        """The rows as tables of at most ``ROWS``, from the ``first`` on."""
        for start in range(first - first % ROWS, self.count, ROWS):
            table = self._read(start, columns)
            skipped = max(first - start, 0)
            yield table.slice(skipped, min(self.count - start, ROWS) - skipped)

    def values(self, first: int = 0) -> Iterator[Floats]:
        """The values, float32 (m, S) with m at most ``ROWS``."""
        for table in self.tables(["values"], first):
            if len(table):
                yield rows_of_floats(table["values"])

    def at(self, number: int) -> datetime | None:
        """When the row of a number was asked; of one that is not there yet, the last one's."""
        number = min(max(number, 0), self.count - 1)
        if number < 0:
            return None
        table = self._read(number - number % ROWS, ["at"])
        moment: datetime = table["at"][number % ROWS].as_py()
        return moment

    def rows(self, numbers: Iterable[int]) -> list[Observation]:
        """The rows of some numbers."""
        found = []
        for number in numbers:
            table = self._read(number - number % ROWS).slice(number % ROWS, 1)
            found += [_observation(each) for each in table.to_pylist()]
        return found

    def _read(self, start: int, columns: Sequence[str] | None = None) -> pa.Table:
        return read_table(self._file(start), columns)

    def _file(self, start: int) -> Path:
        return self._folder / f"{start:012d}.parquet"


def _table(rows: Sequence[Observation]) -> pa.Table:
    columns: dict[str, list[Any]] = {name: [] for name in _SCHEMA.names}
    for row in rows:
        for name in _SCHEMA.names:
            columns[name].append(getattr(row, name))
    columns["answer"] = [json.dumps(answer) for answer in columns["answer"]]
    return pa.table(columns, schema=_SCHEMA)


def _observation(row: dict[str, Any]) -> Observation:
    return Observation(
        **{
            **row,
            "answer": json.loads(row["answer"]),
            "values": np.array(row["values"], np.float32),
            "embedding": np.array(row["embedding"], np.float32),
        }
    )
