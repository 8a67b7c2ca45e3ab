"""The pipeline, written once: the JSON that SageMaker Pipelines and ``local.py`` both run.

::

    Prepare → Train → Export → Evaluate → Gate ─┬─ Register
                                                └─ Refused

A step's configuration travels as hyperparameters (Train) or as ``--set key=value`` (the others),
and only the keys that the step reads, so that a change elsewhere leaves its results in the cache.
Source: "Amazon SageMaker Pipelines: pipeline definition JSON schema", version 2020-12-01; the
arguments are those of CreateProcessingJob, CreateTrainingJob and CreateModelPackage.
"""

from collections.abc import Mapping
from typing import Any

from pixloop.bundle import Task
from pixloop.config import Config, flatten
from pixloop.pipeline.arguments import (
    DAY_S,
    KEY_PARAMETERS,
    REPORT,
    VOLUME_GB,
    Json,
    at_least,
    cached,
    channel,
    join,
    joined,
    measured,
    output_address,
    output_of,
    parameter,
    processing,
    settings,
)

PICTURE_TYPES = ("image/jpeg", "image/png", "image/webp", "application/x-image")
_NO_ROLE = "arn:aws:iam::000000000000:role/pixloop"
#: Where the training's log, "epoch 3/10 loss 0.31 F1 0.93", has what SageMaker plots.
_METRICS: Mapping[Task, Mapping[str, str]] = {
    "classification": {"loss": r"\bloss ([0-9.]+)", "f1_macro": r"\bF1 ([0-9.]+)"},
    "detection": {"loss": r"\bloss ([0-9.]+)", "map_50": r"\bAP50 ([0-9.]+)"},
}


def build_definition(
    config: Config,
    *,
    train: str | None = None,
    test: str | None = None,
    weights: str | None = None,
    champion: str | None = None,
    commit: str = "",
) -> Json:
    """The pipeline definition of a project.

    Args:
        config: the project's configuration; it gives the parameters their defaults.
        train: the address of the training pictures, ``s3://`` or ``file://``; ``data.train``
            unless given.
        test: the address of the test pictures; ``data.test`` unless given. Where it is the same
            as ``train``, there are no separate test pictures.
        weights: the address of weights to start from; without it there is no such input.
        champion: the address of the champion's bundle; without it nothing is compared.
        commit: the project's git commit, for the lineage.
    """
    train = train or config.data.train
    addresses = {"TrainDataUri": train, "TestDataUri": test or config.data.test or train}
    addresses |= {"WeightsUri": weights} if weights else {}
    addresses |= {"ChampionUri": champion} if champion else {}
    return {
        "Version": "2020-12-01",
        "Metadata": {},
        "Parameters": _parameters(config, addresses, commit),
        "PipelineExperimentConfig": {
            "ExperimentName": {"Get": "Execution.PipelineName"},
            "TrialName": {"Get": "Execution.PipelineExecutionId"},
        },
        "Steps": [
            _prepare(config),
            _train(config, bool(weights)),
            _export(config),
            _evaluate(config, bool(champion)),
            _gate(config, bool(champion)),
        ],
    }


def _parameters(config: Config, addresses: Mapping[str, str], commit: str) -> list[Json]:
    flat = flatten(config)
    bucket = config.aws.bucket or "pixloop"
    values: dict[str, Any] = {name: flat[key] for key, name in KEY_PARAMETERS.items()}
    values |= {
        "Augmentations": ",".join(config.training.augmentations),
        **addresses,
        "TrainingInstanceType": config.aws.training_instance,
        "TrainingInstanceCount": config.aws.instances,
        "ProcessingInstanceType": config.aws.processing_instance,
        "ImageUri": config.aws.image or "pixloop",
        "RoleArn": config.aws.role or _NO_ROLE,
        "OutputUri": f"s3://{bucket}/{config.name}",
        "ModelPackageGroupName": config.registry.model or config.name,
        "Commit": commit,
    }
    types = {str: "String", int: "Integer", float: "Float"}
    return [
        {"Name": name, "Type": types[type(value)], "DefaultValue": value}
        for name, value in values.items()
    ]


def _prepare(config: Config) -> Json:
    inputs = {"train": parameter("TrainDataUri"), "test": parameter("TestDataUri")}
    return processing("Prepare", config, inputs, output="dataset")


