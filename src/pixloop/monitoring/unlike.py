"""The pictures of an alarm: those that are most unlike the reference."""

import heapq
import io
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pixloop.decoding import decode_image
from pixloop.errors import ImageError
from pixloop.monitoring.alarms import unlikeness
from pixloop.monitoring.martingale import Direction
from pixloop.monitoring.observations import Observation, Observations

#: How many are shown.
SHOWN = 12
_SIDE_PX = 128
#: Captures go: so many are looked at to find those that are still there.
_TRIED = 4 * SHOWN


def find_unlike(
    rows: Observations,
    first: int,
    reference: NDArray[np.floating],
    moved: Sequence[tuple[int, Direction]],
) -> list[int]:
    """The numbers of the rows, from ``first`` on, that are most unlike; the most unlike first."""
    best: list[tuple[float, int]] = []
    start = first
    for values in rows.values(first):
        found = unlikeness(values, reference, list(moved))
        best = heapq.nlargest(
            _TRIED, [*best, *((float(u), start + i) for i, u in enumerate(found))]
        )
        start += len(values)
    return [number for _, number in best]


def keep_pictures(
    found: Sequence[Observation], read: Callable[[Observation], bytes | None], target: Path
) -> None:
    """Write thumbnails of the first ``SHOWN`` that can still be read, as a folder or not at all.

    No picture is written twice, however often it was asked.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    seen: set[str] = set()
    for row in found:
        picture = None if row.sha256 in seen else read(row)
        if picture is None:
            continue
        try:
            thumbnail = _thumbnail(picture)
        except ImageError:
            continue
        (fresh / f"{len(seen):02d}.jpg").write_bytes(thumbnail)
        seen.add(row.sha256)
        if len(seen) == SHOWN:
            break
    fresh.chmod(0o755)
    if target.exists():
        shutil.rmtree(target)
    fresh.replace(target)


def _thumbnail(picture: bytes) -> bytes:
    image = Image.fromarray(decode_image(picture))
    image.thumbnail((_SIDE_PX, _SIDE_PX))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=85)
    return file.getvalue()
