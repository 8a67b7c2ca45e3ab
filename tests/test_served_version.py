from types import SimpleNamespace

import pytest

from pixloop.errors import RegistryError
from pixloop.served_version import _choose_version


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
