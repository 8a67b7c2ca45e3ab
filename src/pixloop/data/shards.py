"""A shard: one Parquet file of pictures, as ``datasets``, DuckDB, Spark and Athena read it too."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

# Training reads rows at random and a read costs a whole row group, so row groups are small.
GROUP_ROWS = 64
GROUP_BYTES = 1_000_000


class ShardWriter:
    """One Parquet file being written; ``rows`` and ``bytes`` say how much it holds.

    ``file`` is what the data set calls it.
    """

    def __init__(self, path: Path, file: str, classes: tuple[str, ...]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.file, self.rows, self.bytes = file, 0, 0
        self._schema = _schema(classes)
        self._group: list[dict[str, Any]] = []
        self._group_bytes = 0
        self._writer = pq.ParquetWriter(
            path,
            self._schema,
            # Pictures are compressed already, and what is stored plainly is read plainly.
            compression={"image.bytes": "NONE"} | dict.fromkeys(_PLAIN_COLUMNS, "ZSTD"),
            use_dictionary=["split", "label"],
            write_statistics=["label", "split", "width", "height"],
        )

    def add(self, record: dict[str, Any]) -> None:
        """Add a row, a value for each column."""
        self._group.append(record)
        self.rows += 1
        image = record["image"]
        self.bytes += len(image["bytes"]) + len(image["path"]) + len(record["source"]) + 200
        self._group_bytes += len(image["bytes"])
        if len(self._group) >= GROUP_ROWS or self._group_bytes >= GROUP_BYTES:
            self._flush()

    def close(self) -> None:
        """Write what is left, and the file's end."""
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        if self._group:
            self._writer.write_table(pa.Table.from_pylist(self._group, self._schema))
            self._group, self._group_bytes = [], 0


_PLAIN_COLUMNS = ("image.path", "label", "width", "height", "sha256", "split", "source")


def _schema(classes: tuple[str, ...]) -> Any:
    features = {
        "image": {"_type": "Image"},
        "label": {"names": list(classes), "_type": "ClassLabel"},
        "width": {"dtype": "int32", "_type": "Value"},
        "height": {"dtype": "int32", "_type": "Value"},
        "sha256": {"dtype": "string", "_type": "Value"},
        "split": {"dtype": "string", "_type": "Value"},
        "source": {"dtype": "string", "_type": "Value"},
    }
    return pa.schema(
        [
            ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
            ("label", pa.int64()),
            ("width", pa.int32()),
            ("height", pa.int32()),
            ("sha256", pa.string()),
            ("split", pa.string()),
            ("source", pa.string()),
        ],
        metadata={"huggingface": json.dumps({"info": {"features": features}})},
    )
