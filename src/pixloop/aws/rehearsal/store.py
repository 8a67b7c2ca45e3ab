"""S3 as the place of a pipeline's inputs and outputs, for ``run_local``."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pixloop.data.archives import safe_path
from pixloop.errors import PipelineError
from pixloop.files import write_json

_THREADS = 8
_DELETED_AT_ONCE = 1000


class S3Places:
    """Copies of what lies at ``s3://`` addresses, and publishing to them.

    A copy is kept, and only objects that changed are fetched again.
    """

    def __init__(self, client: Any, folder: Path) -> None:
        """``client`` is boto3's for S3; ``folder`` holds the copies."""
        self._s3, self._folder = client, folder

    def fetch(self, address: str, what: str) -> Path:
        """A copy here of the object, or of all objects below the prefix, at ``address``.

        Raises:
            PipelineError: nothing is there; ``what`` names it.
        """
        bucket, key = _split(address)
        found = dict(self._list(bucket, key))
        if key in found:
            found = {key: found[key]}
        else:
            folder = f"{key}/" if key else ""
            found = {k: etag for k, etag in found.items() if k.startswith(folder)}
        if not found:
            raise PipelineError(f"{what}: there is nothing at {address}.")
        copy = self._folder / hashlib.sha256(address.encode()).hexdigest()[:16]
        if key in found:
            return self._sync(bucket, {key.rpartition("/")[2]: key}, found, copy) / Path(key).name
        names = {k.removeprefix(folder): k for k in found if not k.endswith("/")}
        return self._sync(bucket, names, found, copy)

    def publish(self, path: Path, address: str) -> None:
        """Make ``address`` hold the file, or the folder's files below it, and nothing else."""
        bucket, key = _split(address)
        if path.is_file():
            self._s3.upload_file(str(path), bucket, key)
            return
        files = {f"{key}/{p.relative_to(path).as_posix()}": p for p in _files(path)}
        with ThreadPoolExecutor(_THREADS) as pool:
            list(
                pool.map(
                    lambda item: self._s3.upload_file(str(item[1]), bucket, item[0]), files.items()
                )
            )
        stale = [k for k, _ in self._list(bucket, f"{key}/") if k not in files]
        for start in range(0, len(stale), _DELETED_AT_ONCE):
            keys = [{"Key": k} for k in stale[start : start + _DELETED_AT_ONCE]]
            self._s3.delete_objects(Bucket=bucket, Delete={"Objects": keys, "Quiet": True})

    def _list(self, bucket: str, prefix: str) -> Iterator[tuple[str, str]]:
        for page in self._s3.get_paginator("list_objects_v2").paginate(
            Bucket=bucket, Prefix=prefix
        ):
            for item in page.get("Contents", []):
                yield item["Key"], item["ETag"]

    def _sync(self, bucket: str, names: dict[str, str], etags: dict[str, str], copy: Path) -> Path:
        """Bring ``copy/content`` up to date: relative name → key."""
        index, content = copy / "index.json", copy / "content"
        known = json.loads(index.read_text(encoding="utf-8")) if index.exists() else {}
        index.unlink(missing_ok=True)  # a kill in between must not leave a false one
        for name in known.keys() - names.keys():
            safe_path(content, name, bucket).unlink(missing_ok=True)
        if not known:
            shutil.rmtree(content, ignore_errors=True)

        def fetch_one(name: str) -> None:
            target = safe_path(content, name, f"s3://{bucket}")
            if target.is_dir():
                raise PipelineError(f"s3://{bucket}/{names[name]} cannot be a file here.")
            target.parent.mkdir(parents=True, exist_ok=True)
            self._s3.download_file(bucket, names[name], str(target))

        changed = [name for name, key in names.items() if known.get(name) != etags[key]]
        with ThreadPoolExecutor(_THREADS) as pool:
            list(pool.map(fetch_one, changed))
        write_json(index, {name: etags[key] for name, key in names.items()})
        return content


def _split(address: str) -> tuple[str, str]:
    parts = urlsplit(address, allow_fragments=False)
    return parts.netloc, parts.path.strip("/")


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())
