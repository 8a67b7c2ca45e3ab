"""Which model version is served, found without asking MLflow where that can be.

Importing MLflow takes seconds, and a server should be up in less than one. So what was found is
noted, and holds for as long as the registry's own file has not changed.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pixloop.bundle import Bundle
from pixloop.errors import BundleError, RegistryError
from pixloop.files import write_json

if TYPE_CHECKING:
    from pixloop.registry import Registry

_NOTE = "serving.json"


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
        noted = _read_note(state, registry_file)
        if noted is not None:
            return noted
    opened = registry()
    chosen = opened.show(version).version if version is not None else _choose_version(opened)
    bundle = opened.bundle(chosen, state / "bundles" / chosen)
    if version is None and registry_file is not None:
        note = {"version": chosen, "bundle": str(bundle.path), "registry": _stamp(registry_file)}
        write_json(state / _NOTE, note)
    return chosen, bundle


def _choose_version(registry: "Registry") -> str:
    candidates = [each for each in registry.list() if each.status != "rejected"]
    champions = [each for each in candidates if each.champion]
    if not candidates:
        raise RegistryError("There is no model version to serve. 'pixloop run' makes one.")
    return (champions or candidates)[0].version


def _read_note(state: Path, registry_file: Path) -> tuple[str, Bundle] | None:
    try:
        note = json.loads((state / _NOTE).read_text(encoding="utf-8"))
        if note["registry"] == _stamp(registry_file):
            return str(note["version"]), Bundle.open(Path(note["bundle"]))
    except (OSError, ValueError, KeyError, TypeError, BundleError):
        pass
    return None


def _stamp(registry_file: Path) -> list[int]:
    stat = registry_file.stat()
    return [stat.st_mtime_ns, stat.st_size]
