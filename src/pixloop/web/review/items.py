"""Pictures of the queue as people read them: why they are asked, and what was answered."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, TypeGuard

from pixloop.acceptance import Acceptance
from pixloop.annotation.items import Item, Reason, ReasonKind
from pixloop.annotation.uncertainty import top_classes
from pixloop.bundle import Task
from pixloop.data.annotations import Annotation
from pixloop.errors import RegistryError
from pixloop.web.cached import stamp
from pixloop.web.site import Site

#: Why a picture is asked, in a few words.
WHY: Mapping[ReasonKind, str] = {
    "unsure": "Not sure enough",
    "drifted": "Unlike what was learned",
    "disagreement": "Models disagree",
    "label_error": "Label is doubtful",
    "random": "Drawn at random",
    "reported": "Reported as wrong",
}
#: Classes whose probabilities a page is told; the others follow in their own order.
_MOST_CLASSES = 50
#: A registry that is no file is asked this often.
_REMOTE_S = 30.0


@dataclass(frozen=True, slots=True)
class AskedModel:
    """The model whose classes people answer by.

    Attributes:
        name: as answers call it, ``digits:3``.
        task: what an answer is.
        classes: those that there are.
        acceptance: from which score on it is believed.
    """

    name: str
    task: Task
    classes: tuple[str, ...]
    acceptance: Acceptance


def asked_model(site: Site) -> AskedModel | None:
    """The model that is served, or the latest; None before there is one."""
    project = site.project
    file = project.registry_file
    if file is not None and not file.exists():
        return None

    def read() -> AskedModel | None:
        try:
            version, bundle = project.bundle()
        except RegistryError:  # every version was rejected
            return None
        manifest = bundle.manifest
        return AskedModel(
            f"{project.config.model_name}:{version}",
            manifest.task,
            manifest.classes,
            manifest.threshold.acceptance,
        )

    seen = (
        project.config.model_name,
        stamp(file, site.state / "serving.json") if file else int(time.monotonic() / _REMOTE_S),
    )
    return site.cached.get("review model", seen, read)


def reasons_in_words(item: Item, model: AskedModel | None) -> list[dict[str, str]]:
    """Why a picture is asked, the weightiest reason first: ``kind``, ``title``, ``detail``."""
    return [
        {"kind": r.kind, "title": WHY.get(r.kind, str(r.kind)), "detail": _detail(item, r, model)}
        for r in item.reasons
    ]


def answer_in_words(answer: Mapping[str, Any]) -> str:
    """What a model answered.

    >>> answer_in_words({"label": "bus", "score": 0.51})
    'bus 51 %'
    >>> answer_in_words({"boxes": [{"label": "bus", "xyxy": [0, 0, 9, 9]}]})
    '1 × bus'
    """
    if "boxes" in answer:
        return boxes_in_words([box["label"] for box in _boxes(answer)])
    label, score = answer.get("label"), answer.get("score")
    if label is None:
        return "not known"
    return f"{label} {_percent(score)}" if _is_number(score) else str(label)


def said_in_words(annotation: Annotation) -> str:
    """What a person answered."""
    if annotation.skipped:
        return "cannot say"
    if annotation.boxes is not None:
        return boxes_in_words([box.label for box in annotation.boxes])
    return annotation.label or "nothing of these"


def boxes_in_words(labels: Sequence[str]) -> str:
    """How many boxes there are of which class.

    >>> boxes_in_words(["bus", "car", "bus"]), boxes_in_words([])
    ('2 × bus, 1 × car', 'no boxes')
    """
    counts = {label: labels.count(label) for label in dict.fromkeys(labels)}
    return ", ".join(f"{n} × {label}" for label, n in counts.items()) or "no boxes"


def why_not_now(item: Item) -> str:
    """Why a picture may not be answered yet; empty where it may."""
    if item.status == "waiting" and item.ticket is not None:
        return (
            "It takes part in the random draw, which judges the model: it is answered when its lot "
            "comes up, and in no other way."
        )
    return ""


def picture_on_card(
    item: Item, model: AskedModel | None, answers: Sequence[Annotation]
) -> dict[str, Any]:
    """A picture of the gallery.

    Args:
        item: of the queue.
        model: whose threshold is named.
        answers: people's, the last last.
    """
    return {
        "sha256": item.sha256,
        "why": reasons_in_words(item, model),
        "drawn": item.drawn,
        "answer": answer_in_words(item.answer),
        "said": [(said_in_words(a), a.annotator, _agrees(item, a)) for a in answers],
        "reported": _origin(item, "said"),
        **_drawn_over(item.answer),
    }


def picture_to_answer(
    item: Item, model: AskedModel, answers: Sequence[Annotation], annotator: str
) -> dict[str, Any]:
    """A picture for the labelling page's script, as JSON.

    Args:
        item: of the queue.
        model: whose classes there are.
        answers: people's for it.
        annotator: who looks; their own answer is told apart.
    """
    mine = [a for a in answers if a.annotator == annotator]
    return {
        "sha256": item.sha256,
        "status": item.status,
        "answer": _short(item.answer),
        "answered": answer_in_words(item.answer),
        "model": item.model,
        "at": item.at,
        "drawn": item.drawn,
        "why": reasons_in_words(item, model),
        "given": _origin(item, "label"),
        "said": _origin(item, "said"),
        "barred": why_not_now(item),
        "answers": [{"by": a.annotator, "said": said_in_words(a)} for a in answers],
        "mine": mine[-1].model_dump(include={"label", "boxes", "skipped"}) if mine else None,
    }


def _detail(item: Item, reason: Reason, model: AskedModel | None) -> str:
    if reason.kind == "random":
        return "it helps to judge the model"
    score, label = item.answer.get("score"), item.answer.get("label")
    if reason.kind != "unsure" or model is None or item.model != model.name:
        return reason.detail
    if not _is_number(score):
        return reason.detail
    least = model.acceptance.least(str(label))
    if least is None:
        return f"{reason.detail}; no score of {label} is sure enough"
    if score >= least:  # the class's threshold was another one then
        return reason.detail
    digits = 0 if _percent(score) != _percent(least) else 2
    return f"{_percent(score, digits)} is below {_percent(least, digits)}: {reason.detail}"


def _short(answer: Mapping[str, Any]) -> dict[str, Any]:
    """What a script is told of a model's answer, in the form that it expects, whatever came."""
    shares = answer.get("probabilities")
    numbers = {k: v for k, v in shares.items() if _is_number(v)} if isinstance(shares, dict) else {}
    return {
        "label": answer.get("label"),
        "probabilities": dict(top_classes({"probabilities": numbers}, _MOST_CLASSES)),
        "boxes": _boxes(answer),
    }


