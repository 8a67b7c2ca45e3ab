"""Which labels are classes: those that ``data.classes`` lists, however they are spelt there.

Without a list every label is a class, and those that look like another's misspelling are named.
"""

import difflib
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence

from pixloop.bundle import Task
from pixloop.data.index import Index

# A label this many times rarer than one that is spelt nearly the same is likely a slip.
_RARER = 20
_LIKENESS = 0.8  # of difflib: 2 × letters in common / letters of both


def tidy(label: str) -> str:
    r"""A label as pixloop writes it: composed Unicode (NFC), no space around it.

    >>> tidy(" cafe\u0301 ") == "caf\u00e9"
    True
    """
    return unicodedata.normalize("NFC", label).strip()


def settle_classes(index: Index, listed: Sequence[str] | None, task: Task) -> None:
    """Bring the tidy labels in the index in line with ``listed``, or name those that look alike."""
    query = "SELECT label, COUNT(*) FROM {} GROUP BY label ORDER BY label"
    counts = dict(index.db.execute(query.format(_KEPT[task])).fetchall())
    if listed is None:
        for label, other in similar_classes(counts):
            words = f"{_counted(counts[label], task)}; looks like {other!r} ({counts[other]})"
            index.note("similar_classes", "SELECT ?, ?", label, words)
        return
    listed = [tidy(name) for name in listed]
    for label, count in counts.items():
        name = find_class(label, listed)
        if name is None:
            _leave_out(index, label, listed, task)
        elif name != label:
            table = "samples" if task == "classification" else "boxes"
            index.db.execute(f"UPDATE {table} SET label = ? WHERE label = ?", (name, label))  # noqa: S608
            words = f"{_counted(count, task)} counted as {name!r}"
            index.note("respelt_class", "SELECT ?, ?", label, words)
    found = {find_class(label, listed) for label in counts}
    for name in listed:
        if name not in found:
            index.note("class_not_found", "SELECT ?, 'data.classes lists it'", name)


def find_class(label: str, listed: Sequence[str]) -> str | None:
    """The listed class that is meant: the same but for case.

    >>> find_class("rbc", ["RBC", "WBC"])
    'RBC'
    """
    if label in listed:
        return label
    return next((name for name in listed if name.casefold() == label.casefold()), None)


def similar_classes(counts: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    """Labels that look like a misspelling, each with the label that it looks like.

    That is a label that differs from another only in case, or one that is far rarer than another
    of nearly the same letters.

    >>> list(similar_classes({"Platelets": 361, "platlets": 2, "RBC": 4153, "WBC": 372}))
    [('platlets', 'Platelets')]
    """
    # The most frequent first, so that a label is held against those above it alone.
    labels = sorted(counts, key=lambda label: (-counts[label], label))
    for place, label in enumerate(labels):
        plain = label.casefold()
        for other in labels[:place]:
            rarer = counts[other] >= _RARER * counts[label]
            if other.casefold() == plain or (rarer and _is_misspelt(plain, other)):
                yield label, other
                break


def nearest_class(label: str, listed: Iterable[str]) -> str | None:
    """The listed class that is spelt most like ``label``, if any is near.

    >>> nearest_class("platlets", ["Platelets", "RBC"])
    'Platelets'
    """
    near = [(_likeness(label.casefold(), name), name) for name in listed]
    likeness, name = max(near, default=(0.0, ""))
    return name if likeness >= _LIKENESS else None


_KEPT = {"classification": "kept", "detection": "kept_boxes"}


def _leave_out(index: Index, label: str, listed: Sequence[str], task: Task) -> None:
    near = nearest_class(label, listed)
    detail = f"data.classes lists no {label!r}" + (f"; did you mean {near!r}?" if near else "")
    if task == "detection":
        index.exclude_boxes("unknown_class", detail, "label = ?", label)
    else:
        index.exclude("unknown_class", "SELECT id, ? FROM kept WHERE label = ?", detail, label)


def _is_misspelt(plain: str, other: str) -> bool:
    # "type 1" and "type 2" are near, and no misspelling.
    numbered = [[c for c in text if c.isdigit()] for text in (plain, other)]
    return numbered[0] == numbered[1] and _likeness(plain, other) >= _LIKENESS


def _likeness(plain: str, other: str) -> float:
    return difflib.SequenceMatcher(None, plain, other.casefold(), autojunk=False).ratio()


def _counted(count: int, task: Task) -> str:
    noun = "picture" if task == "classification" else "box"
    plural = "pictures" if task == "classification" else "boxes"
    return f"{count} {noun if count == 1 else plural}"
