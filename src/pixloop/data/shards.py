"""A shard: one Parquet file of pictures, as ``datasets``, DuckDB, Spark and Athena read it too."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pixloop.bundle import Task
from pixloop.imaging import Boxes

# Training reads rows at random and a read costs a whole row group, so row groups are small.
GROUP_ROWS = 64
GROUP_BYTES = 1_000_000

#: What a row is read from; the other columns are for other readers.
ROW_COLUMNS: dict[Task, list[str]] = {
    "classification": ["image", "label", "width", "height", "sha256"],
    "detection": ["image", "objects", "width", "height", "sha256"],
}
#: What the objects alone are read from.
OBJECT_COLUMNS = ["objects"]

Labels = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Objects:
    """What is in one picture; M may be 0.

    Attributes:
        boxes: shape (M, 4), xyxy in pixels of the upright picture, inside it, x1 < x2, y1 < y2.
        labels: shape (M,), indices into the data set's classes.
        crowd: shape (M,): a region of many objects, neither learned nor scored.
    """

    boxes: Boxes
    labels: Labels
    crowd: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True)
class Row:
    """One picture of the data set.

    Attributes:
        image: the encoded picture, upright.
        path: its file, relative to the source that it came from.
        label: index into the data set's classes; -1 in detection.
        width: in pixels.
        height: in pixels.
        sha256: of the file as it came, 64 hexadecimal digits.
        objects: what is in it; None in classification.
    """

    image: bytes
    path: str
    label: int
    width: int
    height: int
    sha256: str
    objects: Objects | None = None


class ShardWriter:
    """One Parquet file being written; ``rows`` and ``bytes`` say how much it holds.

    ``file`` is what the data set calls it.
    """

    def __init__(self, path: Path, file: str, classes: tuple[str, ...], task: Task) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.file, self.rows, self.bytes = file, 0, 0
        self._schema = _schema(classes, task)
        self._group: list[dict[str, Any]] = []
        self._group_bytes = 0
        label = "label" if task == "classification" else "objects"
        counted = ["label"] if task == "classification" else []
        compressed = ("image.path", label, "width", "height", "sha256", "split", "source")
        self._writer = pq.ParquetWriter(
            path,
            self._schema,
            # Pictures are compressed already, and what is stored plainly is read plainly.
            compression={"image.bytes": "NONE"} | dict.fromkeys(compressed, "ZSTD"),
            use_dictionary=["split", *counted],
            write_statistics=[*counted, "split", "width", "height"],
        )

    def add(self, row: Row, split: str, source: str) -> None:
        """Add a row."""
        self._group.append(_record(row, split, source))
        self.rows += 1
        objects = 0 if row.objects is None else 48 * len(row.objects)
        self.bytes += len(row.image) + len(row.path) + len(source) + 200 + objects
        self._group_bytes += len(row.image)
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


def read_row(table: Any, i: int) -> Row:
    """Row ``i`` of a table of ``ROW_COLUMNS``."""
    image = table["image"][i]
    classified = "label" in table.column_names
    return Row(
        image=image["bytes"].as_py(),
        path=image["path"].as_py(),
        label=table["label"][i].as_py() if classified else -1,
        width=table["width"][i].as_py(),
        height=table["height"][i].as_py(),
        sha256=table["sha256"][i].as_py(),
        objects=None if classified else read_objects(table.slice(i, 1))[0],
    )


def read_objects(table: Any) -> list[Objects]:
    """The objects of every row of a table of ``OBJECT_COLUMNS``.

    An edge that was stored as a width comes back within a rounding error, and not outside the
    picture: that edge is a whole number, to which sums near it are rounded.
    """
    bbox, category, crowd = table["objects"].combine_chunks().flatten()
    xywh = bbox.flatten().flatten().to_numpy().reshape(-1, 4)
    boxes = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)
    labels = category.flatten().to_numpy()
    crowds = crowd.flatten().to_numpy(zero_copy_only=False)
    counts = category.value_lengths().to_numpy()
    ends = np.cumsum(counts)
    return [
        Objects(boxes[end - count : end], labels[end - count : end], crowds[end - count : end])
        for count, end in zip(counts.tolist(), ends.tolist(), strict=True)
    ]


def _record(row: Row, split: str, source: str) -> dict[str, Any]:
    record = {
        "image": {"bytes": row.image, "path": row.path},
        "width": row.width,
        "height": row.height,
        "sha256": row.sha256,
        "split": split,
        "source": source,
    }
    if row.objects is None:
        return record | {"label": row.label}
    boxes = row.objects.boxes
    return record | {
        "objects": {
            "bbox": np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1).tolist(),
            "category": row.objects.labels.tolist(),
            "crowd": row.objects.crowd.tolist(),
        }
    }


def _schema(classes: tuple[str, ...], task: Task) -> Any:
    """The columns, with the words that ``datasets`` reads their meaning from."""
    label = {"names": list(classes), "_type": "ClassLabel"}

    def value(dtype: str) -> dict[str, str]:
        return {"dtype": dtype, "_type": "Value"}

    def sequence(feature: dict[str, Any]) -> dict[str, Any]:
        return {"feature": feature, "_type": "Sequence"}

    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    objects = pa.struct(
        [
            ("bbox", pa.list_(pa.list_(pa.float64()))),  # COCO's: left, top, width, height
            ("category", pa.list_(pa.int64())),
            ("crowd", pa.list_(pa.bool_())),
        ]
    )
    objects_feature = {
        "bbox": sequence(sequence(value("float64"))),
        "category": sequence(label),
        "crowd": sequence(value("bool")),
    }
    columns: dict[str, tuple[Any, dict[str, Any]]] = {
        "image": (image, {"_type": "Image"}),
        **(
            {"label": (pa.int64(), label)}
            if task == "classification"
            else {"objects": (objects, objects_feature)}
        ),
        "width": (pa.int32(), value("int32")),
        "height": (pa.int32(), value("int32")),
        "sha256": (pa.string(), value("string")),
        "split": (pa.string(), value("string")),
        "source": (pa.string(), value("string")),
    }
    features = {name: feature for name, (_, feature) in columns.items()}
    return pa.schema(
        [(name, type_) for name, (type_, _) in columns.items()],
        metadata={"huggingface": json.dumps({"info": {"features": features}})},
    )
