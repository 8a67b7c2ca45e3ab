"""Where pictures come from: a folder, an archive, https, S3, Hugging Face or Kaggle.

Whatever it is, it becomes a local folder or label file. What is fetched lies in a cache, one folder
a source::

    a1b2c3d4e5f6-flowers/
      download.part …   while it lasts
      fetched.sqlite    of S3: in which version each object came
      content/          what was fetched and extracted
      source.json       written last; a source that has one is not fetched again
"""

import contextlib
import hashlib
import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from filelock import FileLock

from pixloop.data.archives import extract, is_archive
from pixloop.data.buckets import fetch_objects, fetch_references
from pixloop.data.downloads import check_address, download, shown
from pixloop.data.formats.layout import LABEL_SUFFIXES
from pixloop.errors import SourceError
from pixloop.files import sha256_file, write_json

_DONE = "source.json"
_NAME = r"[A-Za-z0-9][\w.-]*"
_HUGGING_FACE = re.compile(rf"datasets/({_NAME}(?:/{_NAME})?)(?:@([\w./-]+?))?(?:/(.*))?")


def fetch(uri: str, cache: Path, sha256: str | None = None) -> Path:
    """Bring a source here, once.

    Args:
        uri: a path, or an address that begins with file://, https://, s3://,
            hf://datasets/owner/name, hf://datasets/owner/name/subfolder or kaggle://owner/name.
        cache: the folder for what is fetched; a killed or broken fetch goes on there.
        sha256: what the archive's SHA-256 must be, 64 hexadecimal digits.

    Returns:
        A local folder, or a label file.

    Raises:
        SourceError: it cannot be reached, is not what ``sha256`` says, holds something unsafe, or
            needs an extra that is not installed.
    """
    scheme, separator, rest = uri.partition("://")
    if not separator or scheme == "file":
        path = Path(unquote(urlsplit(uri).path)) if separator else Path(uri).expanduser()
        return _local(path, cache, sha256)
    fetchers: dict[str, Callable[[str, Path], Path]] = {
        "https": _fetch_https,
        "http": _fetch_https,
        "s3": fetch_objects,
        "hf": _fetch_hugging_face,
        "kaggle": _fetch_kaggle,
    }
    if scheme not in fetchers:
        known = ", ".join(f"{name}://" for name in ("file", "https", "s3", "hf", "kaggle"))
        raise SourceError(f"{uri}: there is no {scheme}://; a path, or one of {known}")
    if scheme.startswith("http"):
        check_address(uri)
    return _remembered(uri, rest, cache, sha256, fetchers[scheme])


def _local(path: Path, cache: Path, sha256: str | None) -> Path:
    if not path.exists():
        raise SourceError(f"{path} does not exist.")
    if path.is_file() and path.suffix.lower() not in LABEL_SUFFIXES:
        stat = path.stat()
        # A changed archive is another source.
        identity = f"{path.resolve()} {stat.st_size} {stat.st_mtime_ns}"
        return _remembered(identity, path.name, cache, sha256, lambda *_: path)
    if sha256 is not None:
        raise SourceError(f"{path}: a sha256 is for archives; this is none.")
    if path.is_dir():
        return path
    place = cache / source_key(f"{path.resolve()}", path.name)
    return fetch_references(path, place)


def _remembered(
    identity: str,
    name: str,
    cache: Path,
    sha256: str | None,
    bring: Callable[[str, Path], Path],
) -> Path:
    """What was fetched before, or else what ``bring(identity, folder)`` fetches, extracted."""
    place = cache / source_key(identity, name)
    place.mkdir(parents=True, exist_ok=True)
    # Two runs at once would write to the same files.
    with FileLock(place.with_name(place.name + ".lock")):
        found = _read_done(place, sha256)
        if found is not None:
            return found
        brought = bring(identity, place / "fetched")
        result, actual = _unpack(brought, place, name, sha256)
        content = result.relative_to(place).as_posix()
        write_json(place / _DONE, {"content": content, "sha256": actual})
        return result


