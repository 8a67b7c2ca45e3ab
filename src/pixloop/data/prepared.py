"""A source that is a prepared data set already: preparation takes it over as it is."""

import os
import shutil
from pathlib import Path

from pixloop.bundle import Task
from pixloop.config import DataConfig
from pixloop.data.archives import safe_path
from pixloop.data.dataset import MANIFEST, Dataset, DatasetInfo
from pixloop.data.remote_dataset import ADDRESS, SMALL_FILES, noted_address
from pixloop.errors import DataError
from pixloop.files import atomic_path


def take_over(
    config: DataConfig,
    source: Path,
    test: Path | None,
    output: Path,
    task: Task = "classification",
    annotations: Path | None = None,
) -> DatasetInfo:
    """Make ``output`` the data set that is in ``source``, or a note of one on S3.

    Shards are linked where the file system can, and else copied; of a data set on S3 no shard is
    fetched.

    Args:
        config: ``classes`` must be the data set's, where they are given.
        source: a folder with a dataset.json.
        test: where test pictures are said to lie besides.
        output: the data set's folder. It is complete when dataset.json is there.
        task: what the data set must be for.
        annotations: what people have said of pictures, if they have.

    Raises:
        DataError: it is no complete data set, not one for this task or these classes, or something
            is to be added, which takes the pictures themselves.
    """
    data = Dataset.open(source)
    if data.info.task != task:
        raise DataError(f"{data} is a data set for {data.info.task}, and task is {task}.")
    if config.classes is not None and set(config.classes) != set(data.info.classes):
        raise DataError(
            f"data.classes is {', '.join(config.classes)}, and the prepared data set in {data}"
            f" has {', '.join(data.info.classes)}. Leave data.classes away, or prepare it anew."
        )
    if test is not None:
        raise DataError(
            f"data.test is set, and {data} is a prepared data set, which has its own test"
            " pictures. Leave data.test away, or let data.train name the pictures themselves."
        )
    if annotations is not None:
        raise DataError(
            f"{data} is a prepared data set, to which people's answers cannot be added. Let"
            " data.train name the pictures themselves to learn from the answers."
        )
    (output / MANIFEST).unlink(missing_ok=True)
    if noted_address(source) is None:
        for shard in data.info.shards:
            _link(source / shard.file, safe_path(output, shard.file, str(source)))
    for name in (ADDRESS, *SMALL_FILES, MANIFEST):  # which comes last
        (output / name).unlink(missing_ok=True)
        if (source / name).is_file():
            with atomic_path(output / name) as temporary:
                shutil.copyfile(source / name, temporary)
    return data.info


def _link(file: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(file.resolve(), target)  # nobody changes a shard: writers make new files
    except OSError:  # another disk, or a file system without links
        with atomic_path(target) as temporary:
            shutil.copyfile(file, temporary)
