"""Which of a project's versions is the champion, and which one stands for all."""

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pixloop.model_versions import ModelVersion


def champion_of(versions: Sequence[ModelVersion]) -> ModelVersion | None:
    """The champion among versions."""
    return next((each for each in versions if each.champion), None)


def preferred(versions: Sequence[ModelVersion]) -> ModelVersion | None:
    """The champion, else the latest that was not rejected: what a server would choose.

    Args:
        versions: the newest first.
    """
    latest = next((each for each in versions if each.status != "rejected"), None)
    return champion_of(versions) or latest


def local_place(place: str) -> Path | None:
    """A bundle's or a report's place as a path, where it is on this machine.

    >>> local_place("file:///srv/a%20b"), local_place("s3://bucket/a")
    (PosixPath('/srv/a b'), None)
    """
    parts = urlsplit(place)
    return Path(unquote(parts.path)) if parts.scheme in ("", "file") and parts.path else None
