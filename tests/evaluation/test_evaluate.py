import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import f1_score, log_loss
from tests.evaluation.bundles import read_strict_json
from tests.small_bundles import by_class
from tests.without_studies import NO_STUDIES_SET

from pixloop.bundle import ARCHIVE, Bundle
from pixloop.config import Config
from pixloop.config_file import parse_config
from pixloop.data.dataset import DatasetWriter
from pixloop.errors import BundleError, DataError
from pixloop.evaluation.evaluate import evaluate
from pixloop.files import pack
from pixloop.serving.predictor import open_predictor

Maker = Callable[..., Path]


@pytest.fixture
def config() -> Config:
    return parse_config(
        {"task": "classification", "data": "."}, ["gate.minimum=0.5", *NO_STUDIES_SET]
    )


def test_writes_numbers_rows_and_report(
    config: Config, make_bundle: Maker, make_dataset: Maker, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    found = evaluate(config, make_bundle(), make_dataset(), output)
    written = read_strict_json(output / "evaluation.json")
    assert written == found.content
    rows = pq.read_table(output / "predictions.parquet").to_pylist()
    assert len(rows) == written["pixloop"]["pictures"] == 60
    right = np.mean([row["label"] == row["predicted"] for row in rows])
    assert 0.5 < right < 1, "the test needs some mistakes"
    assert found.metrics["accuracy"] == pytest.approx(right)
    labels, answers = [r["label"] for r in rows], [r["predicted"] for r in rows]
    assert found.metrics["f1_macro"] == pytest.approx(f1_score(labels, answers, average="macro"))
    probabilities = np.array([r["probabilities"] for r in rows])
    assert found.metrics["log_loss"] == pytest.approx(log_loss(labels, probabilities))
    quality = written["multiclass_classification_metrics"]
    assert quality["accuracy"]["value"] == pytest.approx(right)
    assert "<html" in (output / "report.html").read_text(encoding="utf-8")


def test_scores_what_the_server_answers(
    config: Config, make_bundle: Maker, make_dataset: Maker, tmp_path: Path
) -> None:
    bundle, dataset = make_bundle(), make_dataset()
    evaluate(config, bundle, dataset, tmp_path / "out")
    rows = pq.read_table(tmp_path / "out" / "predictions.parquet").to_pylist()
    pictures = pq.read_table(dataset / "test")["image"].to_pylist()
    served = open_predictor(Bundle.open(bundle)).predict([p["bytes"] for p in pictures])
    for row, answer in zip(rows, served, strict=True):
        assert (row["predicted"], row["decision"]) == (answer.label, str(answer.decision))
        assert row["score"] == answer.score
    assert {row["decision"] for row in rows} == {"accept", "refer"}
    summary = read_strict_json(tmp_path / "out" / "evaluation.json")["pixloop"]["threshold"]
    taken = [row for row in rows if row["decision"] == "accept"]
    assert summary["accepted"] == len(taken)
    assert summary["error"] == pytest.approx(np.mean([r["label"] != r["predicted"] for r in taken]))


def test_compares_with_the_champion_on_the_same_pictures(
    config: Config, make_bundle: Maker, make_dataset: Maker, tmp_path: Path
) -> None:
    dataset, good, bad = make_dataset(), make_bundle(), make_bundle(skill=-4.0)
    better = evaluate(config, good, dataset, tmp_path / "a", champion=bad).content["pixloop"]
    worse = evaluate(config, bad, dataset, tmp_path / "b", champion=good).content["pixloop"]
    same = evaluate(config, good, dataset, tmp_path / "c", champion=good).content["pixloop"]
    assert better["comparison"]["difference"] == pytest.approx(-worse["comparison"]["difference"])
    assert better["comparison"]["difference"] > 0.5
    assert better["comparison"]["gained"] == worse["comparison"]["lost"] > 0
    assert same["comparison"]["difference"] == 0
    assert (better["gate"]["passes"], same["gate"]["passes"]) == (True, True)
    assert [("champion" in f) for f in worse["gate"]["failures"]] == [False, True]


def test_without_a_champion_its_value_is_nothing(
    config: Config, make_bundle: Maker, make_dataset: Maker, tmp_path: Path
) -> None:
    found = evaluate(config, make_bundle(), make_dataset(), tmp_path / "out").content["pixloop"]
    assert found["comparison"]["difference"] == found["metrics"]["f1_macro"]
    assert (found["comparison"]["champion"], found["comparison"]["champion_value"]) == (False, 0)


def test_a_champions_place_may_say_that_there_is_none_yet(
    config: Config, make_bundle: Maker, make_dataset: Maker, tmp_path: Path
) -> None:
    place = tmp_path / "champion"
    place.mkdir()
    with pytest.raises(BundleError, match="champion holds no model bundle"):
        evaluate(config, make_bundle(), make_dataset(), tmp_path / "a", champion=place)
    (place / "none.json").write_text("{}")
    found = evaluate(config, make_bundle(), make_dataset(), tmp_path / "b", champion=place)
    assert found.content["pixloop"]["comparison"]["champion"] is False
    assert "There is none to compare with." in (tmp_path / "b/report.html").read_text()
    pack(make_bundle(), place / "model.tar.gz")  # the word may still lie beside the first champion
    found = evaluate(config, make_bundle(), make_dataset(), tmp_path / "c", champion=place)
    comparison = found.content["pixloop"]["comparison"]
    assert (comparison["champion"], comparison["difference"]) == (True, 0)


def test_answers_are_compared_by_name_not_by_place(
    config: Config, make_bundle: Maker, make_dataset: Maker, tmp_path: Path
) -> None:
    # The graph's three outputs are blue, green, red; naming them otherwise makes it wrong.
    plain, turned = make_dataset(muddle=0.2), ("red", "green", "blue")
    right = evaluate(config, make_bundle(), plain, tmp_path / "a")
    wrong = evaluate(config, make_bundle(classes=turned), plain, tmp_path / "b")
    assert right.metrics["accuracy"] == 1
    assert wrong.metrics["accuracy"] == pytest.approx(1 / 3)


def test_finds_the_bundle_wherever_a_step_put_it(
    config: Config, make_bundle: Maker, make_dataset: Maker, tmp_path: Path
) -> None:
    bundle, dataset = make_bundle(), make_dataset()
    packed = tmp_path / "packed"
    pack(bundle, packed / ARCHIVE)
    nested = tmp_path / "nested"
    nested.mkdir()
    bundle.rename(nested / "bundle")
    before = sorted(packed.rglob("*"))
    for place in (nested, packed, packed / ARCHIVE):
        assert evaluate(config, place, dataset, tmp_path / "out").metrics["accuracy"] > 0.5
    assert sorted(packed.rglob("*")) == before, "an input folder is left as it was"


def test_a_threshold_that_accepts_nothing_is_reported(
    config: Config, make_bundle: Maker, make_dataset: Maker, tmp_path: Path
) -> None:
    evaluate(config, make_bundle(score=None), make_dataset(), tmp_path / "out")
    threshold = read_strict_json(tmp_path / "out" / "evaluation.json")["pixloop"]["threshold"]
    assert (threshold["score"], threshold["accepted"], threshold["error"]) == (None, 0, None)
    report = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "Refers every picture" in report


def test_each_class_is_accepted_by_its_own_threshold(
    config: Config, make_bundle: Maker, make_dataset: Maker, tmp_path: Path
) -> None:
    least = {"blue": 0.5, "green": 0.95, "red": None}
    bundle = make_bundle(threshold=by_class(**least))
    evaluate(config, bundle, make_dataset(), tmp_path / "out")
    rows = pq.read_table(tmp_path / "out" / "predictions.parquet").to_pylist()
    for row in rows:
        own = least[row["predicted"]]
        right = "accept" if own is not None and row["score"] >= own else "refer"
        assert row["decision"] == right
    found = read_strict_json(tmp_path / "out" / "evaluation.json")["pixloop"]["threshold"]
    assert (found["by"], found["met"], found["score"]) == ("class", True, None)
    assert [(g["classes"], g["score"], g["met"]) for g in found["groups"]] == [
        (["blue"], 0.5, True),
        (["green"], 0.95, True),
        (["red"], None, False),
    ]
    for label, group in zip(least, found["groups"], strict=True):
        named = [row for row in rows if row["predicted"] == label]
        taken = [row for row in named if row["decision"] == "accept"]
        wrong = sum(row["label"] != label for row in taken)
        assert (group["answered"], group["accepted"]) == (len(named), len(taken))
        assert (group["wrong"], group["calibration_pictures"]) == (wrong, 300)
        assert found["classes"][label]["accepted"] == len(taken)
    assert found["accepted"] == sum(group["accepted"] for group in found["groups"]) > 0
    report = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "Nothing is accepted of red" in report
    assert "the 3 groups" in report


@pytest.mark.parametrize("file", ["graphs/model.onnx", "certificate.json"])
def test_a_damaged_bundle_is_refused(
    file: str, config: Config, make_bundle: Maker, make_dataset: Maker, tmp_path: Path
) -> None:
    bundle = make_bundle()
    (bundle / file).write_bytes(b"other")
    with pytest.raises(BundleError, match=file):
        evaluate(config, bundle, make_dataset(), tmp_path / "out")
    assert not (tmp_path / "out" / "evaluation.json").exists()


def test_no_bundle_is_refused(config: Config, make_dataset: Maker, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="holds no model bundle"):
        evaluate(config, tmp_path, make_dataset(), tmp_path / "out")


def test_other_classes_are_refused(
    config: Config, make_bundle: Maker, make_dataset: Maker, tmp_path: Path
) -> None:
    with pytest.raises(BundleError, match="a, b, c"):
        evaluate(config, make_bundle(), make_dataset(classes=("a", "b", "c")), tmp_path / "out")


def test_a_champion_of_other_classes_is_still_compared(
    config: Config, make_bundle: Maker, make_dataset: Maker, tmp_path: Path
) -> None:
    champion = make_bundle(classes=("blue", "green", "cyan"))
    found = evaluate(config, make_bundle(), make_dataset(), tmp_path / "out", champion=champion)
    comparison = found.content["pixloop"]["comparison"]
    assert 0 < comparison["champion_value"] < comparison["value"]


def test_an_empty_test_split_is_refused(
    config: Config, make_bundle: Maker, make_dataset: Maker, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="no test pictures"):
        evaluate(config, make_bundle(), make_dataset(pictures=0), tmp_path / "out")


def test_a_broken_picture_is_named(
    config: Config, make_bundle: Maker, make_dataset: Maker, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=r"green/7\.png"):
        evaluate(config, make_bundle(), make_dataset(image=b"no picture"), tmp_path / "out")


def test_a_model_for_another_task_is_refused(
    config: Config, make_bundle: Maker, make_dataset: Maker, tmp_path: Path
) -> None:
    boxes = tmp_path / "boxes"
    DatasetWriter(boxes, ("blue", "green", "red"), "detection").finish()
    with pytest.raises(BundleError, match=r"a model for classification; .* one for detection"):
        evaluate(config, make_bundle(), boxes, tmp_path / "out")


def test_a_champion_for_another_task_is_refused(
    config: Config, make_bundle: Maker, make_dataset: Maker, tmp_path: Path
) -> None:
    champion = make_bundle()
    manifest = json.loads((champion / "bundle.json").read_text())
    (champion / "bundle.json").write_text(json.dumps(manifest | {"task": "detection"}))
    with pytest.raises(BundleError, match=r"champion .* is a model for detection"):
        evaluate(config, make_bundle(), make_dataset(), tmp_path / "out", champion=champion)
