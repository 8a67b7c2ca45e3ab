"""What was captured and nobody has looked at, counted anew only where the captures have changed."""

import os
import re
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pixloop.web.cached import stamp
from pixloop.web.rendering import count, size
from pixloop.web.site import Site

#: Files lie in a folder for each hour below it, and are never changed once they are seen there.
_DAY = re.compile(r"/\d{4}/\d\d/\d\d$")
#: Fewer requests than this are worth no look of their own.
_WORTH_A_LOOK = 30


@dataclass(frozen=True, slots=True)
class Captured:
    """What of the captures no look has read.

    Attributes:
        requests: how many; None where there is too much to count quickly.
        bytes: of them.
    """

    requests: int | None = 0
    bytes: int = 0

    @property
    def many(self) -> bool:
        """Whether it is worth a look."""
        return self.requests is None or self.requests >= _WORTH_A_LOOK

    @property
    def figure(self) -> str:
        """How much it is."""
        return size(self.bytes) if self.requests is None else count(self.requests)

    @property
    def words(self) -> str:
        """What was not looked at, as a clause."""
        if self.requests is None:
            return f"{self.figure} of captures were not looked at"
        if self.requests == 1:
            return "1 captured request was not looked at"
        return f"{self.figure} captured requests were not looked at"


def read_captured(site: Site, captures: Path, offsets: Mapping[str, int]) -> Captured:
    """How much of the captures no look has read.

    Args:
        site: the project's.
        captures: their folder.
        offsets: by file, how far it was read.
    """
    seen = (_look(captures), tuple(sorted(offsets.items())))
    return site.cached.get("loop captured", seen, lambda: _count(captures, offsets))


def _look(captures: Path) -> Hashable:
    """How its folders look: there are far fewer of them than files."""
    found: list[Path] = []
    for where, folders, _ in os.walk(captures):
        found.append(Path(where))
        if _DAY.search(Path(where).as_posix()):
            found += [Path(where, hour) for hour in folders]
            folders.clear()
    return tuple(zip(found, stamp(*found), strict=True))


def _count(captures: Path, offsets: Mapping[str, int]) -> Captured:
    # Most pages, and most projects, have no use for what it imports.
    from pixloop.monitoring.captures import find_unread

    found = find_unread(captures, offsets)
    return Captured(found.requests, found.size)
