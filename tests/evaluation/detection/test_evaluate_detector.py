from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from tests.evaluation.bundles import read_strict_json
from tests.evaluation.html import visible_text
from tests.evaluation.numbers import measured_numbers, missing_numbers
from tests.without_studies import NO_STUDIES_SET

from pixloop.bundle import BoxScores, Bundle
from pixloop.config import Config
from pixloop.config_file import parse_config
from pixloop.data.dataset import Dataset
from pixloop.errors import BundleError, DataError
from pixloop.evaluation.detection.precision import measure_precision
from pixloop.evaluation.evaluate import evaluate
from pixloop.serving.predictor import open_predictor

Maker = Callable[..., Path]
METRICS = {
    "map",
    "map_50",
    "map_75",
    "map_small",
    "map_medium",
    "map_large",
    "mean_iou",
    "precision_macro",
    "recall_macro",
    "f1_macro",
}


@pytest.fixture
def config() -> Config:
    return parse_config({"task": "detection", "data": "."}, ["gate.minimum=0.3", *NO_STUDIES_SET])


def test_writes_numbers_rows_and_report(
    config: Config, make_bundle: Maker, make_dataset: Maker, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    found = evaluate(config, make_bundle(), make_dataset(), output)
    written = read_strict_json(output / "evaluation.json")
    assert written == found.content
    assert set(found.metrics) >= METRICS
    assert 0.3 < found.metrics["map_50"] < 0.95, "the test needs some mistakes"
    assert (found.metrics["map_medium"], found.metrics["map_large"]) == (None, None)
    section = written["pixloop"]
    low, high = section["intervals"]["map_50"]
    assert low < found.metrics["map_50"] < high
    assert section["gate"] == {
        "metric": "map_50",
        "value": found.metrics["map_50"],
        "minimum": 0.3,
        "better_than_champion": True,
        "passes": True,
        "failures": [],
    }
    quality = written["object_detection_metrics"]
    assert quality["mean_average_precision_50"]["value"] == found.metrics["map_50"]
    assert quality["confusion_matrix"]["blue"]["(background)"] > 0
    assert "<html" in (output / "report.html").read_text(encoding="utf-8")


def test_the_numbers_follow_from_the_rows(
    config: Config, make_bundle: Maker, make_dataset: Maker, tmp_path: Path
) -> None:
    evaluate(config, make_bundle(), make_dataset(), tmp_path / "out")
    section = read_strict_json(tmp_path / "out" / "evaluation.json")["pixloop"]
    rows = pq.read_table(tmp_path / "out" / "predictions.parquet").to_pylist()
    boxes = [box for row in rows for box in row["boxes"]]
    true = [box for row in rows for box in row["true_boxes"]]
    right = [box for box in boxes if box["correct"]]
    assert (section["boxes"]["true"], section["boxes"]["answered"]) == (len(true), len(boxes))
    assert section["boxes"]["right"] == len(right) == sum(box["found"] for box in true)
    assert section["metrics"]["mean_iou"] == pytest.approx(np.mean([b["iou"] for b in right]))
    assert sum(section["iou_histogram"]["boxes"]) == len(right)
    for name, values in section["classes"].items():
        hits = sum(b["label"] == name for b in right)
        assert values["boxes"] == sum(b["label"] == name for b in true)
        assert values["recall"] == pytest.approx(hits / values["boxes"])
        assert values["precision"] == pytest.approx(hits / sum(b["label"] == name for b in boxes))
    macro = np.mean([values["f1"] for values in section["classes"].values()])
    assert section["metrics"]["f1_macro"] == pytest.approx(macro)
    taken = [[b for b in row["boxes"] if b["decision"] == "accept"] for row in rows]
    shares = [np.mean([not b["correct"] for b in each]) for each in taken if each]
    assert section["threshold"]["accepted"] == sum(map(len, taken))
    assert section["threshold"]["accepted_pictures"] == len(shares)
    assert section["threshold"]["error"] == pytest.approx(np.mean(shares))
    assert sum(c["share"] for c in section["causes"].values()) == pytest.approx(1)


def test_scores_what_the_server_answers(
    config: Config, make_bundle: Maker, make_dataset: Maker, tmp_path: Path
) -> None:
    bundle, dataset = make_bundle(), make_dataset()
    found = evaluate(config, bundle, dataset, tmp_path / "out")
    rows = pq.read_table(tmp_path / "out" / "predictions.parquet").to_pylist()
    test = Dataset.open(dataset).split("test")
    pictures = [row.image for row in test]
    predictor = open_predictor(Bundle.open(bundle))
    for row, answer in zip(rows, predictor.predict(pictures), strict=True):
        assert (row["width"], row["height"]) == (answer.width, answer.height)
        for box, served in zip(row["boxes"], answer.boxes, strict=True):
            assert (box["label"], box["score"]) == (served.label, served.score)
            assert (box["x1"], box["y1"], box["x2"], box["y2"]) == served.xyxy
            assert box["decision"] == str(served.decision)
    assert {b["decision"] for row in rows for b in row["boxes"]} == {"accept", "refer"}
    measured = measure_precision(predictor.find(pictures), test.objects, 3)
    assert found.metrics["map"] == measured.map


def test_compares_with_the_champion_on_the_same_pictures(
    config: Config, make_bundle: Maker, make_dataset: Maker, tmp_path: Path
) -> None:
    dataset, good, bad = make_dataset(), make_bundle(), make_bundle(order=(1, 0, 2))
    better = evaluate(config, good, dataset, tmp_path / "a", champion=bad).content["pixloop"]
    worse = evaluate(config, bad, dataset, tmp_path / "b", champion=good).content["pixloop"]
    same = evaluate(config, good, dataset, tmp_path / "c", champion=good).content["pixloop"]
    assert better["comparison"]["difference"] == pytest.approx(-worse["comparison"]["difference"])
    assert better["comparison"]["difference"] > 0.3
    assert better["comparison"]["gained"] == worse["comparison"]["lost"] > 0
    assert same["comparison"]["difference"] == same["comparison"]["gained"] == 0
    assert (better["gate"]["passes"], same["gate"]["passes"]) == (True, True)
    assert any("champion" in failure for failure in worse["gate"]["failures"])


def test_boxes_are_compared_by_name_not_by_place(
    config: Config, make_bundle: Maker, make_dataset: Maker, tmp_path: Path
) -> None:
    dataset = make_dataset()
    plain = evaluate(config, make_bundle(), dataset, tmp_path / "a")
    renamed = make_bundle(classes=("red", "blue", "green"), order=(2, 0, 1))
    found = evaluate(config, renamed, dataset, tmp_path / "b")
    assert found.metrics["map"] == plain.metrics["map"]
    for name, value in plain.metrics.items():
        assert found.metrics[name] == (value if value is None else pytest.approx(value, rel=1e-6))


def test_a_champion_of_other_classes_is_still_compared(
    config: Config, make_bundle: Maker, make_dataset: Maker, tmp_path: Path
) -> None:
    champion = make_bundle(classes=("blue", "green", "cyan"))
    found = evaluate(config, make_bundle(), make_dataset(), tmp_path / "out", champion=champion)
    comparison = found.content["pixloop"]["comparison"]
    assert 0 < comparison["champion_value"] < comparison["value"]
    assert comparison["lost"] == 0


def test_every_measured_number_of_the_page_is_in_evaluation_json(
    config: Config, make_bundle: Maker, make_dataset: Maker, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    content = evaluate(config, make_bundle(), make_dataset(), output).content
    text = visible_text((output / "report.html").read_text(encoding="utf-8"))
    assert len(measured_numbers(text)) > 20
    assert missing_numbers(text, content) == set()


def test_every_gate_metric_can_be_judged(
    make_bundle: Maker, make_dataset: Maker, tmp_path: Path
) -> None:
    bundle, dataset = make_bundle(), make_dataset(10)
    for metric in ("map", "map_50", "map_75", "f1_macro", "precision_macro", "recall_macro"):
        settings = ["gate.minimum=0.999", f"gate.metric={metric}", *NO_STUDIES_SET]
        config = parse_config({"task": "detection", "data": "."}, settings)
        found = evaluate(config, bundle, dataset, tmp_path / "out", champion=bundle)
        gate = found.content["pixloop"]["gate"]
        assert gate["value"] == found.metrics[metric]
        assert metric in gate["failures"][0]


def test_a_detector_that_answers_nothing(
    config: Config, make_bundle: Maker, make_dataset: Maker, tmp_path: Path
) -> None:
    bundle = make_bundle(box_scores=BoxScores(minimum=1.0), score=None)
    section = evaluate(config, bundle, make_dataset(), tmp_path / "out").content["pixloop"]
    assert section["boxes"]["answered"] == 0
    assert section["metrics"]["mean_iou"] is None
    assert section["threshold"]["error"] is None
    assert section["causes"]["missed"]["share"] == 1
    assert "Refers every box" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_other_classes_are_refused(
    config: Config, make_bundle: Maker, make_dataset: Maker, tmp_path: Path
) -> None:
    with pytest.raises(BundleError, match="a, b, c"):
        evaluate(config, make_bundle(), make_dataset(classes=("a", "b", "c")), tmp_path / "out")


def test_a_broken_picture_is_named(
    config: Config, make_bundle: Maker, make_dataset: Maker, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=r"squares/7\.png"):
        evaluate(config, make_bundle(), make_dataset(bad=b"no picture"), tmp_path / "out")


def test_nothing_to_find_is_refused(
    config: Config, make_bundle: Maker, make_dataset: Maker, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="no test pictures"):
        evaluate(config, make_bundle(), make_dataset(pictures=0), tmp_path / "out")
    with pytest.raises(DataError, match="none has a box"):
        evaluate(config, make_bundle(), make_dataset(empty=True), tmp_path / "out")
    assert not (tmp_path / "out" / "evaluation.json").exists()
