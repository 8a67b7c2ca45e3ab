"""A data set as Rekognition Custom Labels takes it: pictures in S3, named by two manifests.

The manifests are SageMaker Ground Truth's; Rekognition wants metadata beside every label. The
calibration pictures stay out of both: they choose the threshold afterwards.
Source: Rekognition Custom Labels Guide, "Creating a manifest file", "Guidelines and quotas".
"""

import io
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from pixloop.data.dataset import Dataset, Row, SplitName
from pixloop.decoding import decode_image
from pixloop.errors import AwsError

#: Which of our splits are in which manifest.
MANIFESTS: dict[str, tuple[SplitName, ...]] = {"train": ("train", "validation"), "test": ("test",)}
#: What Rekognition trains on: both sides of a picture in pixels, and the file in bytes.
LEAST_SIDE_PX, GREATEST_SIDE_PX, LARGEST_BYTES = 64, 4096, 15_000_000
_MADE = "2000-01-01T00:00:00.000000"  # Rekognition asks when; the same data give the same bytes


@dataclass
class Written:
    """What became of a data set: how many lines each manifest has, and what was left out."""

    lines: dict[str, int] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)  #: reason in words → pictures


def write_rekognition_data(dataset: Path, folder: Path, address: str) -> Written:
    """Write pictures and manifests below ``folder`` as they will lie below ``address`` in S3.

    Args:
        dataset: a folder that ``prepare`` wrote.
        folder: gets ``pictures/<sha256>.jpg`` or ``.png``, ``train.manifest``, ``test.manifest``.
        address: the ``s3://bucket/prefix`` that the folder will be uploaded to.

    Raises:
        AwsError: a manifest would be empty.
        DataError: there is no data set.
    """
    data, written = Dataset.open(dataset), Written()
    for name, splits in MANIFESTS.items():
        lines = list(_lines(data, splits, folder, address, written))
        if not lines:
            why = "; ".join(f"{n} pictures {reason}" for reason, n in written.left_out.items())
            raise AwsError(
                f"{dataset}: no picture for Rekognition's {name} data. {why or 'There is none'}."
            )
        (folder / f"{name}.manifest").write_text("".join(lines), encoding="utf-8")
        written.lines[name] = len(lines)
    return written


def _lines(
    data: Dataset, splits: Sequence[SplitName], folder: Path, address: str, written: Written
) -> Iterator[str]:
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    for split in splits:
        for row in data.split(split):
            content, suffix = convert(row.image)
            reason = find_fault(row, content, LARGEST_BYTES)
            if reason:
                written.left_out[reason] += 1
                continue
            name = f"pictures/{row.sha256}{suffix}"
            (folder / name).write_bytes(content)
            entry = {"source-ref": f"{address}/{name}", **_labels(row, data.info.classes)}
            yield json.dumps(entry, ensure_ascii=False) + "\n"


def convert(image: bytes) -> tuple[bytes, str]:
    """A PNG or JPEG as it is, anything else as a PNG."""
    if image.startswith(b"\xff\xd8"):
        return image, ".jpg"
    if image.startswith(b"\x89PNG"):
        return image, ".png"
    buffer = io.BytesIO()
    Image.fromarray(decode_image(image)).save(buffer, "PNG")
    return buffer.getvalue(), ".png"


def find_fault(row: Row, content: bytes, largest_bytes: int) -> str | None:
    """Why Rekognition would not take a picture, in words that follow "3 pictures".

    Args:
        row: the picture as it is in the data set.
        content: what ``convert`` gives of it.
        largest_bytes: what may be sent where it goes.
    """
    if min(row.width, row.height) < LEAST_SIDE_PX:
        return f"have a side below {LEAST_SIDE_PX} pixels"
    if max(row.width, row.height) > GREATEST_SIDE_PX:
        return f"have a side above {GREATEST_SIDE_PX} pixels"
    if len(content) > largest_bytes:
        return f"are larger than {largest_bytes // 1_000_000} MB"
    # A line without a box is no line of an object detection manifest.
    if row.objects is not None and row.objects.crowd.all():
        return "show no object"
    return None


def _labels(row: Row, classes: Sequence[str]) -> dict[str, Any]:
    told = {"human-annotated": "yes", "creation-date": _MADE, "job-name": "pixloop"}
    if row.objects is None:
        metadata = {"class-name": classes[row.label], "confidence": 1, **told}
        metadata["type"] = "groundtruth/image-classification"
        return {"label": row.label, "label-metadata": metadata}
    # A crowd is no single object to learn.
    boxes = [
        {
            "class_id": int(label),
            "left": int(x1),
            "top": int(y1),
            "width": max(1, round(x2 - x1)),
            "height": max(1, round(y2 - y1)),
        }
        for (x1, y1, x2, y2), label, crowd in zip(
            row.objects.boxes.tolist(), row.objects.labels, row.objects.crowd, strict=True
        )
        if not crowd
    ]
    size = [{"width": row.width, "height": row.height, "depth": 3}]
    metadata = {
        "objects": [{"confidence": 1} for _ in boxes],
        "class-map": {str(number): name for number, name in enumerate(classes)},
        "type": "groundtruth/object-detection",
        **told,
    }
    return {
        "bounding-box": {"image_size": size, "annotations": boxes},
        "bounding-box-metadata": metadata,
    }
