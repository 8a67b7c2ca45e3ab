import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from pixloop.errors import RegistryError
from pixloop.served_version import Champion, _choose_version


def listed(*versions: tuple[str, str, bool]) -> list[SimpleNamespace]:
    """Versions as a registry lists them, the newest first: number, status, whether champion."""
    return [SimpleNamespace(version=n, status=s, champion=c) for n, s, c in versions]


def test_the_champion_goes_before_newer_versions():
    assert _choose_version(listed(("3", "pending", False), ("2", "approved", True))).version == "2"


def test_without_a_champion_the_latest_that_is_not_rejected_is_served():
    versions = listed(("4", "rejected", False), ("3", "pending", False), ("2", "approved", False))

    assert _choose_version(versions).version == "3"


def test_rejected_versions_alone_are_none():
    with pytest.raises(RegistryError, match="pixloop run"):
        _choose_version(listed(("1", "rejected", False)))


@pytest.mark.parametrize("champion", [True, False])
def test_a_champion_that_was_noted_is_found_without_asking(tmp_path, champion):
    file = tmp_path / "registry.db"
    file.write_bytes(b"never opened")
    stat = file.stat()
    note = {"version": "3", "champion": champion, "bundle": "/bundles/3"}
    note["registry"] = [stat.st_mtime_ns, stat.st_size]
    (tmp_path / "serving.json").write_text(json.dumps(note))
    find = Champion("sqlite:///nowhere", "vehicles", None, tmp_path, file)

    assert find() == (("vehicles:3", Path("/bundles/3")) if champion else None)


@pytest.mark.integration
def test_a_registry_that_cannot_be_read_says_so(tmp_path):
    file = tmp_path / "registry.db"
    file.write_bytes(b"no database")

    with pytest.raises(RegistryError, match="could not be asked"):
        Champion(f"sqlite:///{file}", "vehicles", None, tmp_path, file)()
