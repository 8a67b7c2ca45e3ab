"""A store for runs: its buckets are folders."""

import shutil
from pathlib import Path

from pixloop.errors import PipelineError


class Folders:
    """``s3://<bucket>/<key>`` is ``<root>/<bucket>/<key>``; what is fetched is a fresh copy."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.fetched: list[str] = []
        self._copies = root / "copies"

    def path(self, address: str) -> Path:
        return self.root / address.removeprefix("s3://").rstrip("/")

    def fetch(self, address: str, what: str) -> Path:
        source = self.path(address)
        if not source.exists():
            raise PipelineError(f"{what}: nothing is at {address}.")
        self.fetched.append(address)
        copy = self._copies / str(len(self.fetched)) / source.name
        copy.parent.mkdir(parents=True)
        if source.is_dir():
            shutil.copytree(source, copy, copy_function=shutil.copyfile)
        else:
            shutil.copyfile(source, copy)
        return copy

    def publish(self, path: Path, address: str) -> None:
        target = self.path(address)
        shutil.rmtree(target, ignore_errors=True)
        if path.is_dir():
            shutil.copytree(path, target)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)

    def names(self, address: str) -> list[str]:
        folder = self.path(address)
        return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
