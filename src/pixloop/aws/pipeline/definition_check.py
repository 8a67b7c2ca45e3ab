"""A pipeline definition held against what SageMaker takes, before it is sent there.

SageMaker itself finds most mistakes only when their step is due, hours after the start. Each
step's arguments are a request of the API without the job's name, so botocore's model of the
request is what they are checked by: keys, types, words, lengths and patterns. References must
lead to a parameter, a fact about the execution, or something that an earlier step gives.

Sources: botocore's model of SageMaker; "Amazon SageMaker Pipelines: pipeline definition JSON
schema", version 2020-12-01; the execution variables are those of the SageMaker Python SDK.
"""

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from pixloop.aws.pipeline.definition_values import Later, Values, dangling, service_model
from pixloop.errors import PipelineError
from pixloop.pipeline.order import in_order

Json = Mapping[str, Any]

#: Type of a step → its request, and the name in it that SageMaker gives.
REQUESTS: Mapping[str, tuple[str, str]] = {
    "Processing": ("CreateProcessingJob", "ProcessingJobName"),
    "Training": ("CreateTrainingJob", "TrainingJobName"),
    "Tuning": ("CreateHyperParameterTuningJob", "HyperParameterTuningJobName"),
    "RegisterModel": ("CreateModelPackage", "ModelPackageName"),
}
_COMPARISONS = ("Equals", "GreaterThan", "GreaterThanOrEqualTo", "LessThan", "LessThanOrEqualTo")
_KEYS = ("Version", "Metadata", "Parameters", "PipelineExperimentConfig", "Steps")
_STEP_KEYS = ("Name", "Type", "Arguments", "DisplayName", "Description", "DependsOn")
_JOB_KEYS = (*_STEP_KEYS, "CacheConfig", "PropertyFiles", "RetryPolicies")
_PARAMETER_KEYS = ("Name", "Type", "DefaultValue", "Description", "EnumValues")
_PARAMETER_TYPES: Mapping[str, tuple[type, ...]] = {
    "String": (str,),
    "Integer": (int,),
    "Float": (float, int),
    "Boolean": (bool,),
}
_NAME = re.compile(r"[A-Za-z0-9\-_]{1,64}")
_DURATION = re.compile(r"P(?=.)(\d+Y)?(\d+M)?(\d+W)?(\d+D)?(T(?=.)(\d+H)?(\d+M)?(\d+S)?)?")
#: Type of a shape → the JSON values that it takes.
_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "long": (int,),
    "float": (int, float),
    "double": (int, float),
    "boolean": (bool,),
    "timestamp": (str, int, float),
    "list": (list,),
    "map": (dict,),
    "structure": (dict,),
}


def check_definition(definition: Json) -> list[str]:
    """Everything that SageMaker would refuse, a line each; nothing where it would accept it.

    A definition that passes can still fail for what only the account knows: rights, quotas,
    images and objects that do not exist.

    >>> check_definition({"Version": "2020-12-01", "Steps": []})
    ['Steps: there are none']
    """
    steps = list(all_steps(definition.get("Steps", [])))
    values = Values(definition, steps)
    found = [
        *_unknown("the definition", definition, _KEYS),
        *_check_parameters(definition.get("Parameters", [])),
        *dangling(definition, steps),
        *_check_order(definition),
    ]
    if definition.get("Version") != "2020-12-01":
        found.append(f"Version: it is {definition.get('Version')!r}, not '2020-12-01'")
    if not steps:
        found.append("Steps: there are none")
    names = [step.get("Name") for step in steps]
    twice = dict.fromkeys(name for name in names if names.count(name) > 1)
    found += [f"{name}: the name stands twice" for name in twice]
    for step in steps:
        found += _check_step(step, values)
    return found


def all_steps(steps: Sequence[Json]) -> Iterator[Json]:
    """The steps with those of their branches."""
    for step in steps:
        yield step
        for branch in ("IfSteps", "ElseSteps"):
            yield from all_steps(step.get("Arguments", {}).get(branch, []))


