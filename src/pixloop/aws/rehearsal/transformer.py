"""What an EventBridge target is sent: the event, a part of it, a constant, or a template filled in.

Source: Amazon EventBridge User Guide, "Amazon EventBridge input transformation". Between quotes a
variable is its bare text; elsewhere it is JSON. moto fills in bare text everywhere, which leaves
``{"id": <id>}`` broken.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

_TOKEN = re.compile(r'\\.|"|<([\w.-]+)>', re.DOTALL)
_PART = re.compile(r"""\.([\w-]+)|\[(\d+)\]|\[['"]([^'"]+)['"]\]""")


def target_input(target: Mapping[str, Any], event: Mapping[str, Any]) -> str:
    """The text that a rule's target gets for an event.

    >>> transform = {"InputPathsMap": {"key": "$.detail.key"}, "InputTemplate": '{"k": <key>}'}
    >>> target_input({"InputTransformer": transform}, {"detail": {"key": "raw/a.jpg"}})
    '{"k": "raw/a.jpg"}'
    """
    if "Input" in target:
        return str(target["Input"])
    if "InputPath" in target:
        return json.dumps(_find(target["InputPath"], event))
    if "InputTransformer" not in target:
        return json.dumps(event)
    transform = target["InputTransformer"]
    values = {name: _find(path, event) for name, path in transform.get("InputPathsMap", {}).items()}
    values["aws.events.event.json"] = event
    return _fill(transform["InputTemplate"], values)


def _fill(template: str, values: Mapping[str, Any]) -> str:
    quoted = False

    def replace(match: re.Match[str]) -> str:
        nonlocal quoted
        if match[0] == '"':
            quoted = not quoted
        name = match[1]
        if name is None or name not in values:
            return match[0]
        value = values[name]
        if not quoted:
            return json.dumps(value)
        text = value if isinstance(value, str) else "" if value is None else json.dumps(value)
        return json.dumps(text)[1:-1]

    return _TOKEN.sub(replace, template)


def _find(path: str, event: Mapping[str, Any]) -> Any:
    """The value at a path such as ``$.detail.object.key``, or None."""
    value: Any = event
    for name, index, quoted in _PART.findall(path):
        try:
            value = value[int(index)] if index else value[name or quoted]
        except (KeyError, IndexError, TypeError):
            return None
    return value
