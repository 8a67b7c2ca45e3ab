"""The templates as CloudFormation reads them: tags, parameters, conditions, references."""

import json
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import yaml

from pixloop.aws.stacks import read_text

ACCOUNT, REGION = "123456789012", "eu-west-1"
_PSEUDO = {
    "AWS::AccountId": ACCOUNT,
    "AWS::Region": REGION,
    "AWS::Partition": "aws",
    "AWS::URLSuffix": "amazonaws.com",
    "AWS::StackName": "stack",
}
_NOTHING = object()


class _Loader(yaml.CSafeLoader):
    pass


def _tag(loader: _Loader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    name = suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}"
    if isinstance(node, yaml.ScalarNode):
        return {name: loader.construct_scalar(node)}
    if isinstance(node, yaml.SequenceNode):
        return {name: loader.construct_sequence(node, deep=True)}
    return {name: loader.construct_mapping(node, deep=True)}


_Loader.add_multi_constructor("!", _tag)


@cache
def read_template(name: str) -> dict[str, Any]:
    """A template, its short tags written out: ``!Ref X`` as ``{"Ref": "X"}``."""
    return yaml.load(read_text(f"{name}.yaml"), _Loader)  # noqa: S506 - a SafeLoader of ours


class Template:
    """A template with its parameters filled in; resources whose condition fails are left out.

    A reference to a resource is its logical name; ``GetAtt`` is ``<name>.<attribute>``.
    """

    def __init__(self, name: str, **parameters: str) -> None:
        raw = read_template(name)
        self.raw = raw
        self.values: dict[str, Any] = {**_PSEUDO}
        for key, declared in raw["Parameters"].items():
            value = parameters.pop(key, declared.get("Default", key))
            if declared["Type"] == "CommaDelimitedList" or declared["Type"].startswith("List<"):
                value = str(value).split(",")
            self.values[key] = value
        assert not parameters, f"{name} has no parameters {sorted(parameters)}"
        self.resources: dict[str, Any] = {
            key: self._resolve(resource)
            for key, resource in raw["Resources"].items()
            if "Condition" not in resource or self._holds(resource["Condition"])
        }

    def of_type(self, type_: str) -> dict[str, dict[str, Any]]:
        """The properties of the resources of a type, by logical name."""
        return {
            key: resource.get("Properties", {})
            for key, resource in self.resources.items()
            if resource["Type"] == type_
        }

    def statements(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Every statement of every policy, with the resource that it stands in."""
        for key, resource in self.resources.items():
            for document in _documents(resource.get("Properties", {})):
                for statement in document["Statement"]:
                    yield key, statement

    def _holds(self, condition: str) -> bool:
        return bool(self._resolve(self.raw["Conditions"][condition]))

    def _resolve(self, value: Any) -> Any:
        if isinstance(value, list):
            return [r for r in map(self._resolve, value) if r is not _NOTHING]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            ((key, argument),) = value.items()
            if key == "Ref":
                if argument == "AWS::NoValue":
                    return _NOTHING
                return self.values.get(argument, argument)
            if key == "Condition" and isinstance(argument, str):
                return self._holds(argument)
            if key.startswith("Fn::"):
                return self._function(key.removeprefix("Fn::"), argument)
        resolved = {k: self._resolve(v) for k, v in value.items()}
        return {k: v for k, v in resolved.items() if v is not _NOTHING}

    def _function(self, name: str, argument: Any) -> Any:
        match name:
            case "If":
                return self._resolve(argument[1 if self._holds(argument[0]) else 2])
            case "Equals":
                return self._resolve(argument[0]) == self._resolve(argument[1])
            case "Not":
                return not self._resolve(argument[0])
            case "And":
                return all(map(self._resolve, argument))
            case "Or":
                return any(map(self._resolve, argument))
            case "Join":
                return argument[0].join(self._resolve(argument[1]))
            case "GetAtt":
                return argument if isinstance(argument, str) else ".".join(argument)
            case "Sub":
                return self._substitute(argument)
        raise AssertionError(f"the tests do not know Fn::{name}")

    def _substitute(self, argument: Any) -> str:
        text, own = argument if isinstance(argument, list) else (argument, {})
        values = {**self.values, **{k: self._resolve(v) for k, v in own.items()}}
        parts = text.split("${")
        done = parts[0]
        for part in parts[1:]:
            name, _, rest = part.partition("}")
            done += str(values.get(name, name)) + rest
        return done


def _documents(value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, dict):
        if "Statement" in value:
            yield value
        else:
            for inner in value.values():
                yield from _documents(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _documents(inner)


def as_list(value: Any) -> list[Any]:
    """IAM lets one thing stand for a list of one."""
    return value if isinstance(value, list) else [value]


def length(document: Any) -> int:
    """How long IAM takes a policy to be: white space does not count."""
    return len(json.dumps(document, separators=(",", ":")))
