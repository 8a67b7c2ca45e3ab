"""The pipeline, written once: the JSON that SageMaker Pipelines and ``local.py`` both run.

::

    [Inspect →] Prepare → Train → Export → Evaluate → Gate ─┬─ Register
                                                            └─ Refused

Inspect is there where several instances share the work of checking the pictures; Tune stands in
Train's place where settings are searched for.

A step's configuration travels as hyperparameters (Train) or as ``--set key=value`` (the others),
and only the keys that the step reads, so that a change elsewhere leaves its results in the cache.
Source: "Amazon SageMaker Pipelines: pipeline definition JSON schema", version 2020-12-01; the
arguments are those of CreateProcessingJob and CreateModelPackage, and those that
``training_arguments`` names.

SageMaker's cache compares a step's arguments (the documentation's "Default cache key attributes by
pipeline step type" lists which), among them addresses, and never what lies there. The parameters
``DataVersion`` and ``ChampionVersion`` stand for that: whoever starts a run gives them another
value when it has changed. Steps find them in their environment, and do nothing with them.
"""

from collections.abc import Mapping
from typing import Any

from pixloop.config import Config, GateConfig, flatten
from pixloop.pipeline.arguments import (
    KEY_PARAMETERS,
    NO_COMMIT,
    REPORT,
    Json,
    at_least,
    join,
    measured,
    output_of,
    parameter,
    processing,
)
from pixloop.pipeline.training_arguments import (
    best_model,
    best_training,
    trained_model,
    training,
    tuning,
)

PICTURE_TYPES = ("image/jpeg", "image/png", "image/webp", "application/x-image")
_NO_ROLE = "arn:aws:iam::000000000000:role/pixloop"
_DATA_VERSION = {"PIXLOOP_DATA_VERSION": {"Get": "Parameters.DataVersion"}}
_CHAMPION_VERSION = {"PIXLOOP_CHAMPION_VERSION": {"Get": "Parameters.ChampionVersion"}}


