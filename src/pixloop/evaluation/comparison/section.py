"""The report's section on the champion: who is better, where, and which pictures changed."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from markupsafe import Markup

from pixloop.data.dataset import Split
from pixloop.evaluation.comparison.by_slice import SlicePair
from pixloop.evaluation.comparison.findings import CONFIDENCE, Findings, find_differences
from pixloop.evaluation.comparison.measures import Difference
from pixloop.evaluation.comparison.verdict import word_verdict
from pixloop.evaluation.examples import thumbnail
from pixloop.evaluation.formats import percent
from pixloop.evaluation.predictions import Predictions
from pixloop.evaluation.rendering import render
from pixloop.evaluation.section import Contender, Section, Subject

Json = dict[str, Any]

#: Changed pictures that are shown, gained and lost, and slices in the table.
_CHANGED, _SLICES = 7, 12
_THUMBNAIL_PX = 112
#: What is drawn to the left and to the right of no difference, at least, as a share.
_LEAST_REACH = 0.01


def study_comparison(subject: Subject[Any]) -> Section | None:
    """How the model differs from the champion, on the same pictures."""
    champion = subject.champion
    if champion is None:
        return None
    found = find_differences(subject, champion)
    words = word_verdict(found, "this version", "the champion")
    return Section(
        # "comparison" is what the gate compares by, in the summary.
        key="champion",
        title="Comparison",
        verdict=" ".join(words[:2]),
        good=False if _worse(found) else found.better,
        content=describe_findings(found, words),
        body=render_findings(found, words, subject, champion, ("this version", "the champion")),
    )


def describe_findings(found: Findings, words: Sequence[str]) -> Json:
    """The comparison as JSON values."""
    worsened, latency = found.worsened, found.latency
    return {
        "verdict": list(words),
        "confidence": CONFIDENCE,
        "better": found.better,
        "same_model": found.same_model,
        "overall": {**asdict(found.paired), "p": found.p},
        "slice_confidence": found.slice_confidence,
        "correction": "holm",
        "slices": [
            {
                "kind": row.slice.kind,
                "name": row.slice.name,
                "detail": row.slice.detail,
                **asdict(row.paired),
                "p": row.p,
                "better": row.better,
            }
            for row in found.slices
        ],
        "measures": {row.measure.name: _numbers(row) for row in found.measures},
        "robustness": None
        if worsened is None
        else {"worsened": asdict(worsened.paired), "kept": _numbers(worsened.kept)},
        "latency": asdict(latency) if latency else None,
        "gained": len(found.gained),
        "lost": len(found.lost),
    }


def render_findings(
    found: Findings,
    words: Sequence[str],
    subject: Subject[Any],
    champion: Contender[Any],
    names: tuple[str, str],
) -> Markup:
    """The comparison as a part of a page; ``names`` are the challenger's and the champion's."""
    split, both = subject.data.split("test"), (subject.answers, champion.answers)
    rows = [row for row in found.slices if row.better is not None]
    rows += [row for row in found.slices if row.better is None]
    measures = [*found.measures, *([found.worsened.kept] if found.worsened else ())]
    return render(
        "comparison.html",
        found=found,
        words=words,
        challenger=names[0],
        champion=names[1],
        confidence=CONFIDENCE,
        measures=measures,
        severity="15 corruptions of ImageNet-C in turn, severity 3",
        slices=rows,
        shown=_SLICES,
        reach=_reach(found.slices),
        what="right" if found.task == "classification" else "mean F1",
        gained=[_changed(*both, i, split) for i in found.gained[:_CHANGED]],
        lost=[_changed(*both, i, split) for i in found.lost[:_CHANGED]],
    )


def _worse(found: Findings) -> bool:
    return any(row.better is False for row in found.slices)


def _numbers(row: Difference) -> Json:
    return {
        "champion": row.champion,
        "challenger": row.challenger,
        "difference": row.difference,
        "interval": None if row.low is None else [row.low, row.high],
        "better": row.better,
    }


def _reach(rows: Sequence[SlicePair]) -> float:
    """How far the drawing of differences goes to each side."""
    most = (max(-row.paired.low, row.paired.high) for row in rows)
    return min(1.0, max(_LEAST_REACH, *most)) if rows else _LEAST_REACH


def _changed(challenger: Any, champion: Any, index: int, split: Split) -> Json:
    """A picture that the two answer differently."""
    image, tiny = thumbnail(split.read(index).image, _THUMBNAIL_PX)
    picture = {"image": image, "tiny": tiny, "path": challenger.paths[index]}
    if isinstance(challenger, Predictions):
        before, after = (
            f"{answers.classes[answers.predicted[index]]}, {percent(answers.scores[index])}"
            for answers in (champion, challenger)
        )
        label = challenger.classes[challenger.targets[index]]
        return {**picture, "label": label, "before": before, "after": after}
    before, after = (f"F1 {float(a.picture_f1[index]):.2f}" for a in (champion, challenger))
    return {**picture, "label": "", "before": before, "after": after}
