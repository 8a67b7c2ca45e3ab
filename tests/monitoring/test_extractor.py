import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from tests.referenced_bundles import (
    PICTURES,
    colour_picture,
    scene_picture,
    write_linear_graph,
    write_referenced_classifier,
    write_referenced_detector,
)
from tests.small_bundles import manifest

from pixloop.bundle import MANIFEST, Bundle, Graph
from pixloop.data.dataset import Dataset
from pixloop.errors import BundleError, MonitoringError
from pixloop.monitoring.embedding import Embedder, find_cut, fit_projection, makes_answers
from pixloop.monitoring.extractor import Extractor, parse_answer
from pixloop.monitoring.reference import load_reference, read_reference, save_reference
from pixloop.records import Decision, Detection, Prediction
from pixloop.serving.codec import Request, encode_answer
from pixloop.serving.predictor import open_predictor


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_referenced_classifier(tmp_path_factory.mktemp("bundles") / "colours")


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_referenced_detector(tmp_path_factory.mktemp("bundles") / "things")


def column(bundle: Bundle, name: str, values: np.ndarray) -> np.ndarray:
    names = [signal.name for signal in read_reference(bundle).signals]
    return values[:, names.index(name)]


# ---- The reference


def test_a_reference_tells_how_right_and_how_sure_the_model_is(classifier: Bundle) -> None:
    opened = Bundle.open(classifier.path)
    opened.verify()
    record, reference = opened.manifest.reference, read_reference(opened)
    assert record is not None
    assert (record.split, record.pictures) == ("calibration", PICTURES)
    assert reference.correct.mean() == pytest.approx(0.9)
    assert np.array_equal(column(opened, "confidence", reference.values), reference.scores)
    assert len(reference.thumbnails) == 24
    assert {signal.group for signal in reference.signals} == {
        "outputs", "classes", "embedding", "picture",
    }  # fmt: skip
    assert np.isfinite(reference.values).all()


def test_a_detectors_reference_has_no_score_where_there_is_no_box(detector: Bundle) -> None:
    reference = read_reference(detector)
    empty = column(detector, "boxes", reference.values) == 0
    assert 0 < empty.sum() < PICTURES
    assert np.array_equal(np.isnan(reference.scores), empty)
    assert np.array_equal(np.isnan(reference.correct), empty)
    assert np.nanmean(reference.correct) > 0.9


def test_what_was_measured_once_is_measured_again(classifier: Bundle, detector: Bundle) -> None:
    for bundle in (classifier, detector):
        data = Dataset.open(bundle.path.with_name(f"{bundle.path.name}-dataset"))
        rows, reference = list(data.split("calibration")), read_reference(bundle)
        pictures = [row.image for row in rows]
        answers = open_predictor(bundle).predict(pictures)
        # As a monitor reads them: from the server's JSON.
        body, _ = encode_answer(Request((), ()), answers, "1")
        parsed = [parse_answer(each, bundle.manifest) for each in json.loads(body)["predictions"]]
        extractor = Extractor.open(bundle)
        assert extractor.signals == reference.signals
        whole = extractor.measure(pictures, parsed)
        assert np.array_equal(whole.values, reference.values, equal_nan=True)
        assert np.array_equal(whole.embeddings, reference.embeddings)
        alone = extractor.measure(pictures[7:8], parsed[7:8])
        assert np.array_equal(alone.values[0], whole.values[7], equal_nan=True)


def test_a_reference_is_read_as_it_was_written(classifier: Bundle, tmp_path: Path) -> None:
    reference = read_reference(classifier)
    without = np.empty((PICTURES, 0), np.float32)
    save_reference(tmp_path, dataclasses.replace(reference, embeddings=without))
    again = load_reference(tmp_path)
    assert again.signals == reference.signals
    assert np.array_equal(again.values, reference.values)
    assert again.embeddings.shape == (PICTURES, 0)
    assert again.thumbnails == reference.thumbnails
    save_reference(tmp_path / "b", dataclasses.replace(reference, embeddings=without))
    assert load_reference(tmp_path / "b").false_alarm_seed == again.false_alarm_seed


def test_a_bundle_without_a_reference_says_what_to_do(classifier: Bundle, tmp_path: Path) -> None:
    old = Bundle(classifier.path, classifier.manifest.model_copy(update={"reference": None}))
    with pytest.raises(MonitoringError, match="Run 'pixloop run' again"):
        read_reference(old)
    with pytest.raises(MonitoringError, match="no reference"):
        Extractor.open(old)
    with pytest.raises(MonitoringError, match="no reference that pixloop wrote"):
        load_reference(tmp_path)


def test_a_changed_reference_is_refused(tmp_path: Path) -> None:
    bundle = write_referenced_classifier(tmp_path / "b")
    file = bundle.path / "reference/signals.parquet"
    file.write_bytes(file.read_bytes() + b"?")
    with pytest.raises(BundleError, match=r"reference/signals\.parquet"):
        Extractor.open(bundle)
    (bundle.path / MANIFEST).unlink()
    with pytest.raises(MonitoringError, match="no reference that pixloop wrote"):
        load_reference(bundle.path / "graphs")


