"""Writing files so that a kill in the middle leaves the old file or the new one, never half."""

import gzip
import hashlib
import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """A temporary file beside ``target``, which becomes ``target`` when the block ends well.

    The target's folder is made where it is missing. After an error the target is untouched.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes files that only their owner reads; what we publish is an ordinary file.
        temporary.chmod(0o644)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(target: Path, text: str) -> None:
    """Write ``text`` as UTF-8, atomically."""
    with atomic_path(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(target: Path, value: Any) -> None:
    """Write ``value`` as indented JSON, atomically. NaN and infinity are refused (ValueError)."""
    write_text(target, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def sha256_file(path: Path) -> str:
    """The SHA-256 of a file's content, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_folder(folder: Path) -> str:
    """One SHA-256 over every file below ``folder``: relative names and contents, in name order."""
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        digest.update(f"{path.relative_to(folder).as_posix()}\0{sha256_file(path)}\n".encode())
    return digest.hexdigest()


def pack(folder: Path, target: Path) -> None:
    """Pack a folder's content into ``target`` (.tar.gz), atomically; equal content, equal bytes."""

    def anonymous(info: tarfile.TarInfo) -> tarfile.TarInfo:
        info.uid = info.gid = info.mtime = 0
        info.uname = info.gname = ""
        info.mode = 0o755 if info.isdir() else 0o644
        return info

    with (
        atomic_path(target) as temporary,
        temporary.open("wb") as raw,
        gzip.GzipFile(filename="", fileobj=raw, mode="wb", compresslevel=1, mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w") as tar,
    ):
        for path in sorted(folder.rglob("*")):
            # The archive may be written into the folder it packs.
            if path.is_file() and path != target and not path.name.startswith(f".{target.name}."):
                tar.add(path, path.relative_to(folder).as_posix(), filter=anonymous)


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a .tar.gz that ``pack`` or SageMaker wrote into ``folder``, replacing it whole.

    Members that would land outside the folder, links and devices are refused (tarfile's data
    filter raises ``tarfile.FilterError``).
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        fresh = Path(temporary) / "content"
        with tarfile.open(archive) as tar:
            tar.extractall(fresh, filter="data")
        if folder.exists():
            shutil.rmtree(folder)
        fresh.replace(folder)
