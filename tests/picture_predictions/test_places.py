"""Folders as places: what is found there, and what cannot be is a DataError."""

import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pixloop.errors import ConfigError, DataError
from pixloop.picture_predictions.places import Folders, address_of


def found(place: Path) -> list[str]:
    walked = Folders().walk(str(place), lambda name: name.endswith(".png"))
    return [Path(each.address).relative_to(place).as_posix() for each in walked]


def test_what_is_no_picture_is_passed_over(tmp_path: Path) -> None:
    for name in ("a/1.png", "b/2.png", "notes.txt", ".hidden/3.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "linked.png").symlink_to("a/1.png")
    # Links that lead nowhere are pictures that nobody can read; reading them says so.
    (tmp_path / "nothing.png").symlink_to("no.png")
    (tmp_path / "self.png").symlink_to("self.png")
    assert found(tmp_path) == ["a/1.png", "b/2.png", "linked.png", "nothing.png", "self.png"]


def test_a_picture_is_looked_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        (tmp_path / f"{number}.png").touch()
    looked: Counter[str] = Counter()
    stat = os.stat

    def counted(path: Any, *args: Any, **kwargs: Any) -> os.stat_result:
        looked[Path(path).name] += 1
        return stat(path, *args, **kwargs)

    monkeypatch.setattr(os, "stat", counted)
    assert len(found(tmp_path)) == 5
    assert {name: looked[name] for name in looked if name.endswith(".png")} == {
        f"{number}.png": 1 for number in range(5)
    }


def test_what_is_nowhere_has_no_stamp_and_no_names(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "self").symlink_to("self")
    for name in ("no", "file/below", "self"):
        assert Folders().stamp(str(tmp_path / name)) is None
    assert Folders().names(str(tmp_path / "no")) == Folders().names(str(tmp_path / "file")) == set()
    Folders().remove([str(tmp_path / "no"), str(tmp_path / "file")])
    assert not (tmp_path / "file").exists()


@pytest.mark.parametrize(
    ("ask", "call", "message"),
    [
        (lambda store, path: store.stamp(path), "stat", "cannot be read: Input/output error"),
        (lambda store, path: store.names(path), "scandir", "cannot be read: Input/output error"),
        (lambda store, path: store.remove([path]), "unlink", "cannot be deleted: Input/output"),
        (lambda store, path: list(store.walk(path, bool)), "stat", "cannot be read: Input/output"),
    ],
)
def test_what_the_system_refuses_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ask: Any, call: str, message: str
) -> None:
    def fail(*args: Any, **kwargs: Any) -> Any:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(DataError, match=message):
            ask(Folders(), str(tmp_path / "a"))


def test_a_version_of_an_object_cannot_be_named() -> None:
    """s3fs would leave it out, and take another object."""
    with pytest.raises(ConfigError, match="versions of objects"):
        address_of("s3://bucket/a?versionId=1")


@pytest.mark.parametrize("key", ["a[1]", "a?b", "a*", "ü", "a b"])
def test_other_signs_can_be_named(key: str) -> None:
    assert address_of(f"s3://bucket/{key}/") == f"s3://bucket/{key}"
