"""What was left out of the data set: the lines of a quarantine file, found without reading all."""

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixloop.data.findings import KINDS
from pixloop.data.formats.layout import LABEL_SUFFIXES
from pixloop.web.cached import stamp
from pixloop.web.site import Site

#: Lines a page of the table.
PAGE = 50
#: Of these there is no picture, or none that may be looked at.
UNSEEN = frozenset(("empty", "missing_file", "not_a_picture", "corrupt", "too_large"))
_MOST_BYTES = 50_000_000
_REASON = b'"reason": "'


@dataclass(frozen=True, eq=False)
class Lines:
    """Where each line of a file begins, and for what reason it is there.

    Attributes:
        file: of lines of JSON, as ``findings`` writes it.
        starts: bytes before each line, and before what follows the last; (N + 1,).
        codes: each line's reason, as a place in ``reasons``; (N,).
        reasons: that there are, the most frequent first.
    """

    file: Path
    starts: NDArray[np.int64]
    codes: NDArray[np.int64]
    reasons: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.codes)

    def counts(self) -> dict[str, int]:
        """How many lines there are of each reason."""
        numbers = np.bincount(self.codes, minlength=len(self.reasons)).tolist()
        return dict(zip(self.reasons, numbers, strict=True))

    def of(self, reason: str = "") -> NDArray[np.int64]:
        """The numbers of the lines of a reason, or of all; from 0."""
        if not reason:
            return np.arange(len(self))
        code = self.reasons.index(reason) if reason in self.reasons else -1
        return np.flatnonzero(self.codes == code)

    def read(self, numbers: Sequence[int]) -> list[dict[str, Any]]:
        """Lines by their numbers, each with its ``number``."""
        found: list[dict[str, Any]] = []
        if not numbers:
            return found
        with self.file.open("rb") as file:
            for number in numbers:
                file.seek(int(self.starts[number]))
                raw = file.read(int(self.starts[number + 1] - self.starts[number]))
                found.append({**_parse(raw), "number": int(number)})
        return found


def quarantine(site: Site, file: Path) -> Lines:
    """The lines of a quarantine file; none where there is no such file."""
    return site.cached.get(("quarantine", file.name), (file, stamp(file)), lambda: index(file))


def index(file: Path) -> Lines:
    """Look through a quarantine file once."""
    starts, codes, known, place = [0], list[int](), dict[bytes, int](), 0
    for line in _lines(file):
        place += len(line)
        if not line.strip():
            starts[-1] = place
            continue
        # Within a string of JSON a quotation mark has a backslash, so that this is found only
        # where the key is.
        _, found, rest = line.partition(_REASON)
        reason = rest[: rest.find(b'"')] if found else b"unknown"
        codes.append(known.setdefault(reason, len(known)))
        starts.append(place)
    return _in_order(file, starts, codes, [name.decode("utf-8", "replace") for name in known])


def words(reason: str, count: int = 2) -> str:
    """A reason as people say it, after a count."""
    kind = KINDS.get(reason)
    return kind.text(count) if kind else reason.replace("_", " ")


def source_file(site: Site, name: str) -> Path | None:
    """The file that a name of the quarantine means, where it lies in the project's own sources.

    Args:
        site: whose ``data.train`` and ``data.test`` are the only folders that are looked into.
        name: as the quarantine has it, which a stranger may have chosen.
    """
    data = site.project.config.data
    root, rest = data.train, name
    if data.test is not None:
        side, slash, rest = name.partition("/")
        roots = {"train": data.train, "test": data.test}
        if not slash or side not in roots:
            return None
        root = roots[side]
    folder = local_folder(site, root)
    if folder is None or "\0" in rest:
        return None
    try:
        file = (folder / rest).resolve()
        inside = file.is_relative_to(folder) and file != folder
        return file if inside and file.is_file() and file.stat().st_size <= _MOST_BYTES else None
    except (OSError, ValueError, RuntimeError):  # a name that is too long, a loop of links
        return None


def local_folder(site: Site, source: str) -> Path | None:
    """The folder that a source of pixloop.yaml is, or lies in; None where it is none here."""
    if "://" in source:
        return None
    path = (site.folder / Path(source).expanduser()).resolve()
    if path.is_dir():
        return path
    # An archive's pictures do not lie beside it.
    return path.parent if path.is_file() and path.suffix.lower() in LABEL_SUFFIXES else None


def _lines(file: Path) -> Iterator[bytes]:
    with suppress(FileNotFoundError), file.open("rb") as opened:
        yield from opened


def _in_order(file: Path, starts: list[int], codes: list[int], names: list[str]) -> Lines:
    numbers = np.asarray(codes, np.int64)
    counts = np.bincount(numbers, minlength=len(names))
    order = np.argsort(-counts, kind="stable")
    rank = np.empty(len(names), np.int64)
    rank[order] = np.arange(len(names))
    reasons = tuple(names[i] for i in order.tolist())
    return Lines(file, np.asarray(starts, np.int64), rank[numbers], reasons)


def _parse(raw: bytes) -> dict[str, Any]:
    try:
        found = json.loads(raw)
    except ValueError:
        found = None
    read = found if isinstance(found, dict) else {}
    texts = {key: str(read.get(key) or "") for key in ("path", "reason", "detail", "source")}
    return {**read, **texts}
