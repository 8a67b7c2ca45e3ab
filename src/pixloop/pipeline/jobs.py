"""One Training or Processing step as a job of this machine: its command, and its folders.

A job's folder holds ``ml/``, which is the container's ``/opt/ml`` (see ``container.py``), the
``log.txt`` and, when all is done, ``done.json`` (see ``cache.py``).
"""

import os
import shutil
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from pixloop.errors import PipelineError
from pixloop.files import pack, write_json
from pixloop.pipeline.container import ROOT
from pixloop.pipeline.process import Ended

#: What a kill must not cost: checkpoints, TensorBoard's events and a step's own scratch.
KEPT = ("checkpoints", "output/tensorboard", "work")
LOG = "log.txt"
_ARTIFACT = "model.tar.gz"
_MODULE = ("python", "-m", "pixloop.pipeline.steps")
# OpenMP's threads spin while they wait for one another, by default so long that beside two busy
# processes on two cores a training step took four times longer than with this limit; without any
# spinning, it took half as long again on an idle machine.
_PATIENT_THREADS = {"GOMP_SPINCOUNT": os.environ.get("GOMP_SPINCOUNT", "10000")}


@dataclass(frozen=True)
class Job:
    """What a step asks for, with every expression resolved.

    Attributes:
        inputs: name → the address it comes from, and its folder below ``ml/``.
        outputs: name → its place below the job's folder.
        documents: files of the contract below ``ml/`` → their JSON.
        settings: what decides the result besides the inputs, for the cache.
    """

    name: str
    kind: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    inputs: Mapping[str, tuple[str, str]]
    outputs: Mapping[str, str]
    documents: Mapping[str, Any]
    settings: Mapping[str, Any]


def read_job(name: str, kind: str, arguments: Mapping[str, Any]) -> Job:
    """The job that a step's resolved arguments describe.

    Raises:
        PipelineError: a part is missing, or a path lies outside /opt/ml.
    """
    read = {"Training": _read_training, "Processing": _read_processing}[kind]
    try:
        return read(name, arguments)
    except (KeyError, TypeError) as e:
        raise PipelineError(f"The step {name} is not described fully: {e} is missing.") from e


def job_name(job: Job, key: str) -> str:
    """The name of the job that carries a step out; the same work has the same name."""
    return f"{job.name}-{key[:16]}"


def lay_out(job: Job, folder: Path, sources: Mapping[str, Path]) -> None:
    """Make the job's ``ml/`` afresh: inputs linked, outputs empty, what ``KEPT`` names kept.

    Args:
        job: what to do.
        folder: the job's.
        sources: name of an input → where it lies.
    """
    root = folder / "ml"
    root.mkdir(parents=True, exist_ok=True)
    _wipe(root, keep=[root / name for name in KEPT])
    for output in job.outputs.values():
        if output.startswith("ml/"):
            (folder / output).mkdir(parents=True, exist_ok=True)
        else:
            (folder / output).unlink(missing_ok=True)
    (root / "model").mkdir(exist_ok=True)
    for name in KEPT:
        (root / name).mkdir(parents=True, exist_ok=True)
    for name, (_, place) in job.inputs.items():
        _link(sources[name], root / place)
    for file, content in job.documents.items():
        write_json(root / file, content)


def environment_of(job: Job, key: str, folder: Path) -> dict[str, str]:
    """The variables that the job's command finds, besides those that it inherits."""
    return {
        **job.environment,
        "PIXLOOP_ML": str(folder / "ml"),
        "PIXLOOP_PROGRESS": "lines",
        **_PATIENT_THREADS,
        "PYTHONUNBUFFERED": "1",
        "TRAINING_JOB_NAME": job_name(job, key),
    }


def explain_failure(job: Job, ended: Ended, folder: Path) -> str:
    """Why it failed: what it left in its failure file, or how it ended; and its last lines."""
    file = folder / "ml" / "output" / "failure"
    cause = file.read_text(encoding="utf-8", errors="replace").strip() if file.exists() else ""
    if not cause and ended.code < 0:
        cause = f"it was ended by {signal.Signals(-ended.code).name}"
        if ended.code == -signal.SIGKILL:
            cause += " (by a person, or by the system because memory ran out)"
    cause = cause or f"it ended with exit code {ended.code}"
    lines = [f"The step {job.name} failed: {cause}", f"Its log: {folder / LOG}"]
    lines += [f"  {line}" for line in ended.tail if line.strip() not in cause]
    return "\n".join(lines)


def collect(job: Job, folder: Path) -> None:
    """After the command has succeeded: pack the model, see that no output is missing, tidy up.

    Raises:
        PipelineError: an output is empty.
    """
    if job.kind == "Training":
        pack(folder / "ml" / "model", folder / _ARTIFACT)
    for name, place in job.outputs.items():
        path = folder / place
        if path.is_dir() and not any(path.iterdir()):
            raise PipelineError(f"The step {job.name} ended, but left its output {name!r} empty.")
    shutil.rmtree(folder / "ml" / "work", ignore_errors=True)


