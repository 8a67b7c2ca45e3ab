from types import SimpleNamespace

import pytest

from pixloop.errors import RegistryError
from pixloop.served_version import _choose_version


def registry(*versions: tuple[str, str, bool]) -> SimpleNamespace:
    """A registry that lists versions, the newest first: number, status, whether champion."""
    listed = [SimpleNamespace(version=n, status=s, champion=c) for n, s, c in versions]
    return SimpleNamespace(list=lambda: listed)


def test_the_champion_goes_before_newer_versions():
    assert _choose_version(registry(("3", "pending", False), ("2", "approved", True))) == "2"


def test_without_a_champion_the_latest_that_is_not_rejected_is_served():
    versions = registry(("4", "rejected", False), ("3", "pending", False), ("2", "approved", False))

    assert _choose_version(versions) == "3"


def test_rejected_versions_alone_are_none():
    with pytest.raises(RegistryError, match="pixloop run"):
        _choose_version(registry(("1", "rejected", False)))