def _boxes(answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The boxes of an answer that are boxes; a report may hold what somebody made up."""
    found = answer.get("boxes")
    return [
        {
            "label": str(box.get("label", "")),
            "xyxy": [float(edge) for edge in box["xyxy"]],
            "score": box.get("score") if _is_number(box.get("score")) else None,
            "decision": str(box.get("decision", "")),
        }
        for box in (found if isinstance(found, list) else [])
        if isinstance(box, dict) and _is_edges(box.get("xyxy"))
    ]


def _drawn_over(answer: Mapping[str, Any]) -> dict[str, Any]:
    """``boxes``, as ``x``, ``y``, ``width`` and ``height``, and the size that they are of."""
    width, height = answer.get("width"), answer.get("height")
    if not (_is_number(width) and _is_number(height)):
        return {"boxes": []}
    corners = [box["xyxy"] for box in _boxes(answer)]
    return {
        "boxes": [(x1, y1, max(0, x2 - x1), max(0, y2 - y1)) for x1, y1, x2, y2 in corners],
        "width": width,
        "height": height,
    }


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and isfinite(value)


def _is_edges(value: object) -> bool:
    return isinstance(value, (list, tuple)) and len(value) == 4 and all(map(_is_number, value))


def _agrees(item: Item, annotation: Annotation) -> bool | None:
    """Whether a person says what the model said; None where that is not one word."""
    if annotation.label is None or "label" not in item.answer:
        return None
    return bool(annotation.label == item.answer["label"])


def _origin(item: Item, name: str) -> str:
    return str(item.origin.get(name) or "")


def _percent(share: float, digits: int = 0) -> str:
    return f"{100 * float(share):.{digits}f} %"
