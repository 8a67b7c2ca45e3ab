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
            registry_file = project.registry_file
            if registry_file is not None and not registry_file.exists():
                return ()
            seen: list[object] = (
                [project.config.model_name, *(stamp(registry_file)[0] or ())]
                if registry_file is not None
                else [project.config.model_name, int(time.monotonic() / _REMOTE_S)]
            )
            if self._found is None and registry_file is not None:
                self._found = self._read()
            if self._found is None or self._found[0] != seen:
                versions = tuple(project.registry.list())
                self._found = (seen, versions)
                if registry_file is not None:
                    self._write(seen, versions)
            return self._found[1]

    def _read(self) -> tuple[object, tuple[ModelVersion, ...]] | None:
        try:
            note = json.loads(self._file.read_text(encoding="utf-8"))
            return note["seen"], _VERSIONS.validate_python(note["versions"])
        except (OSError, ValueError, KeyError, TypeError, ValidationError):
            return None

    def _write(self, seen: object, versions: tuple[ModelVersion, ...]) -> None:
        plain = [version.model_dump(mode="json") for version in versions]
        write_json(self._file, {"seen": seen, "versions": plain})
