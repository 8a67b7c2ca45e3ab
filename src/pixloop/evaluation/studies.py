"""Which studies an evaluation makes, in the order in which the report shows them."""

from collections.abc import Callable
from typing import Any

from pixloop.evaluation.section import Section, Subject

#: Each looks into a model, or says with None that there is nothing to look into.
STUDIES: tuple[Callable[[Subject[Any]], Section | None], ...] = ()


def study(subject: Subject[Any]) -> tuple[Section, ...]:
    """Everything that the studies found."""
    found = (look(subject) for look in STUDIES)
    return tuple(section for section in found if section is not None)
