"""Which studies an evaluation makes, in the order in which the report shows them."""

from collections.abc import Callable
from typing import Any

from pixloop.evaluation.comparison.section import study_comparison
from pixloop.evaluation.explanations.study import study_explanations
from pixloop.evaluation.robustness.study import study_robustness
from pixloop.evaluation.section import Section, Subject
from pixloop.evaluation.slices.section import study_slices
from pixloop.evaluation.trust.study import study_trust

#: Each looks into a model, or says with None that there is nothing to look into.
STUDIES: tuple[Callable[[Subject[Any]], Section | None], ...] = (
    study_comparison,
    study_slices,
    study_robustness,
    study_explanations,
    study_trust,
)


def study(subject: Subject[Any]) -> tuple[Section, ...]:
    """Everything that the studies found."""
    found = (look(subject) for look in STUDIES)
    return tuple(section for section in found if section is not None)
