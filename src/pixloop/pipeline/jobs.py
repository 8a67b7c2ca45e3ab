"""One Training or Processing step as a job of this machine: its command, its inputs and outputs.

A job's folder holds ``ml/``, which is the container's ``/opt/ml`` (see ``container.py``), the
``log.txt`` and, when all is done, ``done.json`` (see ``cache.py``). While several instances work,
each has such an ``ml/`` of its own in a folder named after its host.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from pixloop.errors import PipelineError
from pixloop.pipeline.container import ROOT

LOG = "log.txt"
ARTIFACT = "model.tar.gz"
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
        hosts: the names of the instances.
        hosts_document: the file of the contract below ``ml/`` that tells an instance its name.
        sharded: inputs of which each instance has a share; the others are whole on each.
    """

    name: str
    kind: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    inputs: Mapping[str, tuple[str, str]]
    outputs: Mapping[str, str]
    documents: Mapping[str, Any]
    settings: Mapping[str, Any]
    hosts: tuple[str, ...] = ("algo-1",)
    hosts_document: str = "config/resourceconfig.json"
    sharded: frozenset[str] = frozenset()


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
        return {"model": f"{folder.rstrip('/')}/{title}/output/{ARTIFACT}"}
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
    return Job(
        name=name,
        kind="Training",
        command=tuple(command),
        environment=arguments.get("Environment", {}),
        inputs={
            channel: (c["DataSource"]["S3DataSource"]["S3Uri"], f"input/data/{channel}")
            for channel, c in channels.items()
        },
        outputs={"model": ARTIFACT},
        documents={
            "input/config/hyperparameters.json": hyperparameters,
            "input/config/inputdataconfig.json": {
                channel: {"TrainingInputMode": "File"} for channel in channels
            },
        },
        settings={"command": command, "hyperparameters": hyperparameters},
        hosts_document="input/config/resourceconfig.json",
    )


def _read_processing(name: str, arguments: Mapping[str, Any]) -> Job:
    application = arguments["AppSpecification"]
    command = [
        *application.get("ContainerEntrypoint", _MODULE),
        *application.get("ContainerArguments", []),
    ]
    outputs = arguments.get("ProcessingOutputConfig", {}).get("Outputs", [])
    inputs = arguments.get("ProcessingInputs", [])
    cluster = arguments.get("ProcessingResources", {}).get("ClusterConfig", {})
    count = cluster.get("InstanceCount", 1)
    sharded = frozenset(i["InputName"] for i in inputs if _is_sharded(i)) if count > 1 else ()
    return Job(
        name=name,
        kind="Processing",
        command=tuple(command),
        environment=arguments.get("Environment", {}),
        inputs={
            i["InputName"]: (i["S3Input"]["S3Uri"], _below_root(i["S3Input"]["LocalPath"]))
            for i in inputs
        },
        outputs={o["OutputName"]: "ml/" + _below_root(o["S3Output"]["LocalPath"]) for o in outputs},
        documents={"config/processingjobconfig.json": {"ProcessingInputs": [], **arguments}},
        settings={"command": command, "instances": count, "sharded": sorted(sharded)},
        hosts=tuple(f"algo-{number}" for number in range(1, count + 1)),
        sharded=frozenset(sharded),
    )


def _is_sharded(processing_input: Mapping[str, Any]) -> bool:
    distribution = processing_input["S3Input"].get("S3DataDistributionType", "FullyReplicated")
    return bool(distribution == "ShardedByS3Key")


def _below_root(path: str) -> str:
    """A container's path, relative to its /opt/ml.

    >>> _below_root("/opt/ml/processing/input/dataset")
    'processing/input/dataset'
    """
    pure = PurePosixPath(path)
    if not pure.is_relative_to(ROOT) or ".." in pure.parts:
        raise PipelineError(f"The container path {path!r} lies outside {ROOT}.")
    return pure.relative_to(ROOT).as_posix()