def destinations(job: Job, arguments: Mapping[str, Any], title: str) -> dict[str, str]:
    """Where the arguments say that outputs go: output → address; ``title`` is the job's name.

    A model goes to ``<S3OutputPath>/<job name>/output/model.tar.gz``, as SageMaker puts it.

    Raises:
        PipelineError: a Training step does not say.
    """
    if job.kind == "Training":
        folder = arguments.get("OutputDataConfig", {}).get("S3OutputPath")
        if folder is None:
            raise PipelineError(f"The step {job.name} has no OutputDataConfig.S3OutputPath.")
        return {"model": f"{folder.rstrip('/')}/{title}/output/{_ARTIFACT}"}
    outputs = arguments.get("ProcessingOutputConfig", {}).get("Outputs", [])
    return {output["OutputName"]: output["S3Output"]["S3Uri"] for output in outputs}


def properties(
    job: Job, arguments: Mapping[str, Any], addresses: Mapping[str, str]
) -> dict[str, Any]:
    """What later steps can refer to: the arguments, with the outputs at their ``addresses``."""
    if job.kind == "Training":
        return {**arguments, "ModelArtifacts": {"S3ModelArtifacts": addresses["model"]}}
    outputs = {name: {"S3Output": {"S3Uri": address}} for name, address in addresses.items()}
    return {**arguments, "ProcessingOutputConfig": {"Outputs": outputs}}


def _read_training(name: str, arguments: Mapping[str, Any]) -> Job:
    algorithm = arguments["AlgorithmSpecification"]
    channels = {c["ChannelName"]: c for c in arguments.get("InputDataConfig", [])}
    # Without an entrypoint of its own, a container is started as "<image> train".
    command = [
        *algorithm.get("ContainerEntrypoint", _MODULE),
        *algorithm.get(
            "ContainerArguments", [] if "ContainerEntrypoint" in algorithm else ["train"]
        ),
    ]
    hyperparameters = arguments.get("HyperParameters", {})
    host = "algo-1"
    return Job(
        name=name,
        kind="Training",
        command=tuple(command),
        environment=arguments.get("Environment", {}),
        inputs={
            channel: (c["DataSource"]["S3DataSource"]["S3Uri"], f"input/data/{channel}")
            for channel, c in channels.items()
        },
        outputs={"model": _ARTIFACT},
        documents={
            "input/config/hyperparameters.json": hyperparameters,
            "input/config/inputdataconfig.json": {
                channel: {"TrainingInputMode": "File"} for channel in channels
            },
            "input/config/resourceconfig.json": {"current_host": host, "hosts": [host]},
        },
        settings={"command": command, "hyperparameters": hyperparameters},
    )


def _read_processing(name: str, arguments: Mapping[str, Any]) -> Job:
    application = arguments["AppSpecification"]
    command = [
        *application.get("ContainerEntrypoint", _MODULE),
        *application.get("ContainerArguments", []),
    ]
    outputs = arguments.get("ProcessingOutputConfig", {}).get("Outputs", [])
    return Job(
        name=name,
        kind="Processing",
        command=tuple(command),
        environment=arguments.get("Environment", {}),
        inputs={
            i["InputName"]: (i["S3Input"]["S3Uri"], _below_root(i["S3Input"]["LocalPath"]))
            for i in arguments.get("ProcessingInputs", [])
        },
        outputs={o["OutputName"]: "ml/" + _below_root(o["S3Output"]["LocalPath"]) for o in outputs},
        documents={"config/processingjobconfig.json": {"ProcessingInputs": [], **arguments}},
        settings={"command": command},
    )


def _below_root(path: str) -> str:
    """A container's path, relative to its /opt/ml.

    >>> _below_root("/opt/ml/processing/input/dataset")
    'processing/input/dataset'
    """
    pure = PurePosixPath(path)
    if not pure.is_relative_to(ROOT) or ".." in pure.parts:
        raise PipelineError(f"The container path {path!r} lies outside {ROOT}.")
    return pure.relative_to(ROOT).as_posix()


def _link(source: Path, target: Path) -> None:
    """A folder becomes the input; a file lies in it under its own name, as S3 would bring it."""
    if source.is_file():
        target.mkdir(parents=True, exist_ok=True)
        target = target / source.name
    target.parent.mkdir(parents=True, exist_ok=True)
    target.symlink_to(source.absolute())


def _wipe(folder: Path, keep: list[Path]) -> None:
    for entry in folder.iterdir():
        if entry in keep:
            continue
        if entry.is_symlink() or entry.is_file():
            entry.unlink()
        elif any(path.is_relative_to(entry) for path in keep):
            _wipe(entry, keep)
        else:
            shutil.rmtree(entry)
