"""Where the addresses of a run lie on this machine, and where its results go besides.

Without ``Places`` every address is a ``file://`` one, and a step's outputs stay in its folder. With
them a run here stands in for SageMaker: inputs at ``s3://`` are fetched, outputs are published to
the addresses that the definition gives them, and later steps are told those addresses.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from pixloop.errors import PipelineError


class Places(Protocol):
    """A store of files and folders with ``s3://`` addresses."""

    def fetch(self, address: str, what: str) -> Path:
        """A copy here of the file or folder at ``address``; ``what`` names it in errors."""

    def publish(self, path: Path, address: str) -> None:
        """Make ``address`` hold the file, or the folder's files below it, and nothing else."""


@dataclass(frozen=True)
class Source:
    """What an input's address stands for here.

    Attributes:
        path: the file or folder.
        sha256: the digest of its content, where a step of this run made it.
        fetched: it is a copy, whose times of change say nothing.
    """

    path: Path
    sha256: str | None = None
    fetched: bool = False


class Addresses:
    """The addresses that a run knows: what its steps have made, and what lies elsewhere."""

    def __init__(self, places: Places | None = None) -> None:
        self._places = places
        self._made: dict[str, Source] = {}

    @property
    def local(self) -> bool:
        """Whether results stay where they are made."""
        return self._places is None

    def find(self, address: str, what: str) -> Source:
        """What lies at an address.

        Raises:
            PipelineError: nothing does, or the address cannot be read here; ``what`` names it.
        """
        if address in self._made:
            return self._made[address]
        if self._places is not None and urlsplit(address).scheme == "s3":
            return Source(self._places.fetch(address, what), fetched=True)
        return Source(local_path(address, what))

    def add(self, path: Path, sha256: str, address: str | None = None) -> str:
        """Take in what a step has made, published to ``address`` if given; gives its address."""
        if self._places is not None and address is not None:
            self._places.publish(path, address)
        known = address or path.as_uri()
        self._made[known] = Source(path, sha256)
        return known


def local_path(address: str, what: str) -> Path:
    """The path of a ``file://`` address.

    Raises:
        PipelineError: the address is another one, or nothing is there; ``what`` names it.
    """
    parts = urlsplit(address)
    if parts.scheme != "file":
        raise PipelineError(
            f"{what} is at {address!r}, but a pipeline that runs here reads file:// addresses. "
            "Fetch it to a folder first, as 'pixloop run' does."
        )
    path = Path(unquote(parts.path))
    if not path.exists():
        raise PipelineError(f"{what}: {path} does not exist.")
    return path