def _train(config: Config, with_weights: bool) -> Json:
    channels = {"dataset": output_of("Prepare", "dataset")}
    if with_weights:
        channels["weights"] = parameter("WeightsUri")
    # Checkpoints of other settings must never be taken up, so every execution has its own.
    checkpoints = output_address("checkpoints", {"Get": "Execution.PipelineExecutionId"})
    arguments = {
        "AlgorithmSpecification": {
            "TrainingImage": parameter("ImageUri"),
            "TrainingInputMode": "File",
            "MetricDefinitions": [
                {"Name": name, "Regex": regex} for name, regex in _METRICS[config.task].items()
            ],
        },
        "RoleArn": parameter("RoleArn"),
        "HyperParameters": {
            key: value if isinstance(value, str) else joined(value)
            for key, value in settings("Train", config).items()
        },
        "InputDataConfig": [channel(name, address) for name, address in channels.items()],
        "OutputDataConfig": {"S3OutputPath": output_address("models")},
        "CheckpointConfig": {"S3Uri": checkpoints, "LocalPath": "/opt/ml/checkpoints"},
        "TensorBoardOutputConfig": {
            "S3OutputPath": output_address("tensorboard"),
            "LocalPath": "/opt/ml/output/tensorboard",
        },
        "ResourceConfig": {
            "InstanceType": parameter("TrainingInstanceType"),
            "InstanceCount": parameter("TrainingInstanceCount"),
            "VolumeSizeInGB": VOLUME_GB,
        },
        "StoppingCondition": {"MaxRuntimeInSeconds": DAY_S},
        "Environment": {"PIXLOOP_COMMIT": parameter("Commit")},
    }
    return cached({"Name": "Train", "Type": "Training", "Arguments": arguments})


def _export(config: Config) -> Json:
    inputs = {
        "model": {"Get": "Steps.Train.ModelArtifacts.S3ModelArtifacts"},
        "dataset": output_of("Prepare", "dataset"),
    }
    return processing("Export", config, inputs, output="bundle")


def _evaluate(config: Config, with_champion: bool) -> Json:
    inputs = {
        "bundle": output_of("Export", "bundle"),
        "dataset": output_of("Prepare", "dataset"),
    }
    if with_champion:
        inputs["champion"] = parameter("ChampionUri")
    step = processing("Evaluate", config, inputs, output="evaluation")
    step["PropertyFiles"] = [
        {"PropertyFileName": REPORT, "OutputName": "evaluation", "FilePath": "evaluation.json"}
    ]
    return step


def _gate(config: Config, with_champion: bool) -> Json:
    metric = config.gate.metric
    value = measured(f"pixloop.metrics.{metric}")
    conditions = [at_least(value, parameter("GateMinimum"))]
    if with_champion and config.gate.better_than_champion:
        conditions.append(at_least(value, measured("pixloop.comparison.champion_value")))
    return {
        "Name": "Gate",
        "Type": "Condition",
        "Arguments": {
            "Conditions": conditions,
            "IfSteps": [_register()],
            "ElseSteps": [_refused(metric)],
        },
    }


def _register() -> Json:
    bundle, evaluation = output_of("Export", "bundle"), output_of("Evaluate", "evaluation")
    statistics = join("/", evaluation, "evaluation.json")
    container = {
        "Image": parameter("ImageUri"),
        "ModelDataUrl": join("/", bundle, "model.tar.gz"),
    }
    return {
        "Name": "Register",
        "Type": "RegisterModel",
        "Arguments": {
            "ModelPackageGroupName": parameter("ModelPackageGroupName"),
            "ModelApprovalStatus": "PendingManualApproval",
            "InferenceSpecification": {
                "Containers": [container],
                "SupportedContentTypes": [*PICTURE_TYPES, "application/json"],
                "SupportedResponseMIMETypes": ["application/json"],
            },
            "ModelMetrics": {
                "ModelQuality": {
                    "Statistics": {"ContentType": "application/json", "S3Uri": statistics}
                }
            },
            "CustomerMetadataProperties": {
                "task": parameter("Task"),
                "model": parameter("Model"),
                "train_data": parameter("TrainDataUri"),
                "commit": parameter("Commit"),
                "execution": {"Get": "Execution.PipelineExecutionId"},
            },
        },
    }


def _refused(metric: str) -> Json:
    message = join("", f"The gate needs {metric} of at least ", parameter("GateMinimum"))
    return {"Name": "Refused", "Type": "Fail", "Arguments": {"ErrorMessage": message}}
