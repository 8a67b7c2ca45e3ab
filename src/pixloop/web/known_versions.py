"""The list of model versions, noted beside the registry, so that a page need not wait for MLflow.

MLflow takes seconds to import and a while to list; a note holds while the registry's file looks the
same. A registry at an address of its own is asked again after some seconds.
"""

import json
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from pixloop.files import write_json
from pixloop.model_versions import ModelVersion
from pixloop.project import Project
from pixloop.web.cached import stamp

_REMOTE_S = 15.0
_VERSIONS = TypeAdapter(tuple[ModelVersion, ...])


class KnownVersions:
    """What was found the last time, in memory and in a file.

    Args:
        file: the note.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._found: tuple[object, tuple[ModelVersion, ...]] | None = None

    def list(self, project: Project) -> Sequence[ModelVersion]:
        """Every version, the newest first."""
        with self._lock:
            found = self._at_hand(project)
            if found is None:
                seen = _look(project)
                found = tuple(project.registry.list())
                self._found = (seen, found)
                if project.registry_file is not None:
                    self._write(seen, found)
            return found

    def at_hand(self, project: Project) -> Sequence[ModelVersion] | None:
        """As ``list``, where nobody need be asked; None where the registry must be, or is."""
        if not self._lock.acquire(blocking=False):
            return None
        try:
            return self._at_hand(project)
        finally:
            self._lock.release()

    def _at_hand(self, project: Project) -> tuple[ModelVersion, ...] | None:
        file = project.registry_file
        if file is not None and not file.exists():
            return ()
        if self._found is None and file is not None:
            self._found = self._read()
        known = self._found
        return known[1] if known is not None and known[0] == _look(project) else None

    def _read(self) -> tuple[object, tuple[ModelVersion, ...]] | None:
        try:
            note = json.loads(self._file.read_text(encoding="utf-8"))
            return note["seen"], _VERSIONS.validate_python(note["versions"])
        except (OSError, ValueError, KeyError, TypeError, ValidationError):
            return None

    def _write(self, seen: object, versions: tuple[ModelVersion, ...]) -> None:
        plain = [version.model_dump(mode="json") for version in versions]
        write_json(self._file, {"seen": seen, "versions": plain})


def _look(project: Project) -> list[object]:
    """How the registry looks; another look where it may have changed."""
    file, model = project.registry_file, project.config.model_name
    if file is None:
        return [model, int(time.monotonic() / _REMOTE_S)]
    return [model, *(stamp(file)[0] or ())]
