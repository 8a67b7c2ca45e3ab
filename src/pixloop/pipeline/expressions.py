"""The expressions of a pipeline definition, and what they stand for.

::

    {"Get": "Parameters.Epochs"}                            a parameter
    {"Get": "Execution.PipelineExecutionId"}                a fact about this run
    {"Get": "Steps.Train.ModelArtifacts.S3ModelArtifacts"}  what a finished step made
    {"Std:Join": {"On": "/", "Values": [...]}}              text put together
    {"Std:JsonGet": {"PropertyFile": {"Get": "Steps.Evaluate.PropertyFiles.Report"},
                     "Path": "metrics.f1"}}                 a value in a step's JSON file

Source: "Amazon SageMaker Pipelines: pipeline definition JSON schema", version 2020-12-01.
"""

import json
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pixloop.errors import PipelineError

_PART = re.compile(r"""\.?([\w-]+)|\[(?:'([^']*)'|"([^"]*)"|(\d+))\]""")

#: Type of a condition → the comparison, and how to say that it does not hold.
_COMPARISONS: Mapping[str, tuple[Callable[[Any, Any], bool], str]] = {
    "Equals": (operator.eq, "not"),
    "GreaterThan": (operator.gt, "not above"),
    "GreaterThanOrEqualTo": (operator.ge, "not at least"),
    "LessThan": (operator.lt, "not below"),
    "LessThanOrEqualTo": (operator.le, "not at most"),
}


@dataclass
class Scope:
    """What expressions can refer to: it grows as steps finish."""

    parameters: Mapping[str, Any]
    execution: Mapping[str, str] = field(default_factory=dict)
    steps: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    #: Step → property file → where it lies here.
    property_files: dict[str, Mapping[str, Path]] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """Whether a condition holds and, where it does not, by how much it fails."""

    holds: bool
    reason: str = ""


def resolve(value: Any, scope: Scope) -> Any:
    """``value`` with every expression in it replaced by what it stands for.

    >>> join = {"Std:Join": {"On": "=", "Values": ["n", {"Get": "Parameters.N"}]}}
    >>> resolve(join, Scope({"N": 3}))
    'n=3'

    Raises:
        PipelineError: an expression refers to something that does not exist.
    """
    if isinstance(value, list):
        return [resolve(item, scope) for item in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {"Get"}:
        return _get(value["Get"], scope)
    if value.keys() == {"Std:Join"}:
        join = value["Std:Join"]
        return str(join["On"]).join(_text(resolve(item, scope)) for item in join["Values"])
    if value.keys() == {"Std:JsonGet"}:
        return _json_get(value["Std:JsonGet"], scope)
    return {key: resolve(inner, scope) for key, inner in value.items()}


def references(value: Any) -> set[str]:
    """The names of the steps that ``value`` refers to.

    >>> references([{"Get": "Steps.Train.ModelArtifacts"}, {"Get": "Parameters.N"}])
    {'Train'}
    """
    if isinstance(value, list):
        return set().union(*(references(item) for item in value))
    if not isinstance(value, dict):
        return set()
    if value.keys() == {"Get"}:
        root, _, rest = str(value["Get"]).partition(".")
        return {path_parts(rest)[0]} if root == "Steps" else set()
    return set().union(*(references(inner) for inner in value.values()))


def judge(condition: Mapping[str, Any], scope: Scope) -> Verdict:
    """Whether one comparison of a Condition step holds.

    Raises:
        PipelineError: the comparison is not one of ``<``, ``<=``, ``=``, ``>=``, ``>``, or its
            two sides cannot be compared.
    """
    kind = condition["Type"]
    if kind not in _COMPARISONS:
        known = ", ".join(_COMPARISONS)
        raise PipelineError(f"The condition {kind!r} cannot be evaluated here. Known: {known}.")
    compare, failing = _COMPARISONS[kind]
    left = resolve(condition["LeftValue"], scope)
    right = resolve(condition["RightValue"], scope)
    name, other = _name(condition["LeftValue"]), _bound(condition["RightValue"])
    try:
        holds = compare(left, right)
    except TypeError as e:
        raise PipelineError(f"{name} is {left!r}, which {kind} cannot compare to {right!r}.") from e
    return Verdict(holds, "" if holds else _shortfall(name, left, failing, other, right))


def path_parts(path: str) -> list[str]:
    """The parts of a property path.

    >>> path_parts("Prepare.Outputs['dataset'].S3Uri")
    ['Prepare', 'Outputs', 'dataset', 'S3Uri']
    """
    parts, position = [], 0
    while position < len(path):
        match = _PART.match(path, position)
        if match is None:
            raise PipelineError(f"{path!r} is no property path: it cannot be read from {position}.")
        parts.append(next(group for group in match.groups() if group is not None))
        position = match.end()
    return parts


def _get(reference: str, scope: Scope) -> Any:
    root, _, rest = reference.partition(".")
    roots = {"Parameters": scope.parameters, "Execution": scope.execution, "Steps": scope.steps}
    if root not in roots:
        raise PipelineError(f"{reference!r}: expected Parameters, Execution or Steps at its start.")
    return _walk(roots[root], path_parts(rest), reference)


def _json_get(arguments: Mapping[str, Any], scope: Scope) -> Any:
    reference = arguments["PropertyFile"]["Get"]
    _, step, _, name = [*path_parts(reference), "", "", "", ""][:4]
    file = scope.property_files.get(step, {}).get(name)
    if file is None:
        raise PipelineError(f"{reference!r}: the step {step!r} has no property file {name!r} yet.")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        raise PipelineError(f"The step {step} should have written JSON to {file}: {e}") from e
    return _walk(content, path_parts(arguments["Path"]), f"{file}: {arguments['Path']}")


def _walk(value: Any, parts: list[str], where: str) -> Any:
    for part in parts:
        try:
            value = value[int(part)] if isinstance(value, list) else value[part]
        except (KeyError, IndexError, ValueError, TypeError) as e:
            has = f" It has {', '.join(value)}." if isinstance(value, Mapping) else ""
            raise PipelineError(f"{where}: there is no {part!r}.{has}") from e
    return value


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _name(expression: Any) -> str:
    """What to call the left side of a condition: the last part of its path."""
    if not isinstance(expression, dict):
        return str(expression)
    path = expression["Std:JsonGet"]["Path"] if "Std:JsonGet" in expression else expression["Get"]
    return path_parts(path)[-1]


def _bound(expression: Any) -> str:
    """What to call the right side: ``the minimum``, ``the champion value``; a number is itself."""
    if not isinstance(expression, dict):
        return ""
    words = _name(expression).replace("_", " ")
    camels = re.findall("[A-Z][a-z0-9]*", words)
    return f"the {camels[-1].lower() if camels else words}"


def _shortfall(name: str, left: Any, failing: str, other: str, right: Any) -> str:
    """By how much a comparison fails.

    >>> _shortfall("f1_macro", 0.71, "not at least", "the minimum", 0.8)
    'f1_macro is 0.71, 0.09 below the minimum 0.80'
    """
    if left == right or not all(isinstance(v, int | float) for v in (left, right)):
        return " ".join(filter(None, [f"{name} is {left},", failing, other, str(right)]))
    # As few digits as show a difference, and add up.
    for digits in range(2, 17):
        a, b, gap = (round(v, digits) for v in (left, right, abs(right - left)))
        if gap > 0 and round(abs(b - a), digits) == gap:
            break
    direction = "below" if left < right else "above"
    return (
        " ".join(
            filter(None, [f"{name} is {a:.{digits}f},", f"{gap:.{digits}f}", direction, other])
        )
        + f" {b:.{digits}f}"
    )
