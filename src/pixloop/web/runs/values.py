"""Values of settings as text, and back: as a form shows them, and as ``--set`` takes them."""

import json
from typing import Any, Literal

import yaml

#: What a value is filled in with.
Kind = Literal["text", "number", "choice", "switch", "list"]


def text_of(value: Any) -> str:
    """A value as it stands in a field."""
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


def read_value(text: str, kind: Kind, now: Any, nullable: bool) -> Any:
    """A field's text as a value. What is no number stays text: the configuration says so.

    Args:
        text: as somebody has filled it in.
        kind: of the field.
        now: its value now, whose type the new one has.
        nullable: whether it may be left empty.
    """
    if not text and nullable:
        return None
    if kind == "switch":
        return {"true": True, "false": False}.get(text, text)
    if kind == "number":
        return _number(text, type(now))
    if kind == "list":
        return _list(text, now)
    return text


def set_text(value: Any) -> str:
    """A value so that ``--set key=<text>`` reads it back; bare where that is the same.

    >>> set_text("resnet18"), set_text("3"), set_text(None), set_text(("flip", "blur"))
    ('resnet18', '"3"', 'null', '["flip","blur"]')
    """
    if isinstance(value, str) and _is_bare(value):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _number_text(value: float) -> str:
    short = f"{value:g}"
    return short if float(short) == value else repr(value)


def _list(text: str, now: Any) -> Any:
    if text.startswith("["):
        try:
            found = yaml.safe_load(text)
        except yaml.YAMLError:
            return text
        return found if isinstance(found, list) else text
    parts = [part.strip() for part in text.split(",") if part.strip()]
    numbers = isinstance(now, list) and any(isinstance(each, int | float) for each in now)
    if not numbers:
        return parts
    kind = type(now[0])
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
