import io
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pixloop.data import archives
from pixloop.data.archives import extract, is_archive, safe_path
from pixloop.errors import SourceError

FILES = {"cat/1.jpg": b"one", "dog/2.jpg": b"two" * 1000}


def make_tar(path: Path, *members: tarfile.TarInfo, mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for info in members:
            tar.addfile(info, io.BytesIO(b"x" * info.size))
    return path


def make_zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in files.items():
            file.writestr(name, content)
    return path


def contents(folder: Path) -> dict[str, bytes]:
    files = (p for p in folder.rglob("*") if p.is_file())
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in files}


def nothing_but(folder: Path, *names: str) -> bool:
    return {p.name for p in folder.iterdir()} == set(names)


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_tars_are_extracted_whole(tmp_path: Path, mode: str) -> None:
    with tarfile.open(tmp_path / "a", mode) as tar:  # type: ignore[call-overload]
        for name, content in FILES.items():
            (tmp_path / "file").write_bytes(content)
            tar.add(tmp_path / "file", name)
    assert is_archive(tmp_path / "a")
    extract(tmp_path / "a", tmp_path / "out")
    assert contents(tmp_path / "out") == FILES


def test_zips_are_extracted_whole_and_replace_what_was_there(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", FILES)
    for stale in ("out/stale.txt", "out.part/half.txt"):
        (tmp_path / stale).parent.mkdir()
        (tmp_path / stale).write_text("old")
    extract(archive, tmp_path / "out")
    assert contents(tmp_path / "out") == FILES
    assert nothing_but(tmp_path, "a.zip", "out")


EVIL = ["../evil", "a/../../evil", "/evil", "..\\evil", "C:\\evil", "C:evil"]


@pytest.mark.parametrize("name", EVIL)
def test_names_that_lead_outside_are_refused(tmp_path: Path, name: str) -> None:
    tar = make_tar(tmp_path / "a.tar.gz", tarfile.TarInfo("good"), tarfile.TarInfo(name))
    zip_ = make_zip(tmp_path / "a.zip", {"good": b"x", name: b"x"})
    for archive in (tar, zip_):
        with pytest.raises(SourceError, match="outside its folder"):
            extract(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "evil").exists()


@given(st.text(min_size=1))
@example("//etc/passwd")
@example("\\\\host\\share")
@example("///x")
def test_no_name_leads_outside(name: str) -> None:
    try:
        path = safe_path(Path("/data/folder"), name, "a.zip")
    except SourceError:
        return
    assert path.is_relative_to("/data/folder")
    assert ".." not in path.parts


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE]
)
def test_links_and_devices_in_tars_are_refused(tmp_path: Path, kind: bytes) -> None:
    info = tarfile.TarInfo("odd")
    info.type, info.linkname = kind, "good"
    with pytest.raises(SourceError, match="'odd', a link or a device"):
        extract(make_tar(tmp_path / "a.tar.gz", tarfile.TarInfo("good"), info), tmp_path / "out")


def test_links_in_zips_are_refused(tmp_path: Path) -> None:
    info = zipfile.ZipInfo("odd")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr(info, "/etc/passwd")
    with pytest.raises(SourceError, match="'odd', a link or a device"):
        extract(tmp_path / "a.zip", tmp_path / "out")


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_bombs_are_stopped(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "RATIO_FREE_BYTES", 10_000)
    monkeypatch.setattr(archives, "MAX_RATIO", 10)
    if kind == "zip":
        archive = make_zip(tmp_path / "a.zip", {f"{n}": bytes(3_000_000) for n in range(3)})
    else:
        info = tarfile.TarInfo("zeros")
        info.size = 9_000_000
        archive = make_tar(tmp_path / "a.tar.gz", info)
    with pytest.raises(SourceError, match="unpacks to more than"):
        extract(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_too_many_files_are_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_FILES", 3)
    extract(make_zip(tmp_path / "a.zip", dict.fromkeys("abc", b"x")), tmp_path / "out")
    with pytest.raises(SourceError, match="more than 3 files"):
        extract(make_zip(tmp_path / "a.zip", dict.fromkeys("abcd", b"x")), tmp_path / "out")


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_damaged_archives_are_errors_and_leave_nothing(tmp_path: Path, kind: str) -> None:
    if kind == "zip":
        archive = make_zip(tmp_path / "a.zip", {"1.jpg": bytes(range(256)) * 50})
        damaged = bytearray(archive.read_bytes())
        damaged[60:80] = b"\xff" * 20
        archive.write_bytes(damaged)
    else:
        info = tarfile.TarInfo("1.jpg")
        info.size = 50_000
        archive = make_tar(tmp_path / "a.tar.gz", info)
        archive.write_bytes(archive.read_bytes()[:-20])
    with pytest.raises(SourceError, match="cannot be extracted"):
        extract(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_text("<html>not found</html>")
    assert not is_archive(tmp_path / "a.zip")
    with pytest.raises(SourceError, match="no zip or tar"):
        extract(tmp_path / "a.zip", tmp_path / "out")
