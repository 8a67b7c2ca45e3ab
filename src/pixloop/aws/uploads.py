"""Uploads to S3 that send only what is missing.

What is uploaded carries its SHA-256 as metadata (``sha256``): a second upload compares it and
sends nothing that is there. An ETag would not do: with KMS, or in several parts, it is no digest
of the content.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from boto3.exceptions import S3UploadFailedError

from pixloop.aws.addresses import split_address
from pixloop.aws.session import Session, translated
from pixloop.aws.storage import (
    PAGE,
    at_once,
    find_metadata,
    list_objects,
    transfer_settings,
)
from pixloop.data.formats.layout import walk
from pixloop.errors import AwsError
from pixloop.files import sha256_file
from pixloop.progress import progress

_KEY_BYTES = 1024
_SHA256, _ORIGIN = "sha256", "uploaded-by"
_FOLDER_UPLOAD = "pixloop-folder"


@dataclass(frozen=True, slots=True)
class FolderUpload:
    """What became of a folder's files."""

    files: int  #: that lie on S3 now
    sent: int  #: of them; the others were there
    removed: int  #: objects of an earlier upload whose files are gone


def upload_file(session: Session, file: Path, address: str, *, origin: str = "pixloop") -> bool:
    """Upload a file, unless an object with its content is there.

    Args:
        session: where to.
        file: what is sent.
        address: the object's.
        origin: who uploads, kept as metadata.

    Returns:
        Whether it was sent.

    Raises:
        AwsError: S3 refuses it, or its name is none that S3 takes.
    """
    bucket, key = split_address(address)
    _check_key(key, file)
    digest = sha256_file(file)
    there = find_metadata(session, address)
    if there is not None and there["Metadata"].get(_SHA256) == digest:
        return False
    extra = {"Metadata": {_SHA256: digest, _ORIGIN: origin}, "ChecksumAlgorithm": "SHA256"}
    with translated(f"{file} → {address}"):
        try:
            session.client("s3").upload_file(
                str(file),
                bucket,
                key,
                ExtraArgs=extra,
                Config=transfer_settings(file.stat().st_size),
            )
        except S3UploadFailedError as e:  # no kin of boto3's other errors
            raise AwsError(str(e)) from e
    return True


def upload_folder(
    session: Session, folder: Path, address: str, leave_out: Callable[[Path], bool] | None = None
) -> FolderUpload:
    """Make the objects below ``address`` what the files below ``folder`` are.

    Names keep their place; hidden files and operating systems' litter stay here, as the data
    formats do not read them either. What an earlier upload of a folder left there and the folder
    has no longer goes; what others put there stays. A killed upload goes on where it was.

    Args:
        session: where to.
        folder: what is sent.
        address: the address of a folder.
        leave_out: says which files are not sent.

    Raises:
        AwsError: S3 refuses, or a file's name is none that S3 takes.
        DataError: a folder cannot be read.
    """
    root = address.rstrip("/") + "/"

    def send(file: Path) -> bool:
        place = root + file.relative_to(folder).as_posix()
        return upload_file(session, file, place, origin=_FOLDER_UPLOAD)

    def wanted() -> Iterator[Path]:
        return (file for file in walk(folder) if leave_out is None or not leave_out(file))

    count = sent = 0
    with progress(f"uploading {folder.name}") as advance:
        for was_sent in at_once(send, wanted()):
            count, sent = count + 1, sent + was_sent
            advance(note=f"{sent} sent")
    gone = (
        found.key
        for found in list_objects(session, root)
        if not _stays(folder, found.key.removeprefix(split_address(root)[1]), leave_out)
    )
    return FolderUpload(count, sent, _remove_own(session, split_address(root)[0], gone))


def _check_key(key: str, file: Path) -> None:
    try:
        long = len(key.encode()) > _KEY_BYTES
    except UnicodeEncodeError as e:
        raise AwsError(f"{str(file)!r}: the name is no Unicode text. Rename the file.") from e
    if long:
        raise AwsError(f"{file}: S3's names have at most {_KEY_BYTES} bytes. Rename the file.")


def _stays(folder: Path, name: str, leave_out: Callable[[Path], bool] | None) -> bool:
    file = folder / name
    return file.is_file() and not (leave_out is not None and leave_out(file))


def _remove_own(session: Session, bucket: str, keys: Iterable[str]) -> int:
    """Remove those of the objects that an upload of a folder made; how many those were."""

    def is_own(key: str) -> tuple[str, bool]:
        there = find_metadata(session, f"s3://{bucket}/{key}")
        return key, there is not None and there["Metadata"].get(_ORIGIN) == _FOLDER_UPLOAD

    removed, batch = 0, list[str]()
    for key, own in at_once(is_own, keys):
        if own:
            batch.append(key)
        if len(batch) == PAGE:
            removed, batch = removed + _remove(session, bucket, batch), []
    return removed + (_remove(session, bucket, batch) if batch else 0)


def _remove(session: Session, bucket: str, keys: list[str]) -> int:
    with translated(f"s3://{bucket}"):
        answer = session.client("s3").delete_objects(
            Bucket=bucket, Delete={"Objects": [{"Key": key} for key in keys], "Quiet": True}
        )
    for error in answer.get("Errors", []):
        raise AwsError(f"s3://{bucket}/{error['Key']} cannot be removed: {error['Message']}")
    return len(keys)
