"""Files and objects, as the tests of storage compare them."""

from pathlib import Path

from pixloop.aws.session import Session
from pixloop.aws.storage import list_objects


def write(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(f"content of {name}".encode())
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


def keys(session: Session, address: str) -> list[str]:
    return [found.key for found in list_objects(session, address)]
