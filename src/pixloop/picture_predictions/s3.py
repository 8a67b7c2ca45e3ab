"""Pictures read from S3, and answers written there, by s3fs."""

import io
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import Any, BinaryIO

from pixloop.data.buckets import list_objects
from pixloop.errors import DataError, ImageError
from pixloop.picture_predictions.places import Found

#: Objects that S3 deletes at a request, at most.
_DELETED_AT_ONCE = 1_000


class S3:
    """Objects on S3. As ``places.Store``."""

    #: A request takes tens of milliseconds, of which few are the network's.
    readers = 32

    def __init__(self) -> None:
        """Raises DataError where s3fs, an extra, is missing."""
        try:
            import s3fs  # type: ignore[import-untyped, unused-ignore]  # an extra
        except ImportError as e:
            raise DataError("s3:// needs s3fs: pip install 'pixloop[s3]'.") from e
        self._files: Any = s3fs.S3FileSystem(
            use_listings_cache=False,
            skip_instance_cache=True,
            # With more, s3fs asks how large an object is before it asks for it.
            max_concurrency=1,
            config_kwargs={"max_pool_connections": self.readers},
        )

    def walk(self, place: str, wanted: Callable[[str], bool]) -> Iterator[Found]:
        """As ``Store``."""
        bucket, key, _ = self._files.split_path(place)
        prefix = f"{key}/" if key else ""
        empty = True
        for item in list_objects(self._files, bucket, prefix):
            empty = False
            below = item["Key"].removeprefix(prefix)
            hidden = any(part.startswith(".") for part in below.split("/"))
            if below and not below.endswith("/") and not hidden and wanted(below):
                yield _found(bucket, item)
        if empty:
            yield self._one(place)

    def read(self, file: str) -> bytes:
        """As ``Store``."""
        try:
            content: bytes = self._files.cat_file(file)
        except FileNotFoundError as e:
            raise ImageError("the object is not there any more") from e
        except Exception as e:  # botocore's, aiohttp's and s3fs's errors have no common root
            raise DataError(f"{file} cannot be read: {e}") from e
        return content

    def open(self, file: str, ahead: int) -> BinaryIO:
        """As ``Store``."""
        try:
            # It asks for the object as it is now: once that is overwritten, S3 refuses.
            source = self._files.open(file, "rb", cache_type="none")
        except FileNotFoundError as e:
            raise DataError(f"{file}: there is no such object.") from e
        except Exception as e:  # as above
            raise DataError(f"{file} cannot be read: {e}") from e
        return io.BufferedReader(_Object(source, file), ahead)

    def stamp(self, file: str) -> str | None:
        """As ``Store``."""
        try:
            return str(self._files.info(file)["ETag"])
        except FileNotFoundError:
            return None
        except Exception as e:  # as above
            raise DataError(f"{file} cannot be read: {e}") from e

    def names(self, folder: str) -> set[str]:
        """As ``Store``."""
        bucket, key, _ = self._files.split_path(folder)
        prefix = f"{key}/" if key else ""
        below = (
            item["Key"].removeprefix(prefix)
            for item in list_objects(self._files, bucket, prefix, "/")
        )
        return {name for name in below if name}

    def publish(self, local: Path, file: str) -> None:
        """As ``Store``: an object appears when its last byte has come."""
        try:
            self._files.put_file(str(local), file)
        except Exception as e:  # as above
            raise DataError(f"{file} cannot be written: {e}") from e

    def remove(self, files: Iterable[str]) -> None:
        """As ``Store``."""
        # By their keys: s3fs's own would take "*", "?" and "[" in a name for a pattern.
        for bucket, same in groupby(map(self._files.split_path, files), itemgetter(0)):
            keys = ({"Key": key} for _, key, _ in same)
            while some := list(islice(keys, _DELETED_AT_ONCE)):
                self._delete(bucket, some)

    def _delete(self, bucket: str, keys: list[dict[str, str]]) -> None:
        wanted = {"Objects": keys, "Quiet": True}
        try:
            answer = self._files.call_s3("delete_objects", Bucket=bucket, Delete=wanted)
        except Exception as e:  # as above
            raise DataError(f"s3://{bucket}/{keys[0]['Key']} cannot be deleted: {e}") from e
        for error in answer.get("Errors", ()):
            reason = error.get("Message") or error.get("Code")
            raise DataError(f"s3://{bucket}/{error.get('Key')} cannot be deleted: {reason}")

    def _one(self, file: str) -> Found:
        try:
            item = self._files.info(file)
        except FileNotFoundError as e:
            raise DataError(f"{file}: there is no such object or prefix.") from e
        except Exception as e:  # as above
            raise DataError(f"{file} cannot be read: {e}") from e
        if item["type"] != "file":
            raise DataError(f"{file}: there is no such object.")
        return Found(file, item["size"], str(item["ETag"]))


class _Object(io.RawIOBase):
    """An object that is read here and there, a request a read."""

    def __init__(self, source: Any, file: str) -> None:
        self._source, self._file, self._size, self._at = source, file, int(source.size), 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = start + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        end = min(self._at + len(view), self._size)
        if end <= self._at:
            return 0
        try:
            self._source.seek(self._at)
            content = self._source.read(end - self._at)
        except Exception as e:  # botocore's, aiohttp's and s3fs's errors have no common root
            raise DataError(f"{self._file} cannot be read: {e}") from e
        view[: len(content)] = content
        self._at += len(content)
        return len(content)


def _found(bucket: str, item: dict[str, Any]) -> Found:
    return Found(f"s3://{bucket}/{item['Key']}", item["Size"], str(item["ETag"]))
