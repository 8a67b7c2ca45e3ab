"""What a report says is worth a look, as pictures that people may be asked about."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pixloop.annotation.items import Candidate, Reason
from pixloop.annotation.label_errors import candidate_of
from pixloop.data.dataset import Dataset
from pixloop.errors import AnnotationError


def read_numbers(texts: Sequence[str]) -> set[int]:
    """Numbers and ranges of numbers.

    Args:
        texts: "3", "5-8" or "1,3".

    Raises:
        AnnotationError: one is neither, or a range that ends before it begins.

    >>> sorted(read_numbers(["1,3", "5-7"]))
    [1, 3, 5, 6, 7]
    """
    numbers: set[int] = set()
    for text in ",".join(texts).split(","):
        first, dash, last = text.strip().partition("-")
        if first.isdecimal() and last.isdecimal() and int(last) < int(first):
            raise AnnotationError(
                f"the range {text!r} ends before it begins; expected such as 5-8."
            )
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise AnnotationError(
                f"{text!r} is no number of a report's list; expected such as 3 or 5-8."
            )
        numbers |= set(range(int(first), min(int(last or first), 10_000) + 1))
    return numbers


def find_reported(
    trust: Mapping[str, Any], data: Dataset, model: str, numbers: set[int] | None = None
) -> Iterator[Candidate]:
    """The pictures that a report lists for review.

    Args:
        trust: ``pixloop.trust`` of the report's evaluation.json.
        data: the data set that the report is about.
        model: what answers call the version.
        numbers: those that are wanted; None for all.

    Raises:
        AnnotationError: the report has no such number, or the data set no such picture.
    """
    entries = {entry["number"]: entry for entry in trust["review"]}
    unknown = sorted((numbers or set()) - set(entries))
    if unknown:
        has = f"it has 1 to {len(entries)}" if entries else "it lists none"
        raise AnnotationError(f"the report lists no picture {unknown[0]}; {has}.")
    chosen = [entry for n, entry in entries.items() if numbers is None or n in numbers]
    places = _places(data, {entry["split"] for entry in chosen})
    for entry in chosen:
        place = places.get((entry["split"], entry["sha256"]))
        if place is None:
            raise AnnotationError(
                f"{entry['path']} is no longer in the data set {data.folder}: the report is about "
                "another one. Run 'pixloop run' again."
            )
        yield candidate_of(
            data.split(entry["split"]).read(place),
            Reason("label_error", entry["detail"], float(entry["weight"])),
            dict(entry["answer"]),
            model,
            entry["split"],
            label=entry["label"] if data.info.task == "classification" else "",
        )


def _places(data: Dataset, splits: set[str]) -> dict[tuple[str, str], int]:
    """The row of every picture of some splits, by split and SHA-256."""
    return {
        (split, sha256): row for split in splits for row, sha256 in enumerate(_hashes(data, split))
    }


def _hashes(data: Dataset, split: str) -> Iterator[str]:
    for table in data.split(split).tables(["sha256"]):
        yield from table["sha256"].to_pylist()
