"""A form made from the configuration's own models: a field for every key that a run reads.

What a field is comes from the key's type, what it says from the key's description, and whether a
value is right from ``Config`` itself. Only what was changed is set for the run: ``key=value``, as
``pixloop run --set`` takes it.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import BaseModel

from pixloop.config import FILE_NAME, Config
from pixloop.config_file import load_config
from pixloop.errors import ConfigError
from pixloop.pipeline.arguments import STEP_KEYS
from pixloop.project import Project
from pixloop.web.runs.fields import Field, field_of
from pixloop.web.runs.values import read_value, set_text

#: What a run reads beside its steps: which pictures, and where it starts from.
_READ_BEFORE = ("data.train", "data.test", "data.sha256", "model.")
#: Of a model, and not of a run: a project has one of them.
_FIXED = ("task", "name")
#: Shown first, and open.
_FIRST = ("training", "model")
_LINE = re.compile(r"'(?P<key>[a-z_]+(\.[\w-]+)+)': (?P<words>.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class FormSection:
    """The keys of a section of pixloop.yaml."""

    name: str
    about: str
    fields: tuple[Field, ...]
    open: bool


@dataclass(frozen=True, slots=True)
class Filled:
    """What somebody has filled in.

    Attributes:
        changes: ``key=value`` of what is not as it was, as ``--set`` takes it.
        errors: by key, what is wrong with a value; by "" what is wrong with the whole.
    """

    changes: tuple[str, ...]
    errors: Mapping[str, str]


def form_sections(config: Config) -> Sequence[FormSection]:
    """Every section that a run reads, those that one changes most first."""
    sections = []
    for name, info in Config.model_fields.items():
        model = info.annotation
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            continue
        values = getattr(config, name)
        fields = tuple(
            field_of(f"{name}.{key}", inner, getattr(values, key))
            for key, inner in model.model_fields.items()
            if _is_read(f"{name}.{key}")
        )
        if fields:
            about = " ".join((model.__doc__ or "").split())
            sections.append(FormSection(name, about, fields, name in _FIRST))
    return sorted(sections, key=lambda each: (*_FIRST, "").index(each.name if each.open else ""))


def read_filled(project: Project, filled: Mapping[str, str]) -> Filled:
    """What a form changes, and whether the configuration takes it.

    Args:
        project: whose configuration the form was made from.
        filled: key → text. A key that is missing stays as it is.
    """
    fields = [field for section in form_sections(project.config) for field in section.fields]
    changes = []
    for field in fields:
        text = filled.get(field.key)
        if text is None or text.strip() == field.text:
            continue
        value = read_value(text.strip(), field.kind, field.value, field.nullable)
        if value != field.value or type(value) is not type(field.value):
            changes.append(f"{field.key}={set_text(value)}")
    return Filled(tuple(changes), check(project, changes))


def check(project: Project, changes: Sequence[str]) -> Mapping[str, str]:
    """What the configuration says against changes: by key, or by "" of the whole."""
    try:
        load_config(project.folder / FILE_NAME, [*project.overrides, *changes])
    except ConfigError as e:
        return _by_key(str(e), [change.partition("=")[0] for change in changes])
    return {}


def _is_read(key: str) -> bool:
    if key in _FIXED:
        return False
    read = [*_READ_BEFORE, *(name for names in STEP_KEYS.values() for name in names)]
    return any(key == name or (name.endswith(".") and key.startswith(name)) for name in read)


def _by_key(message: str, keys: Sequence[str]) -> Mapping[str, str]:
    errors: dict[str, str] = {}
    for line in message.splitlines():
        found = _LINE.search(line)
        key = "" if found is None else _owner(found["key"], keys)
        words = line.partition(f"{FILE_NAME}: ")[2] or line
        if found is not None and key:
            words = found["words"]
        words = words[:1].upper() + words[1:]
        errors[key] = f"{errors[key]} {words}" if key in errors else words
    return errors


def _owner(key: str, keys: Sequence[str]) -> str:
    """The key that a place such as ``robustness.severities.0`` is in; "" where none of ours is."""
    return next((each for each in keys if key == each or key.startswith(f"{each}.")), "")