def build_definition(
    config: Config,
    *,
    train: str | None = None,
    test: str | None = None,
    weights: str | None = None,
    champion: str | None = None,
    annotations: str | None = None,
    commit: str = "",
    tune: bool = False,
) -> Json:
    """The pipeline definition of a project.

    Args:
        config: the project's configuration; it gives the parameters their defaults.
        train: the address of the training pictures, ``s3://`` or ``file://``; ``data.train``
            unless given.
        test: the address of the test pictures; ``data.test`` unless given. Where it is the same
            as ``train``, there are no separate test pictures.
        weights: the address of weights to start from; without it there is no such input.
        champion: the address of the champion's bundle, or of a place that may hold none.json
            instead (see ``evaluation.evaluate``); without it nothing is compared.
        annotations: the address of what people have said of pictures (see
            ``data.annotations``); without it there is no such input.
        commit: the project's git commit, for the lineage.
        tune: whether to search for the best settings, as ``config.tuning`` says.

    Raises:
        ConfigError: nothing is to be searched, or there are subnets without a security group.
    """
    train = train or config.data.train
    addresses = {"TrainDataUri": train, "TestDataUri": test or config.data.test or train}
    addresses |= {"WeightsUri": weights} if weights else {}
    addresses |= {"ChampionUri": champion} if champion else {}
    addresses |= {"AnnotationsUri": annotations} if annotations else {}
    return {
        "Version": "2020-12-01",
        "Metadata": {},
        "Parameters": _parameters(config, addresses, commit),
        "PipelineExperimentConfig": {
            "ExperimentName": {"Get": "Execution.PipelineName"},
            "TrialName": {"Get": "Execution.PipelineExecutionId"},
        },
        "Steps": [
            *([_inspect(config)] if _is_shared(config) else []),
            _prepare(config, bool(annotations)),
            tuning(config, bool(weights)) if tune else training(config, bool(weights)),
            _export(config, best_model() if tune else trained_model()),
            _evaluate(config, bool(champion)),
            _gate(config, bool(champion), tune),
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
        "ModelPackageGroupName": config.model_name,
        "Commit": commit or NO_COMMIT,
        "DataVersion": "",
        "ChampionVersion": "",
    }
    if _is_shared(config):
        values["ProcessingInstanceCount"] = config.aws.processing_instances
    types = {str: "String", int: "Integer", float: "Float"}
    return [
        {"Name": name, "Type": types[type(value)], "DefaultValue": value}
        for name, value in values.items()
    ]


def _is_shared(config: Config) -> bool:
    """Whether several instances check the pictures."""
    return config.aws.processing_instances > 1


def _inspect(config: Config) -> Json:
    return processing(
        "Inspect",
        config,
        _pictures(),
        output="inspections",
        environment=_DATA_VERSION,
        instances=parameter("ProcessingInstanceCount"),
        sharded=True,
    )


def _prepare(config: Config, with_annotations: bool) -> Json:
    inputs = _pictures()
    if with_annotations:
        inputs["annotations"] = parameter("AnnotationsUri")
    if _is_shared(config):
        inputs["inspections"] = output_of("Inspect", "inspections")
    return processing("Prepare", config, inputs, output="dataset", environment=_DATA_VERSION)


def _pictures() -> dict[str, Json]:
    return {"train": parameter("TrainDataUri"), "test": parameter("TestDataUri")}


def _export(config: Config, model: Json) -> Json:
    inputs = {"model": model, "dataset": output_of("Prepare", "dataset")}
    # Only here: in other steps' environment, a commit would cost SageMaker's cache its results.
    commit = {"PIXLOOP_COMMIT": parameter("Commit")}
    return processing("Export", config, inputs, output="bundle", environment=commit)


def _evaluate(config: Config, with_champion: bool) -> Json:
    inputs = {
        "bundle": output_of("Export", "bundle"),
        "dataset": output_of("Prepare", "dataset"),
    }
    if with_champion:
        inputs["champion"] = parameter("ChampionUri")
    version = _CHAMPION_VERSION if with_champion else None
    step = processing("Evaluate", config, inputs, output="evaluation", environment=version)
    step["PropertyFiles"] = [
        {"PropertyFileName": REPORT, "OutputName": "evaluation", "FilePath": "evaluation.json"}
    ]
    return step


def _gate(config: Config, with_champion: bool, tuned: bool) -> Json:
    metric = config.gate.metric
    value = measured(f"pixloop.metrics.{metric}")
    conditions = [at_least(value, parameter("GateMinimum"))]
    if with_champion and config.gate.better_than_champion:
        # The paired test: what is shown worse than the champion by more than the margin is refused.
        high, least = (
            measured("pixloop.promotion.best_difference"),
            measured("pixloop.promotion.allowed_difference"),
        )
        conditions.append(at_least(high, least))
    if config.gate.min_kept_accuracy:
        kept = measured("pixloop.robustness.kept_share")
        conditions.append(at_least(kept, config.gate.min_kept_accuracy))
    return {
        "Name": "Gate",
        "Type": "Condition",
        "Arguments": {
            "Conditions": conditions,
            "IfSteps": [_register(tuned)],
            "ElseSteps": [_refused(config.gate)],
        },
    }


def _register(tuned: bool) -> Json:
    bundle, evaluation = output_of("Export", "bundle"), output_of("Evaluate", "evaluation")
    statistics = join("/", evaluation, "evaluation.json")
    # Which model a search has found best, only the archive's manifest knows.
    origin = {"training_job": best_training()} if tuned else {"model": parameter("Model")}
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
                **origin,
                "train_data": parameter("TrainDataUri"),
                "commit": parameter("Commit"),
                "execution": {"Get": "Execution.PipelineExecutionId"},
            },
        },
    }


def _refused(gate: GateConfig) -> Json:
    kept = f", of which {gate.min_kept_accuracy:g} is kept under corruptions"
    parts = (f"The gate needs {gate.metric} of at least ", parameter("GateMinimum"))
    message = join("", *parts, *([kept] if gate.min_kept_accuracy else []))
    return {"Name": "Refused", "Type": "Fail", "Arguments": {"ErrorMessage": message}}
