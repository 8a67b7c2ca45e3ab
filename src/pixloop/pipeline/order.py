"""Reading a definition as a whole: its parameters' values, and the order of its steps."""

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from pixloop.errors import PipelineError
from pixloop.pipeline.expressions import references

_TYPES: Mapping[str, Callable[[Any], Any]] = {
    "String": str,
    "Integer": int,
    "Float": float,
    "Boolean": lambda value: (
        value if isinstance(value, bool) else {"true": True, "false": False}[value]
    ),
}


def bind_parameters(definition: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The value of every parameter: the one given, or its default.

    >>> bind_parameters({"Parameters": [{"Name": "N", "Type": "Integer"}]}, {"N": "3"})
    {'N': 3}

    Raises:
        PipelineError: an unknown parameter, one without a value, or a value of the wrong type.
    """
    declared = {parameter["Name"]: parameter for parameter in definition.get("Parameters", [])}
    for name in given:
        if name not in declared:
            near = difflib.get_close_matches(name, declared, n=1) or sorted(declared)
            raise PipelineError(f"There is no parameter {name!r}. Known: {', '.join(near)}.")
    return {name: _bind(name, declared[name], given) for name in declared}


def in_order(steps: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """The steps, each after those that it needs; otherwise in the order in which they stand.

    Raises:
        PipelineError: steps need one another in a circle.
    """
    names = {step["Name"] for step in steps}
    waiting, finished = list(steps), set[str]()
    while waiting:
        ready = next((s for s in waiting if (_needs(s) & names) <= finished), None)
        if ready is None:
            circle = ", ".join(step["Name"] for step in waiting)
            raise PipelineError(f"These steps need one another: {circle}.")
        waiting.remove(ready)
        finished.add(ready["Name"])
        yield ready


def main_path(steps: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The steps that run when every condition holds, in order."""
    path: list[Mapping[str, Any]] = []
    for step in in_order(steps):
        path.append(step)
        if step["Type"] == "Condition":
            path += main_path(step["Arguments"].get("IfSteps", []))
    return path


def _needs(step: Mapping[str, Any]) -> set[str]:
    return references(step["Arguments"]) | set(step.get("DependsOn", []))


def _bind(name: str, parameter: Mapping[str, Any], given: Mapping[str, Any]) -> Any:
    if name not in given and "DefaultValue" not in parameter:
        raise PipelineError(f"The parameter {name!r} has no default, so it needs a value.")
    value = given.get(name, parameter.get("DefaultValue"))
    try:
        return _TYPES[parameter["Type"]](value)
    except (ValueError, TypeError, KeyError) as e:
        raise PipelineError(
            f"The parameter {name!r} is {value!r}; expected {parameter['Type']}."
        ) from e
