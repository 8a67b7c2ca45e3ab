"""When a step need not run again: keys by content, and proof that its results are still there.

A step's key is a hash of its command and settings, the content of its inputs, and the code that
would run. Its folder is named after the key, so a step that was killed finds its checkpoints, and
one that is complete is found by name. It is complete when ``done.json`` is there, which is written
last.
"""

import functools
import hashlib
import json
import os
import platform
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

import pixloop
from pixloop.data.formats.layout import LABEL_SUFFIXES
from pixloop.files import sha256_file, sha256_folder, write_text
from pixloop.pipeline.jobs import Job
from pixloop.pipeline.places import Source
from pixloop.pipeline.shares import files_below

DONE = "done.json"
#: Rooms whose code no step runs: a change there repeats nothing.
_OUTSIDE_STEPS = (
    "annotation",
    "aws",
    "challenger_version.py",
    "cli",
    "demo.py",
    "demo_loop.py",
    "drawing.py",
    "entrypoint.py",
    "model_versions.py",
    "picture_predictions",
    "project.py",
    "project_folder.py",
    "project_loop.py",
    "project_registry.py",
    "project_sources.py",
    "registry.py",
    "run_summary.py",
    "served_version.py",
    "tuning",
    "verification",
    "watching",
    "web",
)
#: Say where a result comes from, and do not change it. The versions of data and champion are for
#: SageMaker's cache, which knows addresses only; here the content itself is looked at.
_TOLD_ONLY = ("PIXLOOP_COMMIT", "PIXLOOP_DATA_VERSION", "PIXLOOP_CHAMPION_VERSION")


class OutputRecord(BaseModel):
    """One output of a complete step: its content, and how its files looked when it was made."""

    model_config = ConfigDict(frozen=True)

    sha256: str
    fingerprint: str


class Done(BaseModel):
    """The content of done.json."""

    model_config = ConfigDict(frozen=True)

    step: str
    key: str
    ended: str
    seconds: float
    outputs: dict[str, OutputRecord]


def fingerprint(path: Path) -> str:
    """A hash over the names, sizes and times of change of a file or all files of a folder.

    It costs a look at each file and no reading: about a second for 100,000 files.
    """
    digest = hashlib.sha256()
    # Lines and not what they are made of: of a million files that is a fifth of the memory.
    for line in sorted(f"{name}\0{s.st_size}\0{s.st_mtime_ns}\n" for name, s in _files(path)):
        digest.update(line.encode("utf-8", "replace"))
    return digest.hexdigest()


def outside_digest(path: Path) -> str:
    """A hash that tells whether what lies outside the project's ``.pixloop`` has changed.

    A label file stands for its whole folder: the pictures lie beside it.
    """
    if path.is_file() and path.suffix.lower() in LABEL_SUFFIXES:
        return f"{path.name} in {fingerprint(path.parent)}"
    return fingerprint(path)


def content_digest(path: Path) -> str:
    """A hash over the content of a file, or of a folder with the names in it."""
    return sha256_file(path) if path.is_file() else sha256_folder(path)


def input_digests(sources: Mapping[str, Source], steps: Path) -> dict[str, str]:
    """A digest of each of a job's inputs.

    Args:
        sources: the inputs.
        steps: the folder of all steps. What lies outside it, and was not fetched, is judged by how
            its files look.
    """
    digests = {}
    for name, source in sources.items():
        if source.sha256 is not None:
            digests[name] = source.sha256
        elif source.fetched or source.path.is_relative_to(steps):
            digests[name] = content_digest(source.path)
        else:
            digests[name] = outside_digest(source.path)
    return digests


def step_key(job: Job, inputs: Mapping[str, str]) -> str:
    """The key of a job, 64 hexadecimal digits, from the digests of its inputs.

    Addresses, roles and machines are left out: the same work elsewhere has the same key.
    """
    environment = {k: v for k, v in job.environment.items() if k not in _TOLD_ONLY}
    parts = [job.name, job.kind, job.settings, environment, dict(inputs), code_digest()]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


@functools.cache
def code_digest() -> str:
    """A hash over pixloop's own source, and the versions of Python and of what pixloop needs."""
    root = Path(pixloop.__file__).parent
    digest = hashlib.sha256(f"{platform.python_version()}\n".encode())
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root)
        if name.parts[0] not in _OUTSIDE_STEPS:
            digest.update(f"{name.as_posix()}\0".encode() + path.read_bytes())
    for line in _installed_requirements():
        digest.update(line.encode())
    return digest.hexdigest()


def write_done(folder: Path, job: Job, key: str, ended: str, seconds: float) -> Done:
    """Declare a step complete."""
    outputs = {name: _record(folder / place) for name, place in job.outputs.items()}
    done = Done(step=job.name, key=key, ended=ended, seconds=seconds, outputs=outputs)
    write_text(folder / DONE, done.model_dump_json(indent=2) + "\n")
    return done


def read_done(folder: Path, job: Job) -> Done | None:
    """The record of a complete step whose outputs are still what they were, else None.

    Files that look untouched are believed; others are read again and held against their digests,
    so that a project folder can be copied or moved.
    """
    try:
        done = Done.model_validate_json((folder / DONE).read_text(encoding="utf-8"))
    except (OSError, ValidationError):
        return None
    if done.outputs.keys() != job.outputs.keys():
        return None
    for name, place in job.outputs.items():
        path, record = folder / place, done.outputs[name]
        if not path.exists():
            return None
        if fingerprint(path) != record.fingerprint and content_digest(path) != record.sha256:
            return None
    return done


def _record(path: Path) -> OutputRecord:
    return OutputRecord(sha256=content_digest(path), fingerprint=fingerprint(path))


def _files(path: Path) -> Iterator[tuple[str, os.stat_result]]:
    found = files_below(path) if path.is_dir() else iter([(path.name, path)])
    return ((name, file.stat()) for name, file in found)


def _installed_requirements() -> Iterator[str]:
    for line in requires("pixloop") or []:
        name = functools.reduce(lambda text, mark: text.split(mark)[0], "<>=!~;[ ", line)
        try:
            yield f"{name}=={version(name)}\n"
        except PackageNotFoundError:
            yield f"{name} is absent\n"
