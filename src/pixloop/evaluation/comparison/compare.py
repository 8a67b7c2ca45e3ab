"""Two bundles scored on the same test pictures: ``pixloop models compare``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pixloop import __version__
from pixloop.bundle import Bundle, Manifest, now
from pixloop.config import Config
from pixloop.data.dataset import Dataset
from pixloop.errors import BundleError, DataError
from pixloop.evaluation.comparison.findings import Findings, find_differences
from pixloop.evaluation.comparison.measures import Difference
from pixloop.evaluation.comparison.section import describe_findings, render_findings
from pixloop.evaluation.comparison.verdict import word_verdict
from pixloop.evaluation.rendering import render
from pixloop.evaluation.scoring import CLASSIFICATION, DETECTION, Scoring
from pixloop.evaluation.section import Contender, Subject
from pixloop.files import write_text


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """Two models on the same pictures.

    Attributes:
        words: the verdict, the most important sentence first.
        notes: what else must be known before it is believed.
        measures: what both are measured by.
        content: all of it, as JSON values.
        report: the page.
    """

    words: Sequence[str]
    notes: Sequence[str]
    measures: Sequence[Difference]
    content: Mapping[str, Any]
    report: Path


def compare_bundles(
    a: Bundle,
    b: Bundle,
    dataset: Path,
    output: Path,
    config: Config,
    names: tuple[str, str] = ("A", "B"),
) -> Comparison:
    """Score both bundles on a data set's test pictures, and say which is better.

    Args:
        a: the one that is compared with, in the champion's place.
        b: the challenger.
        dataset: the data set; its test split is scored.
        output: the HTML file that is written.
        config: ``slices`` and ``robustness`` are read.
        names: what ``a`` and ``b`` are called.

    Raises:
        BundleError: a bundle is for another task than the data set, or knows other classes.
        DataError: there is no data set, it has no test pictures, one cannot be read, or in
            detection none shows an object.
    """
    data = Dataset.open(dataset)
    for bundle, name in zip((a, b), names, strict=True):
        _check(bundle.manifest, data, name)
    if not len(data.split("test")):
        raise DataError(f"{dataset} has no test pictures. Name another data set with --data.")
    scoring: Scoring[Any] = DETECTION if data.info.task == "detection" else CLASSIFICATION
    champion = Contender(a, scoring.answer(a, data, f"scoring {names[0]}"))
    subject: Subject[Any] = Subject(
        config, b, data, scoring.answer(b, data, f"scoring {names[1]}"), champion
    )
    found = find_differences(subject, champion)
    words = word_verdict(found, names[1], names[0])
    notes = [
        note
        for bundle, name in zip((a, b), names, strict=True)
        if (note := _changed(bundle.manifest, data, name))
    ]
    write_text(output, _page(found, words, notes, subject, champion, names))
    measures = [*found.measures, *([found.worsened.kept] if found.worsened else ())]
    content = {
        "a": _describe(a, names[0]),
        "b": _describe(b, names[1]),
        "dataset": str(dataset),
        "dataset_sha256": data.info.sha256,
        "notes": notes,
        **describe_findings(found, words),
    }
    return Comparison(words, notes, measures, content, output)


def _check(manifest: Manifest, data: Dataset, name: str) -> None:
    if manifest.task != data.info.task:
        raise BundleError(
            f"{name} is a model for {manifest.task}; the data set {data.folder} is one for "
            f"{data.info.task}. Name another data set with --data, or compare other versions."
        )
    only, missing = (
        set(manifest.classes) - set(data.info.classes),
        set(data.info.classes) - set(manifest.classes),
    )
    if only or missing:
        parts = [
            f"{words} {', '.join(map(repr, sorted(classes)))}"
            for words, classes in (("it alone knows", only), ("it does not know", missing))
            if classes
        ]
        raise BundleError(
            f"{name} knows other classes than the data set {data.folder}: {', and '.join(parts)}. "
            "Models are only compared where both answer the same question: name a data set that "
            "both can answer with --data, or train again."
        )


def _changed(manifest: Manifest, data: Dataset, name: str) -> str:
    """A warning where a model comes from another data set than this one."""
    made = manifest.lineage.get("dataset_sha256")
    if not made or made == data.info.sha256:
        return ""
    return (
        f"{name} was made from another data set ({str(made)[:12]}) than the one that both are "
        f"scored on ({data.info.sha256[:12]}). A picture stays in its split when others come, so "
        "its score holds, unless the splits were made anew: then it may have learned from some of "
        "these test pictures."
    )


def _describe(bundle: Bundle, name: str) -> Mapping[str, Any]:
    manifest = bundle.manifest
    return {
        "name": name,
        "created": manifest.created,
        "model": manifest.lineage.get("model"),
        "graph": manifest.chosen_graph,
        "dataset_sha256": manifest.lineage.get("dataset_sha256"),
    }


def _page(
    found: Findings,
    words: Sequence[str],
    notes: Sequence[str],
    subject: Subject[Any],
    champion: Contender[Any],
    names: tuple[str, str],
) -> str:
    lineage = [
        (f"{name}: {key}", str(value))
        for bundle, name in ((champion.bundle, names[0]), (subject.bundle, names[1]))
        for key, value in _describe(bundle, name).items()
        if key != "name" and value is not None
    ]
    return render(
        "comparison_page.html",
        challenger=names[1],
        champion=names[0],
        task=found.task,
        pictures=found.paired.pictures,
        dataset=subject.data.folder,
        created=now(),
        better=found.better,
        same_model=found.same_model,
        words=words,
        notes=notes,
        body=render_findings(found, words, subject, champion, (names[1], names[0])),
        lineage=[*lineage, ("data set", subject.data.info.sha256)],
        version=__version__,
    )
