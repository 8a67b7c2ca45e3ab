"""A form made from the configuration's own models: a field for every key that a run reads.

What a field is comes from the key's type, what it says from the key's description, and whether a
value is right from ``Config`` itself. Only what was changed is set for the run: ``key=value``, as
``pixloop run --set`` takes it.
"""

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from pixloop.config import FILE_NAME, Config
from pixloop.config_file import load_config
from pixloop.errors import ConfigError
from pixloop.pipeline.arguments import STEP_KEYS
from pixloop.project import Project

#: What a run reads beside its steps: which pictures, and where it starts from.
_READ_BEFORE = ("data.train", "data.test", "data.sha256", "model.")
#: Of a model, and not of a run: a project has one of them.
_FIXED = ("task", "name")
#: Shown first, and open.
_FIRST = ("training", "model")

Kind = Literal["text", "number", "choice", "switch", "list"]


@dataclass(frozen=True, slots=True)
class Field:
    """One key.

    Attributes:
        key: with its section, such as ``training.epochs``.
        kind: what it is filled in with.
        text: its value now, as it stands in the field.
        value: its value now, as JSON.
        about: what it means.
        choices: the values that there are, where those are few.
        nullable: whether it may be left empty.
        bounds: of a number, as HTML's input has them: min, max, step.
        limits: the same, for people; empty where there are none.
        whole: whether it is a whole number.
    """

    key: str
    kind: Kind
    text: str
    value: Any
    about: str
    choices: tuple[str, ...] = ()
    nullable: bool = False
    bounds: Mapping[str, str] | None = None
    limits: str = ""

    @property
    def name(self) -> str:
        """The key without its section."""
        return self.key.rpartition(".")[2]


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
            _field(f"{name}.{key}", inner, getattr(values, key))
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
        value = _value_of(field, text.strip())
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


def run_arguments(project: Project, changes: Sequence[str]) -> tuple[str, ...]:
    """What follows ``pixloop`` in the command that runs with changes."""
    changed = {change.partition("=")[0] for change in changes}
    kept = [each for each in project.overrides if each.partition("=")[0].strip() not in changed]
    return ("run", *(f"--set={change}" for change in (*kept, *changes)))


def run_command(arguments: Sequence[str]) -> str:
    """The same as one would type it.

    >>> run_command(["run", "--set=training.epochs=3"])
    'pixloop run --set training.epochs=3'
    """
    typed: list[str] = []
    for argument in arguments:
        option, equals, value = argument.partition("=")
        # A value that begins with a dash would be taken for an option.
        typed += [option, value] if option.startswith("--") and equals else [argument]
    return shlex.join(["pixloop", *typed])


def set_text(value: Any) -> str:
    """A value so that ``--set key=<text>`` reads it back; bare where that is the same.

    >>> set_text("resnet18"), set_text("3"), set_text(None), set_text(("flip", "blur"))
    ('resnet18', '"3"', 'null', '["flip","blur"]')
    """
    if isinstance(value, str) and _is_bare(value):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


# ---- what a field is


def _field(key: str, info: FieldInfo, value: Any) -> Field:
    kinds = [kind for kind in _alternatives(info.annotation) if kind is not NoneType]
    nullable = len(kinds) < len(list(_alternatives(info.annotation)))
    kind, choices = _kind(kinds[0])
    plain = list(value) if isinstance(value, tuple) else value
    found = {name: limit for each in info.metadata for name, limit in _limits(each)}
    return Field(
        key=key,
        kind=kind,
        text=_text_of(plain),
        value=plain,
        about=" ".join((info.description or "").split()).replace("``", "`"),
        choices=choices,
        nullable=nullable,
        bounds=_bounds(found, whole=kinds[0] is int) if kind == "number" else None,
        limits=_words(found) if kind == "number" else "",
    )


def _alternatives(annotation: Any) -> Iterator[Any]:
    """The types that a value may be of, without what only narrows them."""
    if get_origin(annotation) in (Union, UnionType):
        for each in get_args(annotation):
            yield from _alternatives(each)
    elif hasattr(annotation, "__metadata__"):
        yield from _alternatives(get_args(annotation)[0])
    else:
        yield annotation


def _kind(annotation: Any) -> tuple[Kind, tuple[str, ...]]:
    origin = get_origin(annotation)
    if origin is Literal:
        return "choice", tuple(map(str, get_args(annotation)))
    if origin is tuple:
        inner = next(_alternatives(get_args(annotation)[0]))
        return "list", _kind(inner)[1] if get_origin(inner) is Literal else ()
    if annotation is bool:
        return "switch", ()
    if annotation in (int, float):
        return "number", ()
    return "text", ()


def _limits(constraint: Any) -> Iterator[tuple[str, float]]:
    for name in ("ge", "gt", "le", "lt"):
        limit = getattr(constraint, name, None)
        if limit is not None:
            yield name, limit


def _bounds(limits: Mapping[str, float], whole: bool) -> Mapping[str, str]:
    """Those that HTML knows: it has no open ones, so the least is also named where it is not in."""
    found = {"step": "1" if whole else "any"}
    least, most = limits.get("ge", limits.get("gt")), limits.get("le", limits.get("lt"))
    if least is not None:
        found["min"] = f"{least:g}"
    if most is not None:
        found["max"] = str(most) if whole else f"{most:g}"
    return found


def _words(limits: Mapping[str, float]) -> str:
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    return ", ".join(f"{words[name]} {limits[name]:g}" for name in words if name in limits)


def _is_read(key: str) -> bool:
    if key in _FIXED:
        return False
    read = [*_READ_BEFORE, *(name for names in STEP_KEYS.values() for name in names)]
    return any(key == name or (name.endswith(".") and key.startswith(name)) for name in read)


# ---- values as text, and back


def _text_of(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        texts = [each if isinstance(each, str) else _number_text(each) for each in value]
        if any("," in text or text != text.strip() or not text for text in texts):
            return json.dumps(value, ensure_ascii=False)
        return ", ".join(texts)
    return _number_text(value) if isinstance(value, float) else str(value)


def _number_text(value: float) -> str:
    short = f"{value:g}"
    return short if float(short) == value else repr(value)


def _value_of(field: Field, text: str) -> Any:
    """A field's text as a value. What is no number stays text: the configuration says so."""
    if not text and field.nullable:
        return None
    if field.kind == "switch":
        return {"true": True, "false": False}.get(text, text)
    if field.kind == "number":
        return _number(text, type(field.value))
    if field.kind == "list":
        return _list(field, text)
    return text


def _list(field: Field, text: str) -> Any:
    if text.startswith("["):
        try:
            found = yaml.safe_load(text)
        except yaml.YAMLError:
            return text
        return found if isinstance(found, list) else text
    parts = [part.strip() for part in text.split(",") if part.strip()]
    numbers = isinstance(field.value, list) and any(
        isinstance(each, int | float) for each in field.value
    )
    if not numbers:
        return parts
    kind = type(field.value[0])
    return [_number(part, kind) for part in parts]


def _number(text: str, kind: type) -> Any:
    for read in (int, float):
        try:
            value = read(text)
        except ValueError:
            continue
        return float(value) if kind is float else value
    return text


def _is_bare(text: str) -> bool:
    """Whether YAML, and JSON before it, read a text as itself."""
    try:
        json.loads(text)
    except ValueError:
        pass
    else:
        return False
    try:
        return bool(text) and yaml.safe_load(text) == text
    except yaml.YAMLError:
        return False


# ---- what the configuration says


_LINE = re.compile(r"'(?P<key>[a-z_]+(\.[\w-]+)+)': (?P<words>.*)", re.DOTALL)


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
