"""The step that trains: one training, or a search over many for the best settings.

The arguments are those of CreateTrainingJob and CreateHyperParameterTuningJob.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pixloop.bundle import Task
from pixloop.config import Config
from pixloop.config_tuning import TuningConfig
from pixloop.errors import ConfigError
from pixloop.pipeline.arguments import (
    DAY_S,
    VOLUME_GB,
    Json,
    cached,
    channel,
    join,
    joined,
    output_address,
    output_of,
    parameter,
    settings,
    vpc,
)
from pixloop.pipeline.search_space import Choice, Range, Space, search_space, stepped

#: Where the training's log, "epoch 3/10 loss 0.31 F1 0.93", has what SageMaker plots.
_METRICS: Mapping[Task, Mapping[str, str]] = {
    "classification": {"loss": r"\bloss ([0-9.]+)", "f1_macro": r"\bF1 ([0-9.]+)"},
    "detection": {"loss": r"\bloss ([0-9.]+)", "map_50": r"\bAP50 ([0-9.]+)"},
}
#: What a search looks for, measured on the validation pictures: the test's are for the gate alone.
_OBJECTIVES: Mapping[Task, str] = {"classification": "f1_macro", "detection": "map_50"}
#: Of a categorical range, and of a tuning job's runtime (API reference, CategoricalParameterRange
#: and ResourceLimits).
_MOST_CATEGORIES = 30
_LEAST_RUNTIME_S = 120


def training(config: Config, with_weights: bool) -> Json:
    """The step ``Train``."""
    # The address must not change from run to run, or SageMaker's cache would never find the step;
    # training takes up only checkpoints of its own settings, data and weights.
    checkpoints = {"S3Uri": output_address("checkpoints"), "LocalPath": "/opt/ml/checkpoints"}
    arguments = {
        **_job(config, with_weights),
        "HyperParameters": _hyperparameters(config),
        "CheckpointConfig": checkpoints,
        "TensorBoardOutputConfig": {
            "S3OutputPath": output_address("tensorboard"),
            "LocalPath": "/opt/ml/output/tensorboard",
        },
    }
    return cached({"Name": "Train", "Type": "Training", "Arguments": arguments})


def trained_model() -> Json:
    """The address of the model that ``Train`` made."""
    return {"Get": "Steps.Train.ModelArtifacts.S3ModelArtifacts"}


def tuning(config: Config, with_weights: bool) -> Json:
    """The step ``Tune``: many trainings, whose settings a Bayesian search chooses.

    Its trainings have no checkpoints: they would all write to one address.

    Raises:
        ConfigError: nothing is to be searched.
    """
    space = search_space(config)
    if not space:
        raise ConfigError(
            "tuning: there is nothing to search. Set tuning.models, tuning.optimizers, "
            "tuning.learning_rate or tuning.space, each to a choice or a range."
        )
    job = {
        **_job(config, with_weights),
        "StaticHyperParameters": {
            key: value for key, value in _hyperparameters(config).items() if key not in space
        },
    }
    search = {
        "Strategy": "Bayesian" if config.tuning.sampler == "tpe" else "Random",
        "HyperParameterTuningJobObjective": {
            "Type": "Maximize",
            "MetricName": _OBJECTIVES[config.task],
        },
        "ResourceLimits": _limits(config.tuning),
        "ParameterRanges": _ranges(space),
        "TrainingJobEarlyStoppingType": "Off" if config.tuning.pruner == "none" else "Auto",
        "RandomSeed": config.training.seed % 2**31,
    }
    arguments = {"HyperParameterTuningJobConfig": search, "TrainingJobDefinition": job}
    return cached({"Name": "Tune", "Type": "Tuning", "Arguments": arguments})


def best_model() -> Json:
    """The address of the best model that ``Tune`` made."""
    return join("/", _models(), best_training(), "output", "model.tar.gz")


def best_training() -> Json:
    """The name of the training job that made it."""
    return {"Get": "Steps.Tune.BestTrainingJob.TrainingJobName"}


def _job(config: Config, with_weights: bool) -> Json:
    """What one training and each of many have in common."""
    channels = {"dataset": output_of("Prepare", "dataset")}
    if with_weights:
        channels["weights"] = parameter("WeightsUri")
    job: Json = {
        "AlgorithmSpecification": {
            "TrainingImage": parameter("ImageUri"),
            "TrainingInputMode": "File",
            "MetricDefinitions": [
                {"Name": name, "Regex": regex} for name, regex in _METRICS[config.task].items()
            ],
        },
        "RoleArn": parameter("RoleArn"),
        "InputDataConfig": [channel(name, address) for name, address in channels.items()],
        "OutputDataConfig": {"S3OutputPath": _models()},
        "ResourceConfig": {
            "InstanceType": parameter("TrainingInstanceType"),
            "InstanceCount": parameter("TrainingInstanceCount"),
            "VolumeSizeInGB": VOLUME_GB,
        },
        "StoppingCondition": {"MaxRuntimeInSeconds": DAY_S},
    }
    if config.aws.spot:
        job["EnableManagedSpotTraining"] = True
        # Of which at most a day is work; the rest may be spent waiting for instances.
        job["StoppingCondition"] = {
            "MaxRuntimeInSeconds": DAY_S,
            "MaxWaitTimeInSeconds": 2 * DAY_S,
        }
    network = vpc(config)
    return {**job, "VpcConfig": network} if network else job


def _hyperparameters(config: Config) -> dict[str, str | Json]:
    return {
        key: value if isinstance(value, str) else joined(value)
        for key, value in settings("Train", config).items()
    }


def _limits(tuning: TuningConfig) -> Json:
    limits = {
        "MaxNumberOfTrainingJobs": tuning.trials,
        "MaxParallelTrainingJobs": min(tuning.parallel, tuning.trials),
    }
    if tuning.minutes is not None:
        # Trainings that are at work then are stopped (API reference, ResourceLimits).
        limits["MaxRuntimeInSeconds"] = max(_LEAST_RUNTIME_S, round(tuning.minutes * 60))
    return limits


def _ranges(space: Space) -> Json:
    """The space as SageMaker's ParameterRanges.

    A stepped range becomes a choice, as SageMaker knows no steps; values are the YAML in which the
    other hyperparameters are written, too.
    """
    kinds: dict[str, list[Json]] = {
        "CategoricalParameterRanges": [],
        "ContinuousParameterRanges": [],
        "IntegerParameterRanges": [],
    }
    for key, part in space.items():
        values = part.values if isinstance(part, Choice) else stepped(part)
        if values is not None:
            kinds["CategoricalParameterRanges"].append(_category(key, values))
        elif isinstance(part, Range):
            kind = "Integer" if part.whole else "Continuous"
            kinds[f"{kind}ParameterRanges"].append(_number(key, part))
    return {kind: ranges for kind, ranges in kinds.items() if ranges}


def _category(key: str, values: Sequence[Any]) -> Json:
    if len(values) > _MOST_CATEGORIES:
        raise ConfigError(
            f"tuning: {key!r} has {len(values)} choices; SageMaker takes {_MOST_CATEGORIES}."
        )
    return {"Name": key, "Values": [json.dumps(value) for value in values]}


def _number(key: str, part: Range) -> Json:
    return {
        "Name": key,
        "MinValue": str(part.low),
        "MaxValue": str(part.high),
        "ScalingType": "Logarithmic" if part.log else "Auto",
    }


def _models() -> Json:
    return output_address("models")
