"""Pictures to predict in parts, and what the answers for them should be."""

from collections.abc import Iterable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

COLOURS = ("red", "green", "blue")
RGB = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}


def encoded(colour: str) -> bytes:
    file = BytesIO()
    Image.new("RGB", (12, 10), RGB[colour]).save(file, "PNG")
    return file.getvalue()


PICTURES = {colour: encoded(colour) for colour in COLOURS}


def labelled(count: int) -> dict[str, str | None]:
    """Names of picture files in order, with their colour; None for one that is broken."""
    names = sorted(f"{number % 3}/{number:04}.png" for number in range(count))
    return {name: None if i % 7 == 3 else COLOURS[i % 3] for i, name in enumerate(names)}


def content(colour: str | None) -> bytes:
    return b"no picture" if colour is None else PICTURES[colour]


def write_files(folder: Path, count: int) -> dict[str, str | None]:
    """Picture files in folders; their labels by address, in order."""
    pictures = labelled(count)
    for name, colour in pictures.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content(colour))
    return {str(folder / name): colour for name, colour in pictures.items()}


def write_parquet(file: Path, colours: Iterable[str | None], group: int = 3) -> None:
    """A file as Hugging Face's ``datasets`` writes it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        {"image": {"bytes": content(colour), "path": f"{i}.png"}, "label": 0, "sha256": f"{i:064}"}
        for i, colour in enumerate(colours)
    ]
    pq.write_table(pa.Table.from_pylist(rows), file, row_group_size=group)


def part_files(output: Path) -> list[Path]:
    return sorted(output.glob("part-*.parquet"))


def answers(output: Path) -> list[dict[str, Any]]:
    """The rows of an output's parts, in order."""
    return [row for file in part_files(output) for row in pq.read_table(file).to_pylist()]


def contents(output: Path) -> dict[str, bytes]:
    """The files of answers, byte by byte."""
    return {file.name: file.read_bytes() for file in part_files(output)}


def labels(rows: Iterable[dict[str, Any]]) -> Iterator[str | None]:
    for row in rows:
        assert (row["label"] is None) == (row["error"] is not None)
        yield row["label"]
