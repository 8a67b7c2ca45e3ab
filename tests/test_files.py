import io
import json
import tarfile
from pathlib import Path

import pytest

from pixloop.files import (
    atomic_path,
    pack,
    sha256_file,
    sha256_folder,
    unpack,
    write_json,
    write_text,
)


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "deep/er/file.txt"
    write_text(target, "old")

    def write_and_fail() -> None:
        with atomic_path(target) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_and_fail()
    assert target.read_text() == "old"
    assert list(target.parent.iterdir()) == [target]


def test_what_is_written_is_an_ordinary_file(tmp_path: Path) -> None:
    write_text(tmp_path / "file.txt", "grüße")
    assert (tmp_path / "file.txt").stat().st_mode & 0o777 == 0o644
    assert (tmp_path / "file.txt").read_bytes() == "grüße".encode()


def test_json_is_readable_and_has_no_nan(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"a": ["é", 1]})
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"a": ["é", 1]}
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", float("nan"))
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"a": ["é", 1]}


def test_hashes_tell_names_and_contents_apart(tmp_path: Path) -> None:
    write_text(tmp_path / "a/x", "1")
    assert sha256_file(tmp_path / "a/x").startswith("6b86b273ff34fce1")
    first = sha256_folder(tmp_path / "a")
    write_text(tmp_path / "b/x", "1")
    assert sha256_folder(tmp_path / "b") == first
    (tmp_path / "b/x").rename(tmp_path / "b/y")
    assert sha256_folder(tmp_path / "b") != first
    write_text(tmp_path / "a/x", "2")
    assert sha256_folder(tmp_path / "a") != first


def test_packing_is_reproducible_and_unpacks_the_same(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    write_text(folder / "b/2.txt", "two")
    write_text(folder / "1.txt", "one")
    pack(folder, folder / "all.tar.gz")
    first = (folder / "all.tar.gz").read_bytes()
    (folder / "1.txt").touch()
    pack(folder, folder / "all.tar.gz")
    assert (folder / "all.tar.gz").read_bytes() == first
    write_text(tmp_path / "out/stale.txt", "old")
    unpack(folder / "all.tar.gz", tmp_path / "out")
    files = {p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*.txt")}
    assert files == {"1.txt", "b/2.txt"}


@pytest.mark.parametrize("name", ["../evil.txt", "/evil.txt"])
def test_members_that_climb_out_stay_inside_or_are_refused(tmp_path: Path, name: str) -> None:
    archive = tmp_path / "evil.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        info = tarfile.TarInfo(name)
        info.size = 4
        tar.addfile(info, io.BytesIO(b"evil"))
    write_text(tmp_path / "out/keep.txt", "old")
    try:
        unpack(archive, tmp_path / "out")
    except tarfile.FilterError:
        assert (tmp_path / "out/keep.txt").read_text() == "old"
    assert not (tmp_path / "evil.txt").exists()
    assert not Path("/evil.txt").exists()


def test_links_out_of_the_folder_are_refused(tmp_path: Path) -> None:
    archive = tmp_path / "evil.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        info = tarfile.TarInfo("link")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(info)
    with pytest.raises(tarfile.FilterError):
        unpack(archive, tmp_path / "out")
