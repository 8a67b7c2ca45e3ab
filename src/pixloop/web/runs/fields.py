"""What a key of the configuration is filled in with, from its type and its limits."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from pixloop.web.runs.values import Kind, text_of


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


def field_of(key: str, info: FieldInfo, value: Any) -> Field:
    """The field of a key.

    Args:
        key: with its section.
        info: as its section's model has it.
        value: that it has now.
    """
    kinds = [kind for kind in _alternatives(info.annotation) if kind is not NoneType]
    nullable = len(kinds) < len(list(_alternatives(info.annotation)))
    kind, choices = _kind(kinds[0])
    plain = list(value) if isinstance(value, tuple) else value
    found = {name: limit for each in info.metadata for name, limit in _limits(each)}
    return Field(
        key=key,
        kind=kind,
        text=text_of(plain),
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
