"""Writing pixloop.yaml: what the user chose, then every other key with its default, as comments."""

import json
import textwrap
from typing import Any

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from pixloop.config import Config

_HEADER = """\
# What pixloop learns here, and how. 'pixloop run' reads it.
# A key behind '# ' has the value shown; take the '# ' away to change it.
# Any key can also be set for one run: pixloop run --set training.epochs=3
"""
_COMMENT_COLUMN = 44
_WIDTH = 110


def render_config(chosen: dict[str, Any]) -> str:
    """The text of a pixloop.yaml that sets ``chosen`` and shows every other key.

    Args:
        chosen: nested keys and values, as ``parse_config`` takes them.
    """
    lines = [_HEADER]
    for name, info in Config.model_fields.items():
        inner = info.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            lines += ["", *_section(name, info, inner, chosen.get(name) or {})]
        elif name in chosen:
            lines.append(_line(name, chosen[name], info, indent="", commented=False))
    return "\n".join(lines) + "\n"


def _section(
    name: str, info: FieldInfo, model: type[BaseModel], chosen: dict[str, Any]
) -> list[str]:
    about = (model.__doc__ or "").strip().splitlines()[0]
    lines = [f"{name}:".ljust(_COMMENT_COLUMN) + f"# {about}"]
    for key, field in model.model_fields.items():
        value = chosen.get(key, field.get_default(call_default_factory=True))
        lines.append(_line(key, value, field, indent="  ", commented=key not in chosen))
    return lines


def _line(key: str, value: Any, info: FieldInfo, indent: str, commented: bool) -> str:
    start = indent + ("# " if commented else "") + f"{key}: {_scalar(value)}"
    about = textwrap.wrap(" ".join((info.description or "").split()), _WIDTH - _COMMENT_COLUMN)
    first, *rest = about or [""]
    lines = [f"{start.ljust(_COMMENT_COLUMN - 1)} # {first}"]
    lines += [f"{' ' * _COMMENT_COLUMN}# {line}" for line in rest]
    return "\n".join(lines)


def _scalar(value: Any) -> str:
    """A value in YAML's flow style, on one line."""
    plain = json.loads(json.dumps(value))
    return (
        yaml.safe_dump(plain, default_flow_style=True, width=10_000)
        .strip()
        .removesuffix("...")
        .strip()
    )
