import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from pixloop import challenger_version
from pixloop.challenger_version import ChallengerVersion, choose_challenger
from pixloop.errors import RegistryError


def listed(*versions: tuple[str, str, bool]) -> list[SimpleNamespace]:
    """Versions as a registry lists them, the newest first: number, status, whether champion."""
    return [SimpleNamespace(version=n, status=s, champion=c) for n, s, c in versions]


@pytest.mark.parametrize(
    ("versions", "chosen"),
    [
        ([("3", "pending", False), ("2", "approved", True)], "3"),
        ([("3", "rejected", False), ("2", "pending", False), ("1", "approved", True)], "2"),
        ([("3", "approved", True), ("2", "pending", False)], None),
        ([("3", "approved", False), ("2", "approved", True)], "3"),  # rolled back by a person
        ([("2", "pending", False), ("1", "pending", False)], None),
        ([("1", "rejected", False)], None),
        ([], None),
    ],
)
def test_the_challenger_is_newer_than_the_champion(versions, chosen):
    found = choose_challenger(listed(*versions))

    assert (found.version if found else None) == chosen


def test_an_unchanged_registry_is_asked_once(tmp_path, monkeypatch):
    file = tmp_path / "registry.db"
    file.write_bytes(b"one")
    asked = []

    def ask(command, **options):
        asked.append(json.loads(options["input"]))
        note = {"version": "4", "bundle": "/bundles/4"} if len(asked) == 1 else {"version": None}
        (tmp_path / "challenger.json").write_text(json.dumps(note))
        return SimpleNamespace(returncode=0, stderr="")

    monkeypatch.setattr(challenger_version.subprocess, "run", ask)
    find = ChallengerVersion("sqlite:///x", "vehicles", None, tmp_path, file)

    assert [find(), find()] == [("vehicles:4", Path("/bundles/4"))] * 2
    file.write_bytes(b"changed")
    assert find() is None
    assert len(asked) == 2


def test_before_there_is_a_registry_there_is_no_challenger(tmp_path):
    assert ChallengerVersion("sqlite:///x", "v", None, tmp_path, tmp_path / "none.db")() is None


@pytest.mark.integration
def test_a_registry_that_cannot_be_read_says_so(tmp_path):
    file = tmp_path / "registry.db"
    file.write_bytes(b"no database")

    with pytest.raises(RegistryError, match="could not be asked"):
        ChallengerVersion(f"sqlite:///{file}", "vehicles", None, tmp_path, file)()
