"""The parts that the steps of the definition are made of: jobs, inputs, settings, expressions."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pixloop.config import Config, flatten

Json = dict[str, Any]

#: The keys that each step reads; a name with a dot at its end stands for all below it.
STEP_KEYS: Mapping[str, tuple[str, ...]] = {
    "Inspect": ("data.max_pixels",),
    "Prepare": (
        "task",
        "data.format",
        "data.classes",
        "data.box_frame",
        "data.test_share",
        "data.validation_share",
        "data.calibration_share",
        "data.max_pixels",
        "data.strict",
        "annotation.annotators",
        "annotation.agreement",
    ),
    "Train": (
        "task",
        "model.name",
        "model.pretrained",
        "model.image_size",
        "model.resize",
        "training.",
    ),
    "Export": (
        "task",
        "name",
        "export.",
        "thresholds.",
        "monitoring.odds_pictures",
        "monitoring.false_alarm",
    ),
    "Evaluate": (
        "task",
        "gate.",
        "promotion.margin",
        "promotion.confidence",
        "robustness.",
        "explanations.",
        "slices.",
        "trust.",
        "card.",
    ),
}

#: Configuration keys that are pipeline parameters: a run may change them, the definition stays.
KEY_PARAMETERS: Mapping[str, str] = {
    "task": "Task",
    "model.name": "Model",
    "training.batch_size": "BatchSize",
    "training.optimizer": "Optimizer",
    "training.learning_rate": "LearningRate",
    "training.epochs": "Epochs",
    "training.augmentations": "Augmentations",
    "gate.minimum": "GateMinimum",
}

REPORT = "EvaluationReport"
#: Stands for a commit where there is none: a model package's properties may not be empty.
NO_COMMIT = "none"
VOLUME_GB = 50
DAY_S = 86_400
_ARGUMENT_CHARACTERS = 256
#: A parameter is bare text or "a,b,c"; these make YAML of it.
_QUOTES: Mapping[type, tuple[str, str]] = {str: ('"', '"'), list: ("[", "]")}


def processing(
    name: str,
    config: Config,
    inputs: Mapping[str, Json],
    output: str,
    *,
    environment: Mapping[str, Json] | None = None,
    instances: Json | int = 1,
    sharded: bool = False,
) -> Json:
    """A Processing step that runs ``step <name>`` of ``steps.py``, from addresses to one output.

    Args:
        name: the step's.
        config: the configuration, of which the step is told the keys that it reads.
        inputs: name → address.
        output: the output's name.
        environment: variables for the step.
        instances: how many instances do it.
        sharded: whether each has a share of every input, or all of it.

    Raises:
        ConfigError: there are subnets without a security group.
    """
    place = f"/opt/ml/processing/output/{output}"
    uploaded = output_address(output, {"Get": "Execution.PipelineExecutionId"})
    arguments: Json = {
        "AppSpecification": {
            "ImageUri": parameter("ImageUri"),
            "ContainerEntrypoint": ["python", "-m", "pixloop.pipeline.steps"],
            "ContainerArguments": ["step", name.lower(), *_set_arguments(name, config)],
        },
        "RoleArn": parameter("RoleArn"),
        "ProcessingInputs": [_input(key, value, sharded) for key, value in inputs.items()],
        "ProcessingOutputConfig": {
            "Outputs": [
                {
                    "OutputName": output,
                    "AppManaged": False,
                    "S3Output": {
                        "S3Uri": uploaded,
                        "LocalPath": place,
                        "S3UploadMode": "EndOfJob",
                    },
                }
            ]
        },
        "ProcessingResources": {
            "ClusterConfig": {
                "InstanceType": parameter("ProcessingInstanceType"),
                "InstanceCount": instances,
                "VolumeSizeInGB": VOLUME_GB,
            }
        },
        "StoppingCondition": {"MaxRuntimeInSeconds": DAY_S},
    }
    if environment:
        arguments["Environment"] = dict(environment)
    if network := vpc(config):
        arguments["NetworkConfig"] = {"VpcConfig": network}
    return cached({"Name": name, "Type": "Processing", "Arguments": arguments})


def vpc(config: Config) -> Json | None:
    """The private network that jobs run in, if they run in one."""
    if not config.aws.subnets:
        return None
    return {
        "SecurityGroupIds": list(config.aws.security_groups),
        "Subnets": list(config.aws.subnets),
    }


def settings(step: str, config: Config) -> dict[str, str | list[str | Json]]:
    """Key → its value as YAML text, or as the parts of it where a parameter is one of them."""
    found: dict[str, str | list[str | Json]] = {}
    for key, value in flatten(config).items():
        if not any(key == k or (k.endswith(".") and key.startswith(k)) for k in STEP_KEYS[step]):
            continue
        if key not in KEY_PARAMETERS:
            found[key] = json.dumps(value)
            continue
        before, after = _QUOTES.get(type(value), ("", ""))
        found[key] = [before, parameter(KEY_PARAMETERS[key]), after]
    return found


def _set_arguments(step: str, config: Config) -> list[str | Json]:
    """``--set key=value`` for each key; a text too long for one argument goes on in ``--more``."""
    arguments: list[str | Json] = []
    for key, value in settings(step, config).items():
        if not isinstance(value, str):
            arguments += ["--set", joined([f"{key}=", *value])]
            continue
        text = f"{key}={value}"
        for start in range(0, len(text), _ARGUMENT_CHARACTERS):
            arguments += [
                "--more" if start else "--set",
                text[start : start + _ARGUMENT_CHARACTERS],
            ]
    return arguments


def _input(name: str, address: Json, sharded: bool) -> Json:
    return {
        "InputName": name,
        "AppManaged": False,
        "S3Input": {
            "S3Uri": address,
            "LocalPath": f"/opt/ml/processing/input/{name}",
            "S3DataType": "S3Prefix",
            "S3InputMode": "File",
            "S3DataDistributionType": "ShardedByS3Key" if sharded else "FullyReplicated",
        },
    }


def channel(name: str, address: Json) -> Json:
    """A channel of a Training step."""
    source = {
        "S3Uri": address,
        "S3DataType": "S3Prefix",
        "S3DataDistributionType": "FullyReplicated",
    }
    return {"ChannelName": name, "DataSource": {"S3DataSource": source}}


def cached(step: Json) -> Json:
    """The step, not to be run again while nothing that it depends on has changed."""
    return {**step, "CacheConfig": {"Enabled": True, "ExpireAfter": "P30D"}}


def parameter(name: str) -> Json:
    """A pipeline parameter's value."""
    return {"Get": f"Parameters.{name}"}


def output_of(step: str, output: str) -> Json:
    """The address at which a Processing step left an output."""
    return {"Get": f"Steps.{step}.ProcessingOutputConfig.Outputs['{output}'].S3Output.S3Uri"}


def output_address(*parts: str | Json) -> Json:
    """An address below the one where the pipeline leaves its results."""
    return join("/", parameter("OutputUri"), *parts)


def measured(path: str) -> Json:
    """A value of evaluation.json."""
    file = {"Get": f"Steps.Evaluate.PropertyFiles.{REPORT}"}
    return {"Std:JsonGet": {"PropertyFile": file, "Path": path}}


def at_least(value: Json, minimum: Json | float) -> Json:
    """The condition that a value is at least ``minimum``."""
    return {"Type": "GreaterThanOrEqualTo", "LeftValue": value, "RightValue": minimum}


def join(on: str, *values: str | Json) -> Json:
    """Text put together from parts, with ``on`` between them."""
    return {"Std:Join": {"On": on, "Values": list(values)}}


def joined(parts: Sequence[str | Json]) -> Json:
    """The parts of a text as one; empty ones are left out."""
    return join("", *(part for part in parts if part != ""))
