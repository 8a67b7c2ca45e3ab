"""Whether to ship a model, in three sentences: how good it is, what it decides alone, what worries.

They follow from the gate, the paired test, the threshold and what every study says; nothing is
judged anew here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pixloop.evaluation.formats import count, percent, target
from pixloop.evaluation.section import Section

METRIC_NAMES: Mapping[str, str] = {
    "accuracy": "accuracy",
    "f1_macro": "macro F1",
    "precision_macro": "macro precision",
    "recall_macro": "macro recall",
    "map": "mean AP",
    "map_50": "mean AP50",
    "map_75": "mean AP75",
}

Ship = Literal["yes", "with care", "no"]
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do with a model, and why."""

    ship: Ship
    sentences: tuple[str, str, str]  #: how good it is, what it decides alone, what worries

    @property
    def words(self) -> str:
        """What to do, in the fewest words."""
        return {"yes": "Ship it", "with care": "Ship it with care", "no": "Do not ship it"}[
            self.ship
        ]


def conclude(summary: Mapping[str, Any], sections: Sequence[Section]) -> Verdict:
    """The verdict on a model.

    It is to be shipped where the gate lets it pass; with care where a study found something bad,
    where it decides nothing alone, or where the champion's place is not earned.

    Args:
        summary: the ``pixloop`` section of evaluation.json.
        sections: what the studies found.
    """
    worries = [section for section in sections if section.good is False]
    remarks = [section for section in sections if section.good is None]
    ship: Ship = "yes"
    if not summary["gate"]["passes"]:
        ship = "no"
    elif worries or not summary["threshold"]["accepted"] or _stays_challenger(summary):
        ship = "with care"
    return Verdict(
        ship, (_quality(summary), _decisions(summary), _worry(summary, worries, remarks))
    )


def describe_verdict(summary: Mapping[str, Any], sections: Sequence[Section]) -> Json:
    """The verdict and what each study says, as JSON values."""
    verdict = conclude(summary, sections)
    return {
        "ship": verdict.ship,
        "sentences": list(verdict.sentences),
        "studies": [
            {"key": s.key, "title": s.title, "verdict": s.verdict, "good": s.good} for s in sections
        ],
    }


def _stays_challenger(summary: Mapping[str, Any]) -> bool:
    promotion = summary.get("promotion")
    return bool(promotion and promotion["champion"] and not promotion["promote"])


def _quality(summary: Mapping[str, Any]) -> str:
    gate = summary["gate"]
    if not gate["passes"]:
        return f"The gate refuses it: {'; '.join(gate['failures'])}."
    name = METRIC_NAMES[gate["metric"]]
    sentence = f"Its {name} of {gate['value']:.3f} meets the gate’s {gate['minimum']:.3g}"
    if not summary["comparison"]["champion"]:
        return sentence + "; there is no champion to beat."
    if _stays_challenger(summary):
        return sentence + ", but it is not shown to be better than the champion."
    if (summary.get("promotion") or {}).get("promote"):
        return sentence + ", and it is shown to be better than the champion."
    return sentence + "."


def _decisions(summary: Mapping[str, Any]) -> str:
    threshold = summary["threshold"]
    what = "box" if summary.get("task") == "detection" else "picture"
    if not threshold["met"]:
        promise = f"at most {target(threshold['max_error'])} wrong"
        return f"It decides nothing alone: no threshold keeps the promise of {promise}."
    if not threshold["accepted"]:
        return f"It decides nothing alone here: no {what} reaches a threshold."
    return (
        f"It decides {percent(threshold['accepted_share'])} of the {_plural(what)} alone, of which "
        f"{percent(threshold['error'], 2)} are wrong where at most "
        f"{target(threshold['max_error'])} is promised; the rest goes to a person."
    )


def _worry(
    summary: Mapping[str, Any], worries: Sequence[Section], remarks: Sequence[Section]
) -> str:
    if worries:
        first, *others = worries
        more = f" Then: {', '.join(section.title.lower() for section in others)}."
        return f"Worry about {first.title.lower()}: {_going_on(first)}.{more if others else ''}"
    if remarks:
        return f"Keep in mind its {remarks[0].title.lower()}: {_going_on(remarks[0])}."
    weakest = weakest_class(summary)
    if weakest is None:
        return "No class was tested enough to be called the weakest."
    name, metric, value, tested = weakest
    return f"Most is left to gain with {name}, its weakest class: {metric} {value:.3f} on {tested}."


def _going_on(section: Section) -> str:
    """What a study says, after a colon: without a capital that is only a sentence's first."""
    said = section.verdict.rstrip(".")
    return said[:1].lower() + said[1:] if said[1:2].islower() else said


def weakest_class(summary: Mapping[str, Any]) -> tuple[str, str, float, str] | None:
    """The weakest class: its name, the metric's name and value, and what it was tested on."""
    detects = summary.get("task") == "detection"
    key, metric, tested = ("ap_50", "AP50", "boxes") if detects else ("f1", "F1", "pictures")
    rows = [
        (name, row)
        for name, row in summary["classes"].items()
        if row[tested] and row[key] is not None
    ]
    if not rows:
        return None
    name, row = min(rows, key=lambda each: float(each[1][key]))
    noun = {"boxes": "box", "pictures": "picture"}[tested] if row[tested] == 1 else tested
    return name, metric, float(row[key]), f"{count(row[tested])} test {noun}"


def _plural(noun: str) -> str:
    return noun + ("es" if noun.endswith("x") else "s")
