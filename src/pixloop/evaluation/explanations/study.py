"""Which pixels spoke, in the report: the methods' checks, and maps of the pictures worth a look."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from pixloop.data.dataset import Split
from pixloop.errors import BundleError, TrainingError
from pixloop.evaluation.explanations.choosing import (
    Choice,
    choose_answers,
    choose_boxes,
    choose_boxes_to_check,
    choose_to_check,
)
from pixloop.evaluation.explanations.drawings import draw_explanation, encode
from pixloop.evaluation.explanations.explainer import Answer, Explainer, best_method
from pixloop.evaluation.explanations.methods import Method
from pixloop.evaluation.explanations.overlay import colour_bar
from pixloop.evaluation.explanations.sanity import LEAST_GAIN, MOST_SIMILARITY, Check
from pixloop.evaluation.rendering import render
from pixloop.evaluation.section import Section, Subject
from pixloop.progress import progress

KEY, TITLE = "explanations", "Which pixels spoke"

_NO_GRAPH = (
    "Nothing is explained: that needs the torchscript graph, which export.formats may name and "
    "this bundle does not have."
)
_LEAST_CHECKED = 3  #: with fewer answers there is no confidence in anything


@dataclass(frozen=True, slots=True)
class Explained:
    """An answer with its map."""

    path: str
    choice: Choice
    image: str  #: a data: address: the picture, and the same under its map
    tiny: bool  #: to be scaled up without smoothing


def study_explanations(subject: Subject[Any]) -> Section | None:
    """Check every method on test pictures, and explain some answers by the best that passed."""
    each = subject.config.explanations.pictures
    detects = subject.bundle.manifest.task == "detection"
    answers = subject.answers
    if not each:
        return None
    checked = choose_boxes_to_check(answers) if detects else choose_to_check(answers)
    if len(checked) < _LEAST_CHECKED:
        return None
    if all(graph.name != "torchscript" for graph in subject.bundle.manifest.graphs):
        return _section((), None, {}, _NO_GRAPH)
    try:
        explainer = Explainer(subject.bundle)
    except (BundleError, TrainingError) as e:
        return _section((), None, {}, f"Nothing is explained: {e}")
    pictures = subject.data.split("test")
    checks = explainer.check(_answer(choice, pictures) for choice in checked)
    method = best_method(explainer.methods, checks)
    if method is None:
        return _section(checks, None, {}, _none_passed(checks))
    chosen = choose_boxes(answers, each) if detects else choose_answers(answers, each)
    shown = _explain_all(explainer, method, chosen, pictures, answers.paths)
    return _section(checks, method, shown, _some_passed(checks, method))


def _explain_all(
    explainer: Explainer,
    method: Method,
    chosen: Mapping[str, Sequence[Choice]],
    pictures: Split,
    paths: Sequence[str],
) -> dict[str, list[Explained]]:
    total = sum(map(len, chosen.values()))
    with progress("explaining answers", total, after_s=2) as advance:

        def explain(choice: Choice) -> Explained:
            answer = _answer(choice, pictures)
            image, tiny = draw_explanation(answer, explainer.explain(answer, method))
            advance()
            return Explained(paths[choice.index], choice, encode(image, tiny), tiny)

        return {label: [explain(c) for c in choices] for label, choices in chosen.items()}


def _answer(choice: Choice, pictures: Split) -> Answer:
    return Answer(pictures.read(choice.index).image, choice.answer, choice.box)


def _section(
    checks: Sequence[Check],
    method: Method | None,
    shown: Mapping[str, Sequence[Explained]],
    verdict: str,
) -> Section:
    body = render(
        "explanations.html",
        checks=checks,
        method=method,
        shown=shown,
        most_similarity=MOST_SIMILARITY,
        least_gain=LEAST_GAIN,
        scale=encode(Image.fromarray(colour_bar()), tiny=True),
    )
    content = {
        "method": method.name if method else None,
        "checks": [check.model_dump(mode="json") for check in checks],
        "shown": {label: [_record(e) for e in each] for label, each in shown.items()},
    }
    good = False if checks and method is None else None
    return Section(KEY, TITLE, verdict, good, content, body)


def _record(explained: Explained) -> dict[str, Any]:
    choice = explained.choice
    return {
        "path": explained.path,
        "kind": choice.kind,
        "label": choice.label,
        "answer": choice.answer,
        "score": choice.score,
        **({} if choice.box is None else {"box": list(choice.box)}),
    }


def _some_passed(checks: Sequence[Check], method: Method) -> str:
    failed = [check.title for check in checks if not check.passed]
    without = (
        f" Not shown, because it failed for this model: {', '.join(failed)}." if failed else ""
    )
    return f"{method.title} shows what the answers rest on: it passed both checks.{without}"


def _none_passed(checks: Sequence[Check]) -> str:
    names = ", ".join(check.title for check in checks)
    return f"No map is shown: for this model none of {names} passed its checks."
