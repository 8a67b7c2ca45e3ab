"""What pictures were like when a version was measured: a part of its bundle.

::

    reference/
      signals.parquet      a row a picture: its signals, embedding, score, and whether it was right
      embedding.npz        how embeddings are projected, where the graph could be cut
      thumbnails/00.jpg …  a few typical pictures, to be shown beside unlike ones
      odds.json            what the drift alarm notices, where that was measured

The pictures are of the calibration split: the model neither learned from them nor was chosen by
them, so they are to it what pictures are that it will be asked about.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import ValidationError

from pixloop.bundle import Bundle
from pixloop.errors import MonitoringError
from pixloop.files import atomic_path, sha256_file, write_text
from pixloop.monitoring.columns import floats, read_table, rows_of_floats
from pixloop.monitoring.odds import Odds
from pixloop.monitoring.signals import Group, Signal

Floats = NDArray[np.float32]

FOLDER = "reference"
SIGNALS, EMBEDDING, THUMBNAILS, ODDS = "signals.parquet", "embedding.npz", "thumbnails", "odds.json"
_SCORE, _CORRECT, _EMBEDDING = "@score", "@correct", "@embedding"


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """What is known of n held-out pictures.

    Attributes:
        signals: what the columns of ``values`` are.
        values: float32 (n, S), NaN where a picture has no such value.
        embeddings: float32 (n, E), projected; E is 0 where the graph could not be cut.
        scores: float32 (n,), of the answers, as ``signals.score_of`` has them; NaN for no boxes.
        correct: float32 (n,), 1 where the answer was right and 0 where not; detection: the share of
            right boxes, NaN where there are none. All NaN where there are no labels.
        thumbnails: typical pictures, JPEG.
        false_alarm_seed: of the numbers that break ties in tests against it.
        odds: what the alarm notices; None where it was not measured.
    """

    signals: tuple[Signal, ...]
    values: Floats
    embeddings: Floats
    scores: Floats
    correct: Floats
    thumbnails: tuple[bytes, ...] = ()
    false_alarm_seed: int = 0
    odds: Odds | None = None


def read_reference(bundle: Bundle) -> Reference:
    """The bundle's reference.

    Raises:
        MonitoringError: it has none, since an older pixloop exported it.
        BundleError: its files are not those that were exported.
    """
    if bundle.manifest.reference is None:
        raise MonitoringError(
            f"{bundle.path} has no reference to compare pictures with: an older pixloop exported "
            "it. Run 'pixloop run' again."
        )
    bundle.verify([name for name in bundle.manifest.files if name.startswith(f"{FOLDER}/")])
    return load_reference(bundle.path / FOLDER)


def load_reference(folder: Path) -> Reference:
    """What ``save_reference`` wrote.

    Raises:
        MonitoringError: the folder holds no reference.
    """
    file = folder / SIGNALS
    try:
        table = read_table(file)
        signals = tuple(_read_signal(f) for f in table.schema if not f.name.startswith("@"))
        columns = [floats(table[signal.name]) for signal in signals]
        reference = Reference(
            signals=signals,
            values=np.stack(columns, axis=1),
            embeddings=_read_embeddings(table),
            scores=floats(table[_SCORE]),
            correct=floats(table[_CORRECT]),
            thumbnails=tuple(f.read_bytes() for f in sorted((folder / THUMBNAILS).glob("*.jpg"))),
            false_alarm_seed=int(sha256_file(file)[:12], 16),
            odds=read_odds(folder),
        )
    except (OSError, KeyError, ValueError, TypeError, BufferError, pa.ArrowException) as e:
        raise MonitoringError(f"{file} is no reference that pixloop wrote: {e}") from e
    return reference


def save_reference(folder: Path, reference: Reference) -> None:
    """Write a reference, its signals last; the seed follows from what is written."""
    for number, picture in enumerate(reference.thumbnails):
        with atomic_path(folder / THUMBNAILS / f"{number:02d}.jpg") as temporary:
            temporary.write_bytes(picture)
    if reference.odds is not None:
        write_odds(folder, reference.odds)
    columns = [*reference.values.T, reference.scores, reference.correct]
    fields = [
        *(_field(signal) for signal in reference.signals),
        pa.field(_SCORE, pa.float32()),
        pa.field(_CORRECT, pa.float32()),
    ]
    arrays = [pa.array(np.ascontiguousarray(column), pa.float32()) for column in columns]
    if width := reference.embeddings.shape[1]:
        flat = pa.array(np.ascontiguousarray(reference.embeddings).reshape(-1), pa.float32())
        arrays.append(pa.FixedSizeListArray.from_arrays(flat, width))
        fields.append(pa.field(_EMBEDDING, arrays[-1].type))
    with atomic_path(folder / SIGNALS) as temporary:
        pq.write_table(pa.Table.from_arrays(arrays, schema=pa.schema(fields)), temporary)


def write_odds(folder: Path, odds: Odds) -> None:
    """Write into a reference's folder what its alarm notices."""
    write_text(folder / ODDS, odds.model_dump_json(indent=2) + "\n")


def read_odds(folder: Path) -> Odds | None:
    """What the alarm of the reference in a folder notices; None where that was not measured.

    Raises:
        MonitoringError: the file there is not what pixloop writes.
    """
    file = folder / ODDS
    if not file.is_file():
        return None
    try:
        return Odds.model_validate_json(file.read_bytes())
    except ValidationError as e:
        raise MonitoringError(f"{file} is not what pixloop writes: {e}") from e


def _field(signal: Signal) -> Any:
    about = {"signal": json.dumps({"group": signal.group, "words": signal.words})}
    return pa.field(signal.name, pa.float32(), metadata=about)


def _read_signal(field: Any) -> Signal:
    about = json.loads((field.metadata or {})[b"signal"])
    return Signal(field.name, cast(Group, about["group"]), about["words"])


def _read_embeddings(table: Any) -> Floats:
    if _EMBEDDING not in table.column_names:
        return np.empty((len(table), 0), np.float32)
    return rows_of_floats(table[_EMBEDDING])
