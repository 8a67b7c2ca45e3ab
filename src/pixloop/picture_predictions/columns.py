"""The columns of answers in Parquet."""

from typing import Any

import pyarrow as pa

from pixloop.picture_predictions.record import PicturePrediction

_BOX = {
    "label": pa.string(),
    "score": pa.float64(),
    "xyxy": pa.list_(pa.float64(), 4),
    "decision": pa.string(),
}

#: A row a picture.
ANSWERS: dict[str, Any] = {
    "path": pa.string(),
    "label": pa.string(),
    "score": pa.float64(),
    "decision": pa.string(),
    "probabilities": pa.map_(pa.string(), pa.float64()),
    "boxes": pa.list_(pa.struct(_BOX)),
    "width": pa.int64(),
    "height": pa.int64(),
    "drawing": pa.string(),
    "error": pa.string(),
}


def row_of(answer: PicturePrediction) -> dict[str, Any]:
    """An answer as a row of ``ANSWERS``."""
    return answer.model_dump(mode="json")
