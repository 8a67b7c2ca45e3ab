"""``pixloop.yaml``: read and checked, with keys set for one run, and written.

An unknown key fails and names the nearest known one.
"""

import contextlib
import difflib
import json
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from pixloop.config import FILE_NAME, Config, config_keys, one_source
from pixloop.errors import ConfigError

_HEADER = """\
# What pixloop learns here, and how. 'pixloop run' reads it.
# A key behind '# ' has the value shown; take the '# ' away to change it.
# Any key can also be set for one run: pixloop run --set training.epochs=3
"""
#: What people write who know other tools.
_ALIASES = {
    "batch": "batch_size",
    "bs": "batch_size",
    "imgsz": "image_size",
    "lr": "learning_rate",
    "wd": "weight_decay",
}
#: What pydantic puts into a location where a value may be of several kinds: one of their names.
_INNER_NAME = re.compile(r"[a-z-]+\[.*\]")
#: Its errors of a value that is of none of the kinds that are asked for, in our words.
_WRONG_KIND = {
    "tuple_type": "expected a list",
    "model_type": "expected keys and their values",
    "dict_type": "expected keys and their values",
}
#: And of a list that has too few or too many values.
_WRONG_LENGTH = {
    "too_short": "expected a list of at least {min_length}",
    "too_long": "expected a list of at most {max_length}",
}
_SUBJECT = re.compile(r"^\w+ should ")
_COMMENT_COLUMN = 44
_WIDTH = 110


