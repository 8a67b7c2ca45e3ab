"""Score a bundle on the test pictures, through the predictor that will serve it.

::

    output/
      evaluation.json        SageMaker's model-quality form, and everything else under "pixloop"
      predictions.parquet    a row a picture
      report.html            for people: one file, opens offline
      model_card.html        the same on a page or two, to print; model_card.md for a model hub
"""

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pixloop.bundle import ARCHIVE, CERTIFICATE, MANIFEST, Bundle, Manifest
from pixloop.config import Config
from pixloop.data.annotation_lineage import annotated_since
from pixloop.data.dataset import Dataset
from pixloop.errors import BundleError, DataError
from pixloop.evaluation.card import write_card
from pixloop.evaluation.document import describe_evidence
from pixloop.evaluation.page import Evidence
from pixloop.evaluation.promotion import no_champion, weigh
from pixloop.evaluation.scoring import CLASSIFICATION, DETECTION, Answers, Scoring
from pixloop.evaluation.section import Contender, Subject
from pixloop.evaluation.studies import study
from pixloop.evaluation.summary import judge_kept
from pixloop.files import sha256_file, write_json, write_text
from pixloop.monitoring.reference import FOLDER, read_odds

EVALUATION, PREDICTIONS, REPORT = "evaluation.json", "predictions.parquet", "report.html"
#: The file that lies in a champion's place before there is one.
NO_CHAMPION = "none.json"


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What came out: the content of evaluation.json, and the folder that holds it all."""

    folder: Path
    content: Mapping[str, Any]

    @property
    def metrics(self) -> Mapping[str, float | None]:
        """Their names and values; one that does not exist, such as map_small, is None.

        Classification: accuracy, f1_macro, precision_macro, recall_macro, ece_before, ece_after,
        log_loss. Detection: map, map_50, map_75, map_small, map_medium, map_large, mean_iou,
        precision_macro, recall_macro, f1_macro, ece_before, ece_after.
        """
        metrics: Mapping[str, float | None] = self.content["pixloop"]["metrics"]
        return metrics


def evaluate(
    config: Config,
    bundle: Path,
    dataset: Path,
    output: Path,
    champion: Path | None = None,
    training: Path | None = None,
) -> Evaluation:
    """Score a bundle, beside the champion where there is one, and write the report.

    Args:
        config: ``gate`` is what the report judges by.
        bundle: a bundle's folder, its model.tar.gz, or a folder that holds either.
        dataset: the data set; its test split is scored.
        output: the folder for what is written.
        champion: the bundle to compare with, on the same pictures; or a folder with none.json
            and no bundle, which says that there is no champion yet.
        training: training.json, for the report's history.

    Raises:
        BundleError: a bundle is missing or damaged, or is for another task or other classes than
            the data set.
        DataError: there is no data set, it has no test pictures, one cannot be read, or in
            detection none shows an object.
    """
    data = Dataset.open(dataset)
    with open_bundle(bundle) as opened:
        _check(opened.manifest, data, bundle)
        if opened.manifest.task == "detection":
            return _evaluate(DETECTION, opened, data, config, output, champion, training)
        return _evaluate(CLASSIFICATION, opened, data, config, output, champion, training)


@contextmanager
def open_bundle(path: Path) -> Iterator[Bundle]:
    """Open and verify a bundle wherever a step may find it; what is unpacked goes afterwards.

    Args:
        path: a bundle's folder, a model.tar.gz, or a folder with a ``bundle`` folder or a
            model.tar.gz in it.

    Raises:
        BundleError: there is no bundle, or it is damaged.
    """
    places = (path, path / "bundle")
    folder = next((place for place in places if (place / MANIFEST).is_file()), None)
    archive = path / ARCHIVE if path.is_dir() else path
    with tempfile.TemporaryDirectory(prefix="pixloop-") as temporary:
        if folder is not None:
            bundle = Bundle.open(folder)
        elif archive.is_file():
            bundle = Bundle.open(archive, unpack_to=Path(temporary) / "bundle")
        else:
            raise BundleError(f"{path} holds no model bundle: neither {MANIFEST} nor {ARCHIVE}.")
        bundle.verify()
        yield bundle


def _check(manifest: Manifest, data: Dataset, bundle: Path) -> None:
    if manifest.task != data.info.task:
        raise BundleError(
            f"{bundle} is a model for {manifest.task}; the data set {data.folder} is one for "
            f"{data.info.task}. Train on this data set."
        )
    if set(manifest.classes) != set(data.info.classes):
        raise BundleError(
            f"{bundle} knows the classes {', '.join(manifest.classes)}; the data set "
            f"{data.folder} has {', '.join(data.info.classes)}. Train on this data set."
        )
    if len(data.split("test")) == 0:
        raise DataError("there are no test pictures. Add some, or raise data.test_share.")


def _evaluate(
    scoring: Scoring[Answers],
    bundle: Bundle,
    data: Dataset,
    config: Config,
    output: Path,
    champion: Path | None,
    training: Path | None,
) -> Evaluation:
    """Score, compare, study and write, whatever the task."""
    answers = scoring.answer(bundle, data, "scoring test pictures")
    with _score_champion(scoring, champion, data) as theirs:
        summary = scoring.summarise(
            bundle.manifest,
            answers,
            config.gate,
            theirs.answers if theirs else None,
            _weigh(scoring, answers, theirs, data, config),
        )
        sections = study(Subject(config, bundle, data, answers, theirs))
    evidence = Evidence(
        manifest=bundle.manifest,
        dataset=data,
        answers=answers,
        certificate=_read_json(bundle.path / CERTIFICATE),
        data_report=_read_json(data.folder / "data_report.json"),
        training=_read_json(training),
        odds=read_odds(bundle.path / FOLDER),
        sections=sections,
    )
    summary |= {section.key: dict(section.content) for section in sections}
    kept_share = summary.get("robustness", {}).get("kept_share")
    summary["gate"] = judge_kept(summary["gate"], config.gate, kept_share)
    summary |= describe_evidence(summary, evidence)
    content = {**scoring.quality(answers, summary), "pixloop": summary}
    content = json.loads(json.dumps(content, allow_nan=False))  # what will be read: no tuples
    scoring.write_answers(output / PREDICTIONS, answers)
    write_text(output / REPORT, scoring.render_report(summary, evidence))
    write_card(summary, evidence, config, output)
    # Last, so that an evaluation.json always has the other two beside it.
    write_json(output / EVALUATION, content)
    return Evaluation(output, content)


@contextmanager
def _score_champion(
    scoring: Scoring[Answers], champion: Path | None, data: Dataset
) -> Iterator[Contender[Answers] | None]:
    if champion is None or _is_vacant(champion):
        yield None
        return
    with open_bundle(champion) as bundle:
        if bundle.manifest.task != data.info.task:
            raise BundleError(
                f"the champion {champion} is a model for {bundle.manifest.task}, which cannot be "
                f"compared with one for {data.info.task}. Set registry.model to another name."
            )
        yield Contender(bundle, scoring.answer(bundle, data, "scoring the champion"))


def _weigh(
    scoring: Scoring[Answers],
    answers: Answers,
    champion: Contender[Answers] | None,
    data: Dataset,
    config: Config,
) -> dict[str, Any]:
    """What the paired test says of the two models."""
    if champion is None:
        return no_champion(config.promotion)
    return weigh(
        scoring.worth(answers),
        scoring.worth(champion.answers),
        annotated_since(data, "test", champion.bundle.manifest.created),
        config.promotion,
        sha256_file(champion.bundle.path / MANIFEST),
    )


def _is_vacant(champion: Path) -> bool:
    """Whether a champion's place holds the word that there is none yet, and nothing else.

    An address that a pipeline reads must hold something before the first champion is there.
    """
    return champion.is_dir() and [entry.name for entry in champion.iterdir()] == [NO_CHAMPION]


def _read_json(path: Path | None) -> Any:
    """The content of a file that only enriches the report, or None where it is not there."""
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path else None
    except (OSError, ValueError):
        return None
