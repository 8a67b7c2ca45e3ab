"""Columns of Parquet files as arrays, quickly.

``pyarrow.parquet.read_table`` and ``to_numpy`` import pandas, which takes most of a second; a page
or a command that shows what is known should not wait for that.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray


def read_table(file: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """A file's table, of some columns or all."""
    with pq.ParquetFile(file, memory_map=False) as opened:
        return opened.read(columns=None if columns is None else list(columns))


def floats(column: pa.ChunkedArray) -> NDArray[np.float32]:
    """A column of numbers, float32 (n,); it may not hold nulls."""
    return np.from_dlpack(column.combine_chunks()).astype(np.float32)


def rows_of_floats(column: pa.ChunkedArray) -> NDArray[np.float32]:
    """A column of n lists that are equally long, float32 (n, k)."""
    flat = np.from_dlpack(column.combine_chunks().flatten())
    return flat.reshape(len(column), -1).astype(np.float32)


def microseconds(column: pa.ChunkedArray) -> NDArray[np.int64]:
    """A column of times, since 1970 in UTC, int64 (n,)."""
    return np.from_dlpack(column.combine_chunks().view(pa.int64())).astype(np.int64)


def equals(column: pa.ChunkedArray, word: str) -> NDArray[np.bool_]:
    """Where a column of few different words has one of them, bool (n,)."""
    coded = column.combine_chunks().dictionary_encode()
    places = [i for i, each in enumerate(coded.dictionary) if each.as_py() == word]
    return np.isin(np.from_dlpack(coded.indices), places)
