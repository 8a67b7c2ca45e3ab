"""What a pipeline on SageMaker starts from, brought to S3: pictures, weights, the champion."""

from pathlib import Path

from pixloop.aws.names import ANNOTATIONS, CHAMPION, RAW
from pixloop.aws.session import Session
from pixloop.aws.storage import find_metadata, list_objects, put_json
from pixloop.aws.uploads import upload_file, upload_folder
from pixloop.bundle import ARCHIVE
from pixloop.config import Config
from pixloop.data.dataset_info import MANIFEST
from pixloop.data.formats import read_samples
from pixloop.data.formats.layout import LABEL_SUFFIXES
from pixloop.errors import AwsError
from pixloop.files import sha256_file

_WEIGHTS = "weights"
_ARCHIVE_SUFFIXES = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz")
#: What ``ChampionVersion`` is where there is no champion.
NO_CHAMPION = "none"


def stays_on_s3(source: str) -> bool:
    """Whether jobs read a source where it lies: a folder on S3.

    Archives must be extracted and label files fetched with the pictures that they name, so these
    come here first (``data.sources.fetch``) and go up as pictures.

    >>> stays_on_s3("s3://b/raw"), stays_on_s3("s3://b/raw.zip"), stays_on_s3("hf://datasets/a/b")
    (True, False, False)
    """
    suffix = Path(source).suffix.lower()
    return source.startswith("s3://") and suffix not in (*_ARCHIVE_SUFFIXES, *LABEL_SUFFIXES)


def place_pictures(
    session: Session, bucket: str, config: Config, source: str | Path, name: str
) -> str:
    """The address of a folder on S3 with a source's pictures and labels.

    Args:
        session: where to.
        bucket: of the learning stack.
        config: says how labels are written.
        source: a folder or label file here, which is uploaded, or the address of a folder on S3,
            which is used as it is. A label file goes with all of its folder but other label files.
            The folder may be a prepared data set, or a note of one.
        name: the folder below ``raw/``: ``train`` or ``test``.

    Raises:
        AwsError: S3 refuses, labels name a picture that does not lie in the folder, or the address
            is no folder's.
        DataError: the labels cannot be read.
    """
    if isinstance(source, str):
        if not stays_on_s3(source):
            raise AwsError(f"{source}: expected the address of a folder on S3, or a path here.")
        # With the slash, so that a job does not also get what lies in "train-old".
        return source.rstrip("/") + "/"
    folder = source if source.is_dir() else source.parent
    if not (folder / MANIFEST).is_file():  # a prepared data set names no other files
        _check_whole(source, folder, config)

    def leave_out(file: Path) -> bool:
        return (
            source != folder
            and file != source
            and file.parent == folder
            and file.suffix.lower() in LABEL_SUFFIXES
        )

    address = f"s3://{bucket}/{RAW}/{name}/"
    upload_folder(session, folder, address, leave_out)
    return address


def place_weights(session: Session, bucket: str, file: Path) -> str:
    """The address of weights to start from; their SHA-256 is part of it."""
    address = f"s3://{bucket}/{_WEIGHTS}/{sha256_file(file)}/{file.name}"
    upload_file(session, file, address)
    return address


def place_champion(session: Session, bucket: str) -> tuple[str, str]:
    """The address of the champion's folder, and its version, which changes with the champion.

    A job's input may not be empty: before there is a champion, ``none.json`` stands for it.
    """
    address = f"s3://{bucket}/{CHAMPION}/"
    archive = find_metadata(session, address + ARCHIVE)
    if archive is not None:
        return address, str(archive["ETag"]).strip('"')
    if next(list_objects(session, address), None) is None:
        put_json(session, f"{address}none.json", {})
    return address, NO_CHAMPION


def place_annotations(
    session: Session, bucket: str, folder: Path | None = None, always: bool = False
) -> str | None:
    """The address of the annotations' folder, or None where there are none.

    Args:
        session: where to.
        bucket: of the learning stack.
        folder: of annotations that lie here, if any; they are uploaded.
        always: a job's input may not be empty: let ``none.json`` stand there where nothing does.
    """
    address = f"s3://{bucket}/{ANNOTATIONS}/"
    if folder is not None and any(folder.glob("*.json")):
        upload_folder(session, folder, address)
        return address
    if next(list_objects(session, address), None) is not None:
        return address
    if always:
        put_json(session, f"{address}none.json", {})
    return address if always else None


def _check_whole(source: Path, folder: Path, config: Config) -> None:
    for sample in read_samples(source, config.data.format, config.task):
        # Not resolved: a link in the folder is a file of the folder. ".." is no part of it.
        inside = sample.path.is_relative_to(folder) and ".." not in sample.path.parts
        if not inside and not sample.path.resolve().is_relative_to(folder.resolve()):
            raise AwsError(
                f"{sample.source or source} names {sample.path}, which does not lie in {folder}. "
                "Only that folder goes to S3: move the picture there, or let data.train name a "
                "folder that holds both."
            )
