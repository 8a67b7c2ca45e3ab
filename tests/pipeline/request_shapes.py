"""Definitions to try, and what of them SageMaker would refuse, as far as botocore's model knows."""

import json
import re
from collections.abc import Iterator
from typing import Any

import botocore.session
from botocore.model import Shape
from botocore.validate import ParamValidator

from pixloop.config import Config
from pixloop.config_file import parse_config
from pixloop.pipeline.expressions import Scope, path_parts, resolve
from pixloop.pipeline.order import bind_parameters

Json = dict[str, Any]

NETWORK = ("aws.subnets=[subnet-1, subnet-2]", "aws.security_groups=[sg-1]")
SEARCH = (
    "tuning.models=[resnet18, resnet34]",
    "tuning.optimizers=[adamw, lamb]",
    "tuning.learning_rate=[1e-5, 1e-2]",
)

SERVICE = botocore.session.get_session().get_service_model("sagemaker")
#: Type of a step → the request, what SageMaker Pipelines adds to it, the answer's description.
REQUESTS = {
    "Processing": ("CreateProcessingJob", "ProcessingJobName", "DescribeProcessingJob"),
    "Training": ("CreateTrainingJob", "TrainingJobName", "DescribeTrainingJob"),
    "Tuning": (
        "CreateHyperParameterTuningJob",
        "HyperParameterTuningJobName",
        "DescribeHyperParameterTuningJob",
    ),
    "RegisterModel": ("CreateModelPackage", "ModelPackageName", "DescribeModelPackage"),
}
SAMPLES = {"string": "s3://b/k", "integer": 1, "float": 0.5, "double": 0.5, "boolean": True}


def all_steps(steps: list[Json]) -> Iterator[Json]:
    for step in steps:
        yield step
        for branch in ("IfSteps", "ElseSteps"):
            yield from all_steps(step["Arguments"].get(branch, []))


def fill(value: Any, shape: Shape | None, parameters: Json) -> Any:
    """Parameters by their value, other expressions by something of the type that is expected."""
    if isinstance(value, list):
        return [fill(item, getattr(shape, "member", None), parameters) for item in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {"Get"} and value["Get"].startswith("Parameters."):
        return resolve(value, Scope(parameters))
    if value.keys() in ({"Get"}, {"Std:JsonGet"}):
        return SAMPLES[shape.type_name if shape is not None else "string"]
    if value.keys() == {"Std:Join"}:
        return value["Std:Join"]["On"].join(
            str(fill(part, None, parameters)) for part in value["Std:Join"]["Values"]
        )
    members = getattr(shape, "members", {})
    inner = getattr(shape, "value", None)
    return {key: fill(item, members.get(key, inner), parameters) for key, item in value.items()}


def unknown_keys(value: Any, shape: Shape | None, where: str) -> Iterator[str]:
    """What botocore does not look for: keys that the service does not know."""
    if isinstance(value, list):
        for item in value:
            yield from unknown_keys(item, getattr(shape, "member", None), where)
    if isinstance(value, dict) and shape is not None and shape.type_name == "structure":
        for key, item in value.items():
            if key not in shape.members:
                yield f"{where}: the service knows no {key!r}"
            else:
                yield from unknown_keys(item, shape.members[key], f"{where}.{key}")


def limits(value: Any, shape: Shape | None, where: str) -> Iterator[str]:
    """Lengths and allowed words, which botocore leaves to the service."""
    if shape is None:
        return
    bound = shape.metadata
    if isinstance(value, str | list | dict) and len(value) > bound.get("max", len(value)):
        yield f"{where}: longer than {bound['max']}"
    if isinstance(value, str | list | dict) and len(value) < bound.get("min", 0):
        yield f"{where}: shorter than {bound['min']}"
    if isinstance(value, str) and "enum" in bound and value not in bound["enum"]:
        yield f"{where}: {value!r} is none of its words"
    if isinstance(value, list):
        for item in value:
            yield from limits(item, shape.member, where)
    if isinstance(value, dict):
        for key, item in value.items():
            inner = shape.members.get(key) if shape.type_name == "structure" else shape.value
            yield from limits(item, inner, f"{where}.{key}")


def dangling(definition: Json) -> Iterator[str]:
    """References to steps, outputs, property files and parameters that do not exist."""
    steps = {step["Name"]: step for step in all_steps(definition["Steps"])}
    parameters = {parameter["Name"] for parameter in definition["Parameters"]}
    for reference in re.findall(r'"Get": "([^"]+)"', json.dumps(definition)):
        root, *path = path_parts(reference)
        if root == "Parameters" and path[0] not in parameters:
            yield f"no parameter for {reference}"
        if root == "Steps" and (path[0] not in steps or not has(steps[path[0]], path[1:])):
            yield f"nothing at {reference}"


def has(step: Json, path: list[str]) -> bool:
    if path[0] == "PropertyFiles":
        return path[1] in {file["PropertyFileName"] for file in step.get("PropertyFiles", [])}
    shape: Shape | None = SERVICE.operation_model(REQUESTS[step["Type"]][2]).output_shape
    for part in path:
        if shape is not None and shape.type_name == "list":
            outputs = step["Arguments"]["ProcessingOutputConfig"]["Outputs"]
            if part not in {output["OutputName"] for output in outputs}:
                return False
            shape = shape.member
        else:
            shape = getattr(shape, "members", {}).get(part)
        if shape is None:
            return False
    return True


def problems(definition: Json) -> list[str]:
    """Everything that the service would refuse, as far as botocore's model knows."""
    parameters = bind_parameters(definition, {})
    found = list(dangling(definition))
    names = [step["Name"] for step in all_steps(definition["Steps"])]
    found += [f"{name} stands twice" for name in names if names.count(name) > 1]
    for step in all_steps(definition["Steps"]):
        if step["Type"] not in REQUESTS:
            continue
        operation, given_name, _ = REQUESTS[step["Type"]]
        shape = SERVICE.operation_model(operation).input_shape
        request = fill(step["Arguments"], shape, parameters)
        found += unknown_keys(request, shape, step["Name"])
        if not found:
            found += limits(request, shape, step["Name"])
        report = ParamValidator().validate({given_name: "x", **request}, shape)
        found += [report.generate_report()] if report.has_errors() else []
    return found


def config(*overrides: str) -> Config:
    return parse_config({"task": "classification", "data": "s3://b/train"}, overrides)


def arguments_of(definition: Json, name: str) -> Json:
    return next(dict(s["Arguments"]) for s in all_steps(definition["Steps"]) if s["Name"] == name)
