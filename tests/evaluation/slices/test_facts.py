from pathlib import Path

import numpy as np
import pytest
from tests.referenced_bundles import write_referenced_classifier, write_referenced_detector
from tests.small_bundles import COLOURS

from pixloop.bundle import Bundle
from pixloop.config import Config
from pixloop.config_file import parse_config
from pixloop.data.dataset import Dataset
from pixloop.evaluation.comparison.section import study_comparison
from pixloop.evaluation.scoring import CLASSIFICATION, DETECTION
from pixloop.evaluation.section import Contender, Subject
from pixloop.evaluation.slices.facts import gather_facts
from pixloop.evaluation.slices.section import slice_test_pictures, study_slices
from pixloop.monitoring.extractor import Extractor
from pixloop.serving.predictor import open_predictor


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, Dataset]:
    folder = tmp_path_factory.mktemp("colours")
    bundle = write_referenced_classifier(folder / "bundle")
    return bundle, Dataset.open(folder / "bundle-dataset")


def config(task: str) -> Config:
    return parse_config({"task": task, "data": "."}, ["slices.least_pictures=10"])


def test_facts_are_those_that_monitoring_measures(colours: tuple[Bundle, Dataset]) -> None:
    bundle, data = colours
    facts = gather_facts(bundle, data)
    answers = CLASSIFICATION.answer(bundle, data, "test")
    pictures = [row.image for row in data.split("test")]
    extractor = Extractor.open(bundle)
    measured = extractor.measure(pictures, open_predictor(bundle).predict(pictures))
    names = [signal.name for signal in extractor.signals]
    for name, values in facts.values.items():
        assert values == pytest.approx(measured.values[:, names.index(name)])
    assert facts.embeddings == pytest.approx(measured.embeddings)
    assert len(answers) == len(facts.sources)


def test_clusters_of_what_the_model_sees_are_slices_with_pictures(
    colours: tuple[Bundle, Dataset],
) -> None:
    bundle, data = colours
    answers = CLASSIFICATION.answer(bundle, data, "test")
    section = study_slices(Subject(config("classification"), bundle, data, answers))
    assert section is not None
    clusters = [row for row in section.content["slices"] if row["kind"] == "cluster"]
    assert clusters
    assert any(name in row["detail"] for row in clusters for name in COLOURS)
    assert section.content["clusters"]["count"] >= len(clusters)
    assert "clusters of pictures that look alike" in section.body
    again = gather_facts(bundle, data)
    assert again.embeddings is not None
    first = slice_test_pictures(bundle, data, 10).clusters
    assert first is not None
    assert first.labels.tolist() == slice_test_pictures(bundle, data, 11).clusters.labels.tolist()  # type: ignore[union-attr]


def test_without_an_embedding_it_is_said_why_there_are_no_clusters(
    colours: tuple[Bundle, Dataset],
) -> None:
    bundle, data = colours
    old = Bundle(bundle.path, bundle.manifest.model_copy(update={"reference": None}))
    facts = gather_facts(old, data)
    assert facts.embeddings is None
    assert facts.without_embeddings == "an older pixloop exported the bundle"


@pytest.mark.slow
def test_pictures_with_objects_are_sliced_by_them(tmp_path: Path) -> None:
    bundle = write_referenced_detector(tmp_path / "bundle")
    data = Dataset.open(tmp_path / "bundle-dataset")
    truth = data.split("test").objects
    facts = gather_facts(bundle, data)
    assert facts.values["objects"].tolist() == [len(objects) for objects in truth]
    sizes = facts.values["object size"]
    assert np.isnan(sizes[facts.values["objects"] == 0]).all()
    one = next(i for i, objects in enumerate(truth) if len(objects) == 1)
    x1, y1, x2, y2 = truth[one].boxes[0]
    assert sizes[one] == pytest.approx((x2 - x1) * (y2 - y1) / (96 * 64))

    answers = DETECTION.answer(bundle, data, "test")
    subject = Subject(config("detection"), bundle, data, answers, Contender(bundle, answers))
    section, comparison = study_slices(subject), study_comparison(subject)
    assert section is not None
    kinds = {row["kind"] for row in section.content["slices"]}
    assert {"class", "objects", "object size"} <= kinds
    assert "mean F1" in section.body
    assert comparison is not None
    assert comparison.content["better"] is None
    assert comparison.content["robustness"]["worsened"]["difference"] == 0
