"""What remains of a model's accuracy when pictures get worse."""

from typing import Any

from pixloop.errors import BundleError, TrainingError
from pixloop.evaluation.formats import percent
from pixloop.evaluation.rendering import render
from pixloop.evaluation.robustness.alterations import corruptions, curve_alterations
from pixloop.evaluation.robustness.figures import Figures, compare_corruptions, worst_trial
from pixloop.evaluation.robustness.outcomes import (
    Examiner,
    LabelOutcome,
    Outcome,
    make_examiner,
)
from pixloop.evaluation.robustness.page import describe
from pixloop.evaluation.robustness.pictures import Pair, look_at, show_worst
from pixloop.evaluation.robustness.sample import Sample, draw_sample
from pixloop.evaluation.robustness.trials import alter, try_alterations
from pixloop.evaluation.section import Section, Subject
from pixloop.imaging import mean_colour
from pixloop.serving.classifier import Classifier
from pixloop.serving.predictor import open_predictor

KEY, TITLE = "robustness", "Robustness"
#: A detector's picture takes several times as long to attack as a classifier's, and says more.
_BOXES_COST = 5
Json = dict[str, Any]


def study_robustness(subject: Subject[Any]) -> Section | None:
    """Try corruptions, rotations, crops, compression, lower resolution and attacks.

    Returns:
        None where ``robustness.pictures`` is 0.

    Raises:
        DataError: a picture cannot be read.
    """
    config, bundle = subject.config.robustness, subject.bundle
    if not config.pictures:
        return None
    bundles = [bundle, *([subject.champion.bundle] if subject.champion else [])]
    sample = draw_sample(
        subject.data.split("test"), config.pictures, [b.manifest.preprocessing for b in bundles]
    )
    examiners = [make_examiner(each, sample, subject.data.info.classes) for each in bundles]
    clean = [examine(sample.scenes) for examine in examiners]
    alterations = corruptions(config.severities)
    corrupted = try_alterations(sample, alterations, examiners, "corrupting test pictures")
    # A mirrored border would show a detector things that no box is around.
    boxes = bundle.manifest.task == "detection"
    fill = mean_colour(bundle.manifest.preprocessing) if boxes else None
    curved = try_alterations(
        sample, curve_alterations(fill), examiners[:1], "turning, cutting and compressing"
    )
    attacks, attacked = _attack(subject, sample, clean[0], examiners[0])
    worst = worst_trial(corrupted)
    figures = Figures(clean[0], len(sample))
    content = {
        "pictures": len(sample),
        "metric": clean[0].metric,
        "severities": list(config.severities),
        "clean": figures.clean(),
        **figures.corruptions(corrupted),
        "worst": {
            "corruption": worst.kind,
            "severity": int(worst.strength),
            clean[0].metric: worst.outcome.value,
        },
        "champion": compare_corruptions(corrupted, clean),
        "curves": figures.curves(curved),
        "attacks": attacks,
    }
    again = next(a for a in alterations if (a.kind, a.strength) == (worst.kind, worst.strength))
    pairs = show_worst(bundle.manifest, sample, clean[0], worst.outcome, alter(sample, again))
    least = subject.config.gate.min_kept_accuracy
    kept = content["kept_share"]
    return Section(
        key=KEY,
        title=TITLE,
        verdict=_verdict(content, clean[0].title, least),
        good=kept >= least if least else None,
        content=content,
        body=render("robustness.html", **describe(content, clean[0].title, pairs, attacked)),
    )


def _verdict(content: Json, metric: str, least: float) -> str:
    worst = content["worst"]
    asked = f", where the gate asks for {percent(least, 0)}" if least else ""
    name = worst["corruption"].replace("_", " ")
    return (
        f"Keeps {percent(min(content['kept_share'], 1.0), 0)} of its {metric} under the "
        f"{len(content['corruptions'])} corruptions of ImageNet-C{asked}; "
        f"least under {name} at severity {worst['severity']}: "
        f"{metric} {percent(worst[content['metric']], 0)} instead of "
        f"{percent(content['clean'][content['metric']], 0)}."
    )


def _attack(
    subject: Subject[Any], sample: Sample, clean: Outcome, examine: Examiner
) -> tuple[Json, Pair | None]:
    """Attacks, or why there are none."""
    config, bundle = subject.config.robustness, subject.bundle
    if not config.attack_pictures:
        return {"none": "robustness.attack_pictures is 0"}, None
    if all(graph.format != "torchscript" for graph in bundle.manifest.graphs):
        return {"none": "the bundle has no torchscript graph, from which gradients come"}, None
    # They need torch, which a study without them does not.
    from pixloop.evaluation.robustness.box_attacks import attack_boxes
    from pixloop.evaluation.robustness.label_attacks import attack_labels
    from pixloop.evaluation.trained_network import rebuild_network

    boxes = not isinstance(clean, LabelOutcome)
    some = sample.thinned(-(-config.attack_pictures // (_BOXES_COST if boxes else 1)))
    try:
        network = rebuild_network(bundle)
    except (BundleError, TrainingError) as e:
        return {"none": str(e)}, None
    if not isinstance(clean, LabelOutcome):
        classes = subject.data.info.classes
        return attack_boxes(
            network, bundle.manifest, examine, some, classes, config.attack_strengths
        )
    predictor = open_predictor(bundle)
    assert isinstance(predictor, Classifier)  # noqa: S101  (it has answered with labels)
    targets = [clean.targets[sample.indices.index(i)] for i in some.indices]
    content, shown = attack_labels(network, predictor, some, targets, config.attack_strengths)
    if shown is None:
        return content, None
    label = targets[shown.index]
    return content, Pair(
        some.paths[shown.index],
        label,
        look_at(shown.before, label, True),
        look_at(shown.after, f"{shown.answer}, by ±{shown.strength:g} levels", False),
    )
