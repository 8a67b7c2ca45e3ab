"""Which model version is the challenger: the newest one, unless it is the champion or rejected.

As with the champion (``served_version``), what was found is noted and holds for as long as the
registry's file has not changed, and MLflow is asked by a process of its own: a server that lets a
challenger answer in its shadow stays small.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pixloop.errors import RegistryError
from pixloop.files import write_json

if TYPE_CHECKING:
    from pixloop.model_versions import ModelVersion

_NOTE = "challenger.json"
#: A registry that is no file is asked this often at most.
_REMOTE_S = 30.0
_TIMEOUT_S = 120.0


class ChallengerVersion:
    """The challenger and its bundle's folder at every call; None while there is none.

    It is called as its answers call it: ``vehicles:4``.
    """

    def __init__(
        self,
        url: str,
        model: str,
        artifacts: Path | None,
        state: Path,
        registry_file: Path | None = None,
    ) -> None:
        """Ask nothing yet.

        Args:
            url: of the registry, as ``registry.Registry`` takes it and the next two.
            model: the model's name in it.
            artifacts: the folder for bundles.
            state: the project's ``.pixloop`` folder.
            registry_file: the registry's database, where it is a file.
        """
        self._registry = (url, model, artifacts)
        self._state, self._file = state, registry_file
        self._asked = float("-inf")
        self._stamp: list[int] | None = None
        self._found: tuple[str, Path] | None = None

    def __call__(self) -> tuple[str, Path] | None:
        """Look.

        Raises:
            RegistryError: the registry cannot be read.
        """
        if self._file is None:
            if time.monotonic() - self._asked >= _REMOTE_S:
                self._asked = time.monotonic()
                self._found = self._ask()
            return self._found
        stamp = _stamp(self._file)
        if stamp is not None and stamp != self._stamp:
            self._found, self._stamp = self._ask(), stamp
        return self._found

    def _ask(self) -> tuple[str, Path] | None:
        """Have the note written anew, by a process that MLflow may slow down and fill."""
        url, model, artifacts = self._registry
        asked = {"url": url, "model": model, "artifacts": str(artifacts) if artifacts else None}
        asked["state"] = str(self._state)
        try:
            # An address may hold a password, and arguments are seen by all.
            ended = subprocess.run(
                [sys.executable, "-P", "-m", "pixloop.challenger_version"],
                input=json.dumps(asked),
                capture_output=True,
                text=True,
                timeout=_TIMEOUT_S,
            )
        except (OSError, subprocess.TimeoutExpired) as e:
            raise RegistryError(f"the registry could not be asked: {e}") from e
        if ended.returncode:
            reason = ended.stderr.strip().rpartition("\n")[2]
            raise RegistryError(f"the registry could not be asked: {reason}")
        note = json.loads((self._state / _NOTE).read_text(encoding="utf-8"))
        if note["version"] is None:
            return None
        return f"{model}:{note['version']}", Path(note["bundle"])


def choose_challenger(versions: "Sequence[ModelVersion]") -> "ModelVersion | None":
    """The newest version that is not rejected, unless it is the champion; None without a champion.

    An older one is none: it was looked at before the champion was chosen. While there is no
    champion the latest version is served, so that nothing is newer.

    Args:
        versions: the newest first.
    """
    newest = next((each for each in versions if each.status != "rejected"), None)
    if newest is None or newest.champion or not any(each.champion for each in versions):
        return None
    return newest


def _stamp(registry_file: Path) -> list[int] | None:
    try:
        stat = registry_file.stat()
    except OSError:
        return None
    return [stat.st_mtime_ns, stat.st_size]


def _write_note() -> None:
    """What ``ChallengerVersion`` starts: its questions come on standard input."""
    from pixloop.registry import Registry

    asked = json.load(sys.stdin)
    os.nice(10)  # requests come first
    state = Path(asked["state"])
    artifacts = Path(asked["artifacts"]) if asked["artifacts"] else None
    registry = Registry(asked["url"], asked["model"], artifacts)
    chosen = choose_challenger(registry.list())
    note: dict[str, Any] = {"version": None}
    if chosen is not None:
        bundle = registry.bundle(chosen.version, state / "bundles" / chosen.version)
        note = {"version": chosen.version, "bundle": str(bundle.path)}
    write_json(state / _NOTE, note)


if __name__ == "__main__":
    _write_note()