def _unpack(brought: Path, place: Path, name: str, sha256: str | None) -> tuple[Path, str | None]:
    """Check and extract what was brought; its place and, for an archive, its SHA-256."""
    if brought.is_dir():
        if sha256 is not None:
            raise SourceError(f"{name}: a sha256 is for archives; this is a folder.")
        return brought, None
    actual = sha256_file(brought)
    if sha256 is not None and actual != sha256.lower():
        if brought.is_relative_to(place):
            brought.unlink()
        raise SourceError(
            f"{name} is not the file that was expected: its SHA-256 is {actual},"
            f" and data.sha256 says {sha256}."
        )
    if brought.suffix.lower() in LABEL_SUFFIXES:
        return fetch_references(brought, place / "content"), actual
    if not is_archive(brought):
        raise SourceError(f"{name} is no zip or tar file, no folder and no label file.")
    try:
        extract(brought, place / "content")
    except SourceError as e:
        # A damaged download is fetched anew next time; one that found the disk full is not.
        if brought.is_relative_to(place) and not isinstance(e.__cause__, OSError):
            brought.unlink()
        raise
    if brought.is_relative_to(place):
        shutil.rmtree(place / "fetched")
    return place / "content", actual


def _read_done(place: Path, sha256: str | None) -> Path | None:
    try:
        done: dict[str, Any] = json.loads((place / _DONE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    content = place / str(done.get("content"))
    if not content.exists() or (sha256 is not None and done.get("sha256") != sha256.lower()):
        (place / _DONE).unlink()
        return None
    return content


def source_key(identity: str, name: str) -> str:
    """A folder's name for a source: a digest of what it is, and words that people know it by."""
    words = re.sub(r"[^A-Za-z0-9]+", "-", name.partition("?")[0]).strip("-")
    return f"{hashlib.sha256(identity.encode()).hexdigest()[:12]}-{words[-40:]}"


def _fetch_https(uri: str, folder: Path) -> Path:
    target = folder / (Path(urlsplit(uri).path).name or "download")
    # Whole, and not extracted yet: a kill came between, or the extraction failed.
    if not target.exists():
        download(uri, target)
    if not is_archive(target):
        target.unlink()
        raise SourceError(f"{shown(uri)} is no zip or tar file.")
    return target


def _fetch_hugging_face(uri: str, folder: Path) -> Path:
    match = _HUGGING_FACE.fullmatch(uri.removeprefix("hf://").rstrip("/"))
    if match is None:
        raise SourceError(f"{uri}: expected hf://datasets/owner/name or …/name/subfolder.")
    name, revision, inside = match.groups()
    try:
        from huggingface_hub import snapshot_download  # an extra
    except ImportError as e:
        raise SourceError("hf:// needs huggingface-hub: pip install 'pixloop[hf]'.") from e
    try:
        snapshot_download(
            name,
            repo_type="dataset",
            revision=revision,
            local_dir=folder,
            allow_patterns=f"{inside}/*" if inside else None,
        )
    except Exception as e:  # the client's and httpx's errors have no common root
        raise SourceError(f"{uri} cannot be fetched: {e}") from e
    found = folder / inside if inside else folder
    if not found.is_dir():
        raise SourceError(f"{uri}: the data set has no folder {inside!r}.")
    return found


def _fetch_kaggle(uri: str, folder: Path) -> Path:
    name = uri.removeprefix("kaggle://").strip("/")
    if not re.fullmatch(rf"{_NAME}/{_NAME}", name):
        raise SourceError(f"{uri}: expected kaggle://owner/name.")
    folder.mkdir(parents=True, exist_ok=True)
    # The client talks on standard output, which is ours, and ends the process without a login.
    with contextlib.redirect_stdout(sys.stderr):
        try:
            from kaggle.api.kaggle_api_extended import KaggleApi  # an extra

            api = KaggleApi()
            api.authenticate()
            api.dataset_download_files(name, path=str(folder), quiet=True, unzip=False)
        except ImportError as e:
            raise SourceError("kaggle:// needs kaggle: pip install 'pixloop[kaggle]'.") from e
        except SystemExit as e:
            raise SourceError(
                f"{uri}: there is no Kaggle login; put kaggle.json into ~/.kaggle/ or set"
                " KAGGLE_USERNAME and KAGGLE_KEY."
            ) from e
        except Exception as e:  # the client's and requests' errors have no common root
            raise SourceError(f"{uri} cannot be fetched: {e}") from e
    archives = list(folder.glob("*.zip"))
    if len(archives) != 1:
        raise SourceError(f"{uri}: Kaggle's client did not bring one zip file.")
    return archives[0]