# ---- What moves


def test_what_changes_in_a_picture_moves_its_signals(classifier: Bundle) -> None:
    rng = np.random.default_rng(5)
    extractor, predictor = Extractor.open(classifier), open_predictor(classifier)
    pictures = [colour_picture(rng, i % 3, 0.3) for i in range(60)]
    moved = extractor.measure(pictures, predictor.predict(pictures))
    usual = read_reference(classifier)
    for name in ("embedding:distance", "brightness", "confidence"):
        before, after = (
            np.median(column(classifier, name, v)) for v in (usual.values, moved.values)
        )
        assert (after > before) == (name == "embedding:distance"), name


def test_what_cannot_be_read_is_not_a_number(classifier: Bundle) -> None:
    extractor = Extractor.open(classifier)
    answer = Prediction("red", 0.5, {"red": 0.5, "green": 0.3, "blue": 0.2})
    values = extractor.measure([b"no picture"], [answer]).values[0]
    known = [s.group in ("outputs", "classes") for s in extractor.signals]
    assert np.array_equal(np.isfinite(values), known)
    nothing = extractor.measure([], [])
    assert nothing.values.shape == (0, len(extractor.signals))
    assert nothing.embeddings.shape == (0, 3)
    with pytest.raises(ValueError, match="1 pictures have 0 answers"):
        extractor.measure([b""], [])


def test_boxes_are_counted_class_by_class(detector: Bundle) -> None:
    picture, _ = scene_picture(np.random.default_rng(3), [0, 2])
    answers = open_predictor(detector).predict([picture])
    values = Extractor.open(detector).measure([picture], answers).values
    found = {n: column(detector, n, values)[0] for n in ("boxes", "class:red", "class:green")}
    assert found == {"boxes": 2, "class:red": 1, "class:green": 0}


# ---- The cut


def test_the_embedding_is_what_the_logits_are_made_of(tmp_path: Path) -> None:
    write_linear_graph(tmp_path / "graphs/model.onnx")
    picture = colour_picture(np.random.default_rng(1), 1)
    found = find_cut(tmp_path, manifest())
    assert not isinstance(found, str)
    cut, place = found
    assert (cut.graph, cut.tensor) == ("onnx", "seen")
    assert makes_answers(tmp_path, manifest(), cut, place, picture)
    assert place.weights is not None
    wrong = dataclasses.replace(place, weights=place.weights + 0.5)
    assert not makes_answers(tmp_path, manifest(), cut, wrong, picture)
    lost = cut.model_copy(update={"tensor": "gone"})
    with pytest.raises(MonitoringError, match="no tensor 'gone'"):
        Embedder(tmp_path, manifest(), lost, 1)(picture)


def test_without_a_known_graph_it_is_said_why_there_is_no_embedding(tmp_path: Path) -> None:
    torch = Graph(format="torchscript", file="graphs/model.pt")
    assert "no float32 graph" in str(find_cut(tmp_path, manifest(graphs=(torch,))))


def test_components_are_those_of_the_data_however_many_there_are() -> None:
    rng = np.random.default_rng(0)
    for width in (6, 300):  # the second is decomposed only as far as needed
        scales = np.concatenate([[9, 7, 5, 4], np.full(width - 4, 0.01)])
        turn, _ = np.linalg.qr(rng.normal(size=(width, width)))
        data = (rng.normal(size=(400, width)) * scales @ turn.T + 3).astype(np.float32)
        projection = fit_projection(data)
        assert projection is not None
        projected = projection.project(data)
        assert np.allclose(projected[:, :4].std(axis=0), scales[:4], rtol=0.15)
        assert np.abs(np.diag(projection.components[:, :4].T @ turn[:, :4])).min() > 0.9
        # Mahalanobis: the mean of its square is the number of directions, but for the shrinkage.
        assert projection.distance(projected[:, :])[0] > 0
    assert fit_projection(np.ones((100, 5), np.float32)) is None
    assert fit_projection(np.ones((2, 5), np.float32)) is None


# ---- Answers


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"label": "cat"}, "'cat', which is no class"),
        ({"score": "much"}, "no answer of a pixloop server"),
        ({"boxes": [], "width": 1, "height": 1}, "not one of a model for classification"),
        ({"probabilities": None}, "no answer of a pixloop server"),
    ],
)
def test_an_answer_of_another_model_is_refused(change: dict[str, object], says: str) -> None:
    good = {"label": "red", "score": 0.9, "decision": "accept"}
    good |= {"probabilities": {"red": 0.9, "green": 0.1, "blue": 0}}
    assert parse_answer(good, manifest()).decision is Decision.ACCEPT  # type: ignore[union-attr]
    with pytest.raises(MonitoringError, match=says):
        parse_answer(good | change, manifest())


def test_no_box_is_an_answer(detector: Bundle) -> None:
    answer = parse_answer({"boxes": [], "width": 4, "height": 3}, detector.manifest)
    assert answer == Detection((), 4, 3)
