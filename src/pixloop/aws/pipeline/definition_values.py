"""The expressions of a definition before it runs: their values, or the types of what comes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import botocore.session

from pixloop.errors import PipelineError
from pixloop.pipeline.expressions import path_parts

Json = Mapping[str, Any]

#: Type of a step → the operations whose answers are the step's properties.
_ANSWERS: Mapping[str, tuple[str, ...]] = {
    "Processing": ("DescribeProcessingJob",),
    "Training": ("DescribeTrainingJob",),
    "Tuning": (
        "DescribeHyperParameterTuningJob",
        "ListTrainingJobsForHyperParameterTuningJob",
    ),
    "RegisterModel": ("DescribeModelPackage",),
}
#: Lists of an answer whose items have names: in a reference the name stands for the index.
_NAMED_LISTS = {"Outputs": "OutputName", "ProcessingInputs": "InputName"}
_EXECUTION = (
    "StartDateTime",
    "CurrentDateTime",
    "PipelineName",
    "PipelineArn",
    "PipelineExecutionId",
    "PipelineExecutionArn",
    "TrainingJobName",
    "ProcessingJobName",
)
_KINDS = {"String": "string", "Integer": "integer", "Float": "float", "Boolean": "boolean"}
_NUMBERS = ("integer", "long", "float", "double")


@dataclass(frozen=True)
class Later:
    """A value that only the execution knows; ``kind`` is its type, or None where it can be any."""

    kind: str | None = None

    def fits(self, type_name: str) -> bool:
        """Whether it can stand where a shape of that type is expected."""
        if self.kind is None or self.kind == type_name:
            return True
        both = (self.kind, type_name)
        return all(kind in _NUMBERS for kind in both) and not (
            self.kind in ("float", "double") and type_name in ("integer", "long")
        )


class Values:
    """Resolves the expressions of one definition."""

    def __init__(self, definition: Json, steps: Sequence[Json]) -> None:
        self._parameters = {p.get("Name"): p for p in definition.get("Parameters", [])}
        self._steps = {step.get("Name"): step for step in steps}

    def resolve(self, value: Any) -> Any:
        """An expression's value, or what is known of it; anything else as it is.

        What leads nowhere can be anything here: ``dangling`` says so.
        """
        if not isinstance(value, dict) or len(value) != 1:
            return value
        if "Get" in value:
            return self._get(str(value["Get"]))
        if "Std:JsonGet" in value:
            return Later()
        if "Std:Join" in value:
            parts = [self.resolve(part) for part in value["Std:Join"].get("Values", [])]
            if any(isinstance(part, Later) for part in parts):
                return Later("string")
            return str(value["Std:Join"].get("On", "")).join(map(str, parts))
        return value

    def _get(self, reference: str) -> Any:
        root, _, rest = reference.partition(".")
        if root == "Parameters":
            parameter = self._parameters.get(rest, {})
            kind = _KINDS.get(str(parameter.get("Type")))
            default = parameter.get("DefaultValue", Later(kind))
            # A whole number is a fine default for a Float, and yet is none where one is needed.
            return float(default) if kind == "float" and isinstance(default, int) else default
        if root == "Execution":
            return Later("string")
        try:
            step, *path = path_parts(rest)
        except (PipelineError, ValueError):
            return Later()
        return Later(property_type(self._steps.get(step, {}), path))


def dangling(definition: Json, steps: Sequence[Json]) -> Iterator[str]:
    """References that lead nowhere: to parameters, steps, outputs, property files."""
    parameters = {parameter.get("Name") for parameter in definition.get("Parameters", [])}
    by_name = {step.get("Name"): step for step in steps}
    for where, reference in _references(definition, ""):
        root, _, rest = reference.partition(".")
        try:
            first, *path = path_parts(rest)
        except (PipelineError, ValueError):
            yield f"{where}: {reference!r} is no reference"
            continue
        if root == "Parameters":
            known = first in parameters
        elif root == "Execution":
            known = first in _EXECUTION
        else:
            known = root == "Steps" and property_type(by_name.get(first, {}), path) is not None
        if not known:
            yield f"{where}: nothing is at {reference}"
    for step in steps:
        for name in step.get("DependsOn", []):
            if name not in by_name:
                yield f"{step.get('Name')}.DependsOn: there is no step {name!r}"


def property_type(step: Json, path: Sequence[str]) -> str | None:
    """The type of what a finished step has at a path, or None where it has nothing there."""
    if not path:
        return None
    if path[0] == "PropertyFiles":
        files = [file.get("PropertyFileName") for file in step.get("PropertyFiles", [])]
        return "structure" if len(path) == 2 and path[1] in files else None
    types = (
        _type_at(step, path, _answer(name)) for name in _ANSWERS.get(str(step.get("Type")), ())
    )
    return next((found for found in types if found is not None), None)


def _type_at(step: Json, path: Sequence[str], shape: Any) -> str | None:
    given: Any = step.get("Arguments", {})
    last = ""
    for part in path:
        if shape.type_name == "list":
            if last in _NAMED_LISTS:
                items = given if isinstance(given, list) else []
                given = next((i for i in items if i.get(_NAMED_LISTS[last]) == part), None)
                if given is None:
                    return None
            elif not part.isdigit():
                return None
            shape = shape.member
        elif shape.type_name == "map":
            shape = shape.value
        elif shape.type_name == "structure" and part in shape.members:
            shape, last = shape.members[part], part
            given = given.get(part) if isinstance(given, dict) else None
        else:
            return None
    return str(shape.type_name)


def _references(value: Any, where: str) -> Iterator[tuple[str, str]]:
    """Every ``{"Get": …}``, with the place where it stands: a step's name, then keys."""
    if isinstance(value, list):
        for number, item in enumerate(value):
            name = item.get("Name") if isinstance(item, dict) and "Type" in item else None
            yield from _references(item, name or f"{where}[{number}]")
    elif isinstance(value, dict):
        if value.keys() == {"Get"}:
            yield where, str(value["Get"])
            return
        for key, item in value.items():
            plain = key in ("Arguments", "Steps", "IfSteps", "ElseSteps", "Std:Join", "Values")
            yield from _references(item, where if plain else f"{where}.{key}".lstrip("."))


def _answer(operation: str) -> Any:
    return service_model().operation_model(operation).output_shape


@cache
def service_model() -> Any:
    """Botocore's model of SageMaker, which takes a moment to read."""
    return botocore.session.get_session().get_service_model("sagemaker")