def _check_parameters(parameters: Sequence[Json]) -> Iterator[str]:
    names = [parameter.get("Name") for parameter in parameters]
    for parameter in parameters:
        where = f"Parameters.{parameter.get('Name')}"
        yield from _unknown(where, parameter, _PARAMETER_KEYS)
        if names.count(parameter.get("Name")) > 1:
            yield f"{where}: the name stands twice"
        if not _NAME.fullmatch(str(parameter.get("Name", ""))):
            yield f"{where}: a name is 1 to 64 letters, digits, dashes and underscores"
        types = _PARAMETER_TYPES.get(str(parameter.get("Type")))
        if types is None:
            yield f"{where}: {parameter.get('Type')!r} is none of {', '.join(_PARAMETER_TYPES)}"
        elif "DefaultValue" in parameter and not _is(parameter["DefaultValue"], types):
            yield f"{where}: the default {parameter['DefaultValue']!r} is no {parameter['Type']}"


def _check_order(definition: Json) -> Iterator[str]:
    try:
        list(in_order([step for step in definition.get("Steps", []) if "Arguments" in step]))
    except PipelineError as e:
        yield str(e)


def _check_step(step: Json, values: Values) -> Iterator[str]:
    name, kind = step.get("Name"), step.get("Type")
    if not _NAME.fullmatch(str(name or "")):
        yield f"{name}: a step's name is 1 to 64 letters, digits, dashes and underscores"
    yield from _unknown(f"{name}", step, _JOB_KEYS if kind in REQUESTS else _STEP_KEYS)
    arguments = step.get("Arguments")
    if not isinstance(arguments, dict):
        yield f"{name}: it has no Arguments"
    elif kind in REQUESTS:
        yield from _check_request(f"{name}", str(kind), arguments, values)
        yield from _check_cache(f"{name}", step.get("CacheConfig"))
        yield from _check_property_files(step)
    elif kind == "Condition":
        yield from _check_condition(f"{name}", arguments, values)
    elif kind == "Fail":
        yield from _unknown(f"{name}.Arguments", arguments, ("ErrorMessage",))
        message = values.resolve(arguments.get("ErrorMessage"))
        if not isinstance(message, str) and message != Later("string"):
            yield f"{name}.Arguments.ErrorMessage: expected a text"
    else:
        known = ", ".join((*REQUESTS, "Condition", "Fail"))
        yield f"{name}: the type {kind!r} is none that is checked here: {known}"


def _check_request(name: str, kind: str, arguments: Json, values: Values) -> Iterator[str]:
    operation, given_name = REQUESTS[kind]
    shape = service_model().operation_model(operation).input_shape
    yield from _check_value(name, arguments, shape, values, given=(given_name,))


def _check_cache(name: str, config: Any) -> Iterator[str]:
    if config is None:
        return
    yield from _unknown(f"{name}.CacheConfig", config, ("Enabled", "ExpireAfter"))
    if not isinstance(config.get("Enabled"), bool):
        yield f"{name}.CacheConfig.Enabled: expected true or false"
    if not _DURATION.fullmatch(str(config.get("ExpireAfter", "P1D"))):
        yield f"{name}.CacheConfig.ExpireAfter: expected a duration of ISO 8601, such as P30D"


def _check_property_files(step: Json) -> Iterator[str]:
    outputs = step["Arguments"].get("ProcessingOutputConfig", {}).get("Outputs", [])
    names = [output.get("OutputName") for output in outputs]
    for file in step.get("PropertyFiles", []):
        where = f"{step['Name']}.PropertyFiles"
        yield from _unknown(where, file, ("PropertyFileName", "OutputName", "FilePath"))
        for key in ("PropertyFileName", "OutputName", "FilePath"):
            if key not in file:
                yield f"{where}: {key} is missing"
        if file.get("OutputName") not in names:
            yield f"{where}: the step has no output {file.get('OutputName')!r}"


