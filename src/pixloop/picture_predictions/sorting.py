"""Many names in order, without holding them all."""

import heapq
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import islice
from tempfile import TemporaryFile

#: Names that are sorted in memory at once.
_AT_ONCE = 200_000


def in_order(names: Iterable[str], at_once: int = _AT_ONCE) -> Iterator[str]:
    """File names, sorted; what is more than ``at_once`` waits in temporary files.

    >>> list(in_order(["b", "a", "c"], at_once=2))
    ['a', 'b', 'c']
    """
    stream = iter(names)
    with ExitStack() as files:
        runs: list[Iterable[str]] = []
        run = sorted(islice(stream, at_once))
        while len(run) == at_once:
            # No name holds a zero byte; some are no UTF-8, and some hold line ends.
            file = files.enter_context(
                TemporaryFile("w+", encoding="utf-8", errors="surrogateescape", newline="")
            )
            file.writelines(f"{name}\0\n" for name in run)
            file.seek(0)
            runs.append(_names(file))
            run = sorted(islice(stream, at_once))
        yield from heapq.merge(*runs, run)


def _names(lines: Iterable[str]) -> Iterator[str]:
    name = ""
    for line in lines:
        name += line
        if name.endswith("\0\n"):
            yield name[:-2]
            name = ""
