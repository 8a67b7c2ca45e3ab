"""Which model version is served, found without asking MLflow where that can be.

Importing MLflow takes seconds, and a server should be up in less than one. So what was found is
noted, and holds for as long as the registry's own file has not changed.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pixloop.bundle import Bundle
from pixloop.errors import BundleError, RegistryError
from pixloop.files import write_json

if TYPE_CHECKING:
    from pixloop.model_versions import ModelVersion
    from pixloop.registry import Registry

_NOTE = "serving.json"
#: A registry that is no file is asked this often at most.
_REMOTE_S = 30.0
_TIMEOUT_S = 120.0


def find_bundle(
    registry: "Callable[[], Registry]",
    state: Path,
    version: str | None = None,
    registry_file: Path | None = None,
) -> tuple[str, Bundle]:
    """A version and its bundle: the given one, else the champion, else the latest not rejected.

    Args:
        registry: opens the registry; called only when it must be.
        state: the project's ``.pixloop`` folder, where bundles are kept.
        version: a number, ``"champion"`` or ``"latest"``.
        registry_file: the registry's database, where it is a file.

    Raises:
        RegistryError: there is no such version, or none at all.
        BundleError: its bundle is damaged.
    """
    if version is None and registry_file is not None:
        note = _read_note(state, registry_file)
        if note is not None:
            with suppress(BundleError):
                return note["version"], Bundle.open(Path(note["bundle"]))
    # Before asking: what changes meanwhile is seen the next time.
    stamp = _stamp(registry_file) if registry_file and registry_file.exists() else None
    opened = registry()
    chosen = opened.show(version) if version is not None else _choose_version(opened.list())
    bundle = opened.bundle(chosen.version, state / "bundles" / chosen.version)
    if version is None and stamp is not None:
        note = {"version": chosen.version, "champion": chosen.champion, "registry": stamp}
        write_json(state / _NOTE, note | {"bundle": str(bundle.path)})
    return chosen.version, bundle


class Champion:
    """The champion and its bundle's folder at every call; None while there is none.

    It is called as answers call it: ``vehicles:3``.

    A call costs next to nothing where nothing has changed. Where the registry is a file that has,
    a process of its own asks MLflow, which would take this one seconds and 200 MB.
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
        self._state, self._registry_file = state, registry_file
        self._asked = float("-inf")
        self._found: tuple[str, Path] | None = None

    def __call__(self) -> tuple[str, Path] | None:
        """Look.

        Raises:
            RegistryError: the registry cannot be read.
            BundleError: the champion's bundle is damaged.
        """
        if self._registry_file is None:
            return self._ask_remote()
        note = _read_note(self._state, self._registry_file)
        if note is None:
            self._ask_file(self._registry_file)
            note = _read_note(self._state, self._registry_file)
        if note is None or not note["champion"]:  # None: it changes now; the next look will see
            return None
        return self._named(note["version"], Path(note["bundle"]))

    def _named(self, version: str, folder: Path) -> tuple[str, Path]:
        return f"{self._registry[1]}:{version}", folder

    def _ask_remote(self) -> tuple[str, Path] | None:
        if time.monotonic() - self._asked < _REMOTE_S:
            return self._found
        self._asked = time.monotonic()
        # MLflow is imported already: the server's first version came from there.
        from pixloop.registry import Registry

        registry = Registry(*self._registry)
        champions = [each.version for each in registry.list() if each.champion]
        self._found = None
        if champions:
            folder = self._state / "bundles" / champions[0]
            self._found = self._named(champions[0], registry.bundle(champions[0], folder).path)
        return self._found

    def _ask_file(self, registry_file: Path) -> None:
        """Have the note written anew, by a process that MLflow may slow down and fill."""
        url, model, artifacts = self._registry
        asked = {"url": url, "model": model, "artifacts": str(artifacts) if artifacts else None}
        asked |= {"state": str(self._state), "registry_file": str(registry_file)}
        command = [sys.executable, "-P", "-m", "pixloop.served_version"]
        try:
            # An address may hold a password, and arguments are seen by all.
            ended = subprocess.run(
                command, input=json.dumps(asked), capture_output=True, text=True, timeout=_TIMEOUT_S
            )
        except (OSError, subprocess.TimeoutExpired) as e:
            raise RegistryError(f"the registry could not be asked: {e}") from e
        if ended.returncode:
            reason = ended.stderr.strip().rpartition("\n")[2]
            raise RegistryError(f"the registry could not be asked: {reason}")


def _choose_version(versions: "Sequence[ModelVersion]") -> "ModelVersion":
    candidates = [each for each in versions if each.status != "rejected"]
    champions = [each for each in candidates if each.champion]
    if not candidates:
        raise RegistryError("There is no model version to serve. 'pixloop run' makes one.")
    return (champions or candidates)[0]


def _read_note(state: Path, registry_file: Path) -> dict[str, Any] | None:
    """What was found when the registry was as it is now."""
    try:
        note = json.loads((state / _NOTE).read_text(encoding="utf-8"))
        if note["registry"] == _stamp(registry_file):
            return {
                "version": str(note["version"]),
                "bundle": str(note["bundle"]),
                "champion": note.get("champion") is True,
            }
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return None


def _stamp(registry_file: Path) -> list[int]:
    stat = registry_file.stat()
    return [stat.st_mtime_ns, stat.st_size]


def _write_note() -> None:
    """What ``Champion`` starts: its questions come on standard input."""
    from pixloop.registry import Registry

    asked = json.load(sys.stdin)
    os.nice(5)  # requests come first
    artifacts = Path(asked["artifacts"]) if asked["artifacts"] else None
    find_bundle(
        lambda: Registry(asked["url"], asked["model"], artifacts),
        Path(asked["state"]),
        registry_file=Path(asked["registry_file"]),
    )


if __name__ == "__main__":
    _write_note()