def _check_condition(name: str, arguments: Json, values: Values) -> Iterator[str]:
    yield from _unknown(f"{name}.Arguments", arguments, ("Conditions", "IfSteps", "ElseSteps"))
    if not arguments.get("Conditions"):
        yield f"{name}.Arguments.Conditions: there are none"
    for number, condition in enumerate(arguments.get("Conditions", [])):
        where = f"{name}.Arguments.Conditions[{number}]"
        yield from _unknown(where, condition, ("Type", "LeftValue", "RightValue"))
        if condition.get("Type") not in _COMPARISONS:
            yield f"{where}: {condition.get('Type')!r} is none of {', '.join(_COMPARISONS)}"
        for side in ("LeftValue", "RightValue"):
            if not isinstance(values.resolve(condition.get(side)), str | int | float | Later):
                yield f"{where}.{side}: expected a value or an expression"


def _check_value(
    where: str, value: Any, shape: Any, values: Values, given: Sequence[str] = ()
) -> Iterator[str]:
    """A value against its shape; ``given`` are required members that SageMaker fills in."""
    value = values.resolve(value)
    if isinstance(value, Later):
        if not value.fits(shape.type_name):
            yield f"{where}: expected {shape.type_name}, and it is {value.kind}"
        return
    if not _is(value, _TYPES.get(shape.type_name, (object,))):
        yield f"{where}: expected {shape.type_name}, and it is {value!r}"
        return
    yield from _check_limits(where, value, shape)
    if shape.type_name == "structure":
        yield from _unknown(where, value, shape.members)
        for key in shape.required_members:
            if key not in value and key not in given:
                yield f"{where}: {key} is missing"
        for key in value.keys() & shape.members.keys():
            yield from _check_value(f"{where}.{key}", value[key], shape.members[key], values)
    elif shape.type_name == "map":
        for key, item in value.items():
            yield from _check_value(f"{where}.{key}", key, shape.key, values)
            yield from _check_value(f"{where}.{key}", item, shape.value, values)
    elif shape.type_name == "list":
        for number, item in enumerate(value):
            yield from _check_value(f"{where}[{number}]", item, shape.member, values)


def _check_limits(where: str, value: Any, shape: Any) -> Iterator[str]:
    bounds = shape.metadata
    size = value if isinstance(value, int | float) else len(value)
    unit = "" if isinstance(value, int | float) else " in length"
    if not isinstance(value, bool) and size < bounds.get("min", size):
        yield f"{where}: {size}{unit} is below {bounds['min']}"
    if not isinstance(value, bool) and size > bounds.get("max", size):
        yield f"{where}: {size}{unit} is above {bounds['max']}"
    if not isinstance(value, str):
        return
    if "enum" in bounds and value not in bounds["enum"]:
        yield f"{where}: SageMaker knows no {value!r}{_nearest(value, bounds['enum'])}"
    pattern = _compiled(bounds.get("pattern"))
    if pattern is not None and not pattern.fullmatch(value):
        yield f"{where}: {value!r} does not fit {bounds['pattern']}"


@cache
def _compiled(pattern: str | None) -> re.Pattern[str] | None:
    """The model's pattern, where Python can read it; it cannot read Java's classes of letters."""
    try:
        return re.compile(pattern, re.DOTALL) if pattern else None
    except re.error:
        return None


def _unknown(where: str, value: Json, known: Sequence[str] | Mapping[str, Any]) -> Iterator[str]:
    for key in value:
        if key not in known:
            yield f"{where}: SageMaker knows no {key!r}{_nearest(key, known)}"


def _nearest(word: str, known: Sequence[str] | Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"; {near[0]!r} is meant?" if near else ""


def _is(value: Any, types: tuple[type, ...]) -> bool:
    # To Python a bool is an int; to JSON it is not.
    return isinstance(value, types) and (not isinstance(value, bool) or bool in types)
