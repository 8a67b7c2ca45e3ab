"""What people said about pictures: a file an annotation, its picture beside it.

::

    annotations/
      <id>.json             an annotation: ``Annotation``
      pictures/<sha256>     the pictures, as they were asked, named by their content

Every file is written whole or not at all, and an annotation's picture before the annotation, so
that a kill leaves nothing that has no picture. What is deleted at its source stays, marked so.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from pixloop.data.agreement import Resolved, resolve
from pixloop.data.annotation_records import AnnotatedBox, Annotation, Drawn
from pixloop.errors import DataError
from pixloop.files import atomic_path, write_text

__all__ = [
    "NO_ANNOTATIONS",
    "PICTURES",
    "AnnotatedBox",
    "Annotation",
    "AnnotationStore",
    "Drawn",
    "Resolved",
]

PICTURES = "pictures"
#: The file that lies in the place of annotations before there are any: an address that a pipeline
#: reads must hold something.
NO_ANNOTATIONS = "none.json"

_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class AnnotationStore:
    """The annotations in a folder; several processes may add to it at once."""

    def __init__(self, folder: Path) -> None:
        """Nothing is made until something is added."""
        self.folder = folder

    def add(self, annotation: Annotation, picture: bytes | None) -> bool:
        """Keep an annotation; one that is known under its id is replaced.

        Args:
            annotation: what was said.
            picture: the picture's bytes; None where it is kept already, or is one of the data
                set's own.

        Returns:
            Whether anything is new: False where the same annotation was kept before.

        Raises:
            DataError: the id cannot name a file, or the bytes are not the picture's.
        """
        target = self._file(annotation.id)
        if not _SHA256.fullmatch(annotation.sha256):
            raise DataError(
                f"annotation {annotation.id}: its picture is named {annotation.sha256!r}; "
                "expected a SHA-256 of 64 lower-case hexadecimal digits."
            )
        if picture is not None:
            self._keep_picture(annotation, picture)
        if target.is_file() and _read_or_none(target) == annotation:
            return False
        write_text(target, annotation.model_dump_json(indent=2) + "\n")
        return True

    def read(self) -> list[Annotation]:
        """Every annotation, in the order of the ids; those that are deleted or skipped too.

        Raises:
            DataError: a file is no annotation.
        """
        return [_read(file) for file in self._files()]

    def get(self, identity: str) -> Annotation | None:
        """The annotation of an id, where there is one.

        Raises:
            DataError: the id cannot name a file, or its file is no annotation.
        """
        file = self._file(identity)
        return _read(file) if file.is_file() else None

    def picture(self, sha256: str) -> Path | None:
        """The file of a picture, where it is kept here."""
        file = self.folder / PICTURES / sha256
        return file if _SHA256.fullmatch(sha256) and file.is_file() else None

    def resolved(self, annotators: int = 1, agreement: float = 0.6) -> list[Resolved]:
        """What is known of each picture that people have answered for, by their SHA-256.

        Args:
            annotators: how many must have answered.
            agreement: the share of them that must agree.

        Returns:
            One a picture. Where it does not count yet, its ``reason`` says why.
        """
        return resolve(self.read(), annotators, agreement)

    def digest(self) -> str:
        """A SHA-256 over all that was said; it changes when anything is added or changed."""
        digest = hashlib.sha256()
        for file in self._files():
            digest.update(f"{file.name}\0".encode() + file.read_bytes() + b"\0")
        return digest.hexdigest()

    def _files(self) -> Iterator[Path]:
        if self.folder.is_dir():
            files = (f for f in self.folder.glob("*.json") if not f.name.startswith("."))
            yield from sorted(f for f in files if f.name != NO_ANNOTATIONS)

    def _file(self, identity: str) -> Path:
        if not _ID.fullmatch(identity) or f"{identity}.json" == NO_ANNOTATIONS:
            raise DataError(
                f"an annotation may not have the id {identity!r}: it names a file. Use letters, "
                "digits, '.', '_' and '-', as in 'label-studio-1-17'."
            )
        return self.folder / f"{identity}.json"

    def _keep_picture(self, annotation: Annotation, picture: bytes) -> None:
        sha256 = annotation.sha256
        if hashlib.sha256(picture).hexdigest() != sha256:
            raise DataError(
                f"annotation {annotation.id} is about the picture {sha256}, and other bytes were "
                "given with it. Give the picture as it was asked."
            )
        if self.picture(sha256) is None:
            with atomic_path(self.folder / PICTURES / sha256) as temporary:
                temporary.write_bytes(picture)


def _read(file: Path) -> Annotation:
    try:
        annotation = Annotation.model_validate(json.loads(file.read_text(encoding="utf-8")))
    except (ValidationError, ValueError) as e:
        raise DataError(
            f"{file} is no annotation that pixloop wrote: {e}. Mend it, or take it away and "
            "fetch annotations again."
        ) from e
    if f"{annotation.id}.json" != file.name:
        raise DataError(f"{file} holds the annotation {annotation.id!r}; its name must be that.")
    return annotation


def _read_or_none(file: Path) -> Annotation | None:
    try:
        return _read(file)
    except DataError:
        return None  # damaged: to be written again
