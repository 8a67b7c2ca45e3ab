"""From which score on an answer of a class is accepted without a person: decided here alone.

Only the standard library is used, so that a Lambda function can carry this module.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pixloop.records import Decision


@dataclass(frozen=True, slots=True)
class Acceptance:
    """The least score of each class, 0 to 1; None where nothing of it is accepted.

    Attributes:
        score: of every class that has none of its own.
        classes: the least scores of the classes that have their own.
    """

    score: float | None = None
    classes: Mapping[str, float | None] = field(default_factory=dict)

    @classmethod
    def of(cls, threshold: Mapping[str, Any]) -> "Acceptance":
        """Read a ``bundle.Threshold`` as JSON; those of before version 4 know no groups.

        >>> Acceptance.of({"score": None, "groups": [{"classes": ["cat"], "score": 0.9}]})
        Acceptance(score=None, classes={'cat': 0.9})
        """
        groups = threshold.get("groups", ())
        own = {label: _least(group["score"]) for group in groups for label in group["classes"]}
        return cls(_least(threshold["score"]), own)

    @classmethod
    def from_text(cls, text: str) -> "Acceptance":
        """Read what ``to_text`` wrote.

        Raises:
            ValueError: it is something else.
        """
        read = json.loads(text or "null")
        if not isinstance(read, Mapping):
            return cls(_least(read))
        own = {str(label): _least(score) for label, score in read["classes"].items()}
        return cls(_least(read["score"]), own)

    def to_text(self) -> str:
        """As a short text: empty where nothing is accepted, a number where all classes share it.

        >>> Acceptance().to_text(), Acceptance(0.9).to_text()
        ('', '0.9')
        """
        if self.classes:
            return json.dumps({"score": self.score, "classes": dict(self.classes)})
        return "" if self.score is None else str(self.score)

    def least(self, label: str) -> float | None:
        """The score from which on an answer of a class is accepted; None where none is."""
        return self.classes.get(label, self.score)

    def accepts(self, label: str, score: float) -> bool:
        """Whether an answer needs no person."""
        least = self.least(label)
        return least is not None and score >= least

    def decide(self, label: str, score: float) -> Decision:
        """The same, as what is to be done with it."""
        return Decision.ACCEPT if self.accepts(label, score) else Decision.REFER


def _least(score: Any) -> float | None:
    """A score as JSON has it.

    Raises:
        ValueError: it is neither none nor a number from 0 to 1.
    """
    if score is None:
        return None
    if isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= 1:
        raise ValueError(f"a least score is from 0 to 1 or none, not {score!r}")
    return float(score)