class _StrictLoader(yaml.SafeLoader):
    """YAML, with an error for a key that is there twice: the last would win silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is there twice", node.start_mark
                )
        return super().construct_mapping(node, deep)


def load_config(path: Path, overrides: Iterable[str] = ()) -> Config:
    """Read pixloop.yaml and apply ``key=value`` overrides.

    Raises:
        ConfigError: the file is missing or no YAML, a key is unknown, or a value is wrong; the
            message names the file and the key.
    """
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), Loader=_StrictLoader)  # noqa: S506 (it is a safe loader)
    except FileNotFoundError as e:
        raise ConfigError(f"{path} does not exist. 'pixloop init' makes one.") from e
    except OSError as e:
        raise ConfigError(f"{path} cannot be read: {e.strerror}.") from e
    except (yaml.YAMLError, UnicodeDecodeError) as e:
        raise ConfigError(f"{path} is not valid YAML: {e}") from e
    if not isinstance(raw, dict):
        raise ConfigError(f"{path} must hold keys such as 'task:' and 'data:'.")
    return parse_config(raw, overrides, where=str(path))


def parse_config(
    raw: Mapping[str, Any], overrides: Iterable[str] = (), where: str = FILE_NAME
) -> Config:
    """Check a mapping as pixloop.yaml would hold it; ``where`` names it in messages.

    >>> parse_config({"task": "classification", "data": "p"}, ["training.epochs=3"]).training.epochs
    3
    """
    merged = json.loads(json.dumps(dict(raw), default=str))
    # "training:" with every key below it commented out is a section left at its defaults.
    merged = {
        key: value
        for key, value in merged.items()
        if value is not None or key not in Config.model_fields
    }
    if "data" in merged:
        merged["data"] = one_source(merged["data"])
    here = [_set_key(merged, override) for override in overrides]
    try:
        return Config.model_validate(merged)
    except ValidationError as e:
        errors = _telling(e.errors())
        places = ("--set" if _is_among(_key(error), here) else where for error in errors)
        raise ConfigError("\n".join(map(_explain, errors, places))) from e


def render_config(chosen: dict[str, Any]) -> str:
    """The text of a pixloop.yaml that sets ``chosen`` and shows every other key.

    Args:
        chosen: nested keys and values, as ``parse_config`` takes them.
    """
    lines = [_HEADER]
    # What is not chosen shows the task's defaults.
    config = parse_config({"task": "classification", "data": {"train": "."}, **chosen})
    for name, info in Config.model_fields.items():
        inner = info.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            lines += ["", *_section(name, inner, chosen.get(name) or {}, getattr(config, name))]
        elif name in chosen:
            lines.append(_line(name, chosen[name], info, indent="", commented=False))
    return "\n".join(lines) + "\n"


def _section(
    name: str, model: type[BaseModel], chosen: dict[str, Any], values: BaseModel
) -> list[str]:
    about = (model.__doc__ or "").strip().splitlines()[0]
    lines = [f"{name}:".ljust(_COMMENT_COLUMN) + f"# {about}"]
    for key, field in model.model_fields.items():
        value = chosen.get(key, getattr(values, key))
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


def _set_key(raw: dict[str, Any], override: str) -> str:
    """Set a key, and say which."""
    key, equals, text = override.partition("=")
    key = key.strip()
    if not equals or not key:
        raise ConfigError(f"--set {override!r}: expected key=value, such as training.epochs=3.")
    known = config_keys()
    if key not in known:
        raise ConfigError(f"--set {override!r}: there is no key {key!r}.{nearest_key(key, known)}")
    value = _parse_value(text, override)
    *sections, last = key.split(".")
    target = raw
    for section in sections:
        inner = target.setdefault(section, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"{section!r} must hold keys, so {key!r} cannot be set in it.")
        target = inner
    target[last] = value
    return key


def _parse_value(text: str, override: str) -> Any:
    # JSON is what steps pass on; its escapes are not all YAML's. People write YAML.
    with contextlib.suppress(ValueError):
        return json.loads(text)
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as e:
        raise ConfigError(f"--set {override!r}: the value is not valid YAML: {e}") from e


def _telling(errors: Sequence[Any]) -> list[Any]:
    """Without errors that only follow from another one.

    Pydantic also calls a list too short whose values are wrong, and where a value may be of several
    kinds, it tells what is wrong with it as each of them.
    """
    keys = [_key(error) for error in errors]
    of_kind = {k for k, e in zip(keys, errors, strict=True) if e["type"] not in _WRONG_KIND}
    return [
        error
        for key, error in zip(keys, errors, strict=True)
        if not any(other.startswith(f"{key}.") for other in keys)
        and not (key in of_kind and error["type"] in _WRONG_KIND)
    ]


def _key(error: Any) -> str:
    """Where an error is, as people write it."""
    parts = (str(part) for part in error["loc"])
    return ".".join(part for part in parts if not _INNER_NAME.fullmatch(part))


def _is_among(key: str, keys: Iterable[str]) -> bool:
    """Whether a key, or what it is a part of, is one of these."""
    return any(f"{key}.".startswith(f"{other}.") for other in keys)


def _explain(error: Any, where: str) -> str:
    key = _key(error)
    if error["type"] == "extra_forbidden":
        known = list(dict.fromkeys([*Config.model_fields, *config_keys()]))
        return f"{where}: there is no key {key!r}.{nearest_key(key, known)}"
    if error["type"] == "missing":
        return f"{where}: {key!r} is missing. It has no default."
    if not key:  # of the whole: the message names the keys
        return f"{where}: {str(error['msg']).removeprefix('Value error, ')}."
    return f"{where}: {key!r}: {_reworded(error)} (it is {error['input']!r})."


def _reworded(error: Any) -> str:
    """A message without the words of programmers: a reader knows lists, not tuples."""
    words = {**_WRONG_KIND, **_WRONG_LENGTH}.get(error["type"])
    if words is not None:
        return words.format(**error.get("ctx", {}))
    return _SUBJECT.sub("it must ", error["msg"])


def nearest_key(key: str, known: list[str]) -> str:
    """A question that names the known key nearest to ``key``, or all that are known."""
    last = key.rpartition(".")[2]
    near = (
        _ending_in(_ALIASES.get(last, ""), known)
        or difflib.get_close_matches(key, known, n=1, cutoff=0.6)
        or _ending_in(last, known)
    )
    return f" Did you mean {near[0]!r}?" if near else f" Known: {', '.join(known)}."


def _ending_in(last: str, known: list[str]) -> list[str]:
    """The first key whose last part is ``last``, if there is one."""
    return [key for key in known if key.rpartition(".")[2] == last][:1]
