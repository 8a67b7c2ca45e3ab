"""Score a bundle on the test pictures, through the predictor that will serve it.

::

    output/
      evaluation.json        SageMaker's model-quality form, and everything else under "pixloop"
      predictions.parquet    a row a picture
      report.html            for people: one file, opens offline
"""

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pixloop.bundle import ARCHIVE, CERTIFICATE, MANIFEST, Bundle
from pixloop.config import Config
from pixloop.data.dataset import Dataset
from pixloop.errors import BundleError
from pixloop.evaluation.model_quality import model_quality
from pixloop.evaluation.predictions import Predictions, predict_split, write_predictions
from pixloop.evaluation.report import Evidence, write_report
from pixloop.evaluation.summary import summarise
from pixloop.files import write_json
from pixloop.serving.predictor import Predictor

EVALUATION, PREDICTIONS, REPORT = "evaluation.json", "predictions.parquet", "report.html"


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What came out: the content of evaluation.json, and the folder that holds it all."""

    folder: Path
    content: Mapping[str, Any]

    @property
    def metrics(self) -> Mapping[str, float]:
        """accuracy, f1_macro, precision_macro, recall_macro, ece_before, ece_after, log_loss."""
        metrics: Mapping[str, float] = self.content["pixloop"]["metrics"]
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
        champion: the bundle to compare with, on the same pictures.
        training: training.json, for the report's history.

    Raises:
        BundleError: a bundle is missing or damaged, or knows other classes than the data set.
        DataError: there is no data set, it has no test pictures, or one cannot be read.
    """
    data = Dataset.open(dataset)
    with open_bundle(bundle) as opened:
        if set(opened.manifest.classes) != set(data.info.classes):
            raise BundleError(
                f"{bundle} knows the classes {', '.join(opened.manifest.classes)}; the data set "
                f"{dataset} has {', '.join(data.info.classes)}. Train on this data set."
            )
        evidence = Evidence(
            manifest=opened.manifest,
            dataset=data,
            predictions=_score(opened, data, "scoring test pictures"),
            certificate=_read_json(opened.path / CERTIFICATE),
            data_report=_read_json(dataset / "data_report.json"),
            training=_read_json(training),
        )
    summary = summarise(
        evidence.manifest, evidence.predictions, config.gate, _score_champion(champion, data)
    )
    found = evidence.predictions
    content = {
        **model_quality(found.targets, found.predicted, found.classes),
        "pixloop": summary,
    }
    write_predictions(output / PREDICTIONS, found)
    write_report(output / REPORT, summary, evidence)
    # Last, so that an evaluation.json always has the other two beside it.
    write_json(output / EVALUATION, content)
    return Evaluation(output, content)


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


def _score(bundle: Bundle, data: Dataset, description: str) -> Predictions:
    predictor = Predictor.open(bundle)
    return predict_split(predictor, data.split("test"), data.info.classes, description)


def _score_champion(champion: Path | None, data: Dataset) -> Predictions | None:
    if champion is None:
        return None
    with open_bundle(champion) as bundle:
        return _score(bundle, data, "scoring the champion")


def _read_json(path: Path | None) -> Any:
    """The content of a file that only enriches the report, or None where it is not there."""
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path else None
    except (OSError, ValueError):
        return None
