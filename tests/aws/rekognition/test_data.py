"""What Rekognition Custom Labels gets, and what it says, each in its documented form."""

import io
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pixloop.acceptance import Acceptance
from pixloop.aws.rekognition import evaluation
from pixloop.aws.rekognition.answers import ask_rekognition, picture_size
from pixloop.aws.rekognition.data import convert, write_rekognition_data
from pixloop.aws.rekognition.evaluation import calibrate, convert_summary
from pixloop.config import DataConfig, ThresholdsConfig
from pixloop.data.dataset import Dataset
from pixloop.data.formats import read_samples
from pixloop.data.prepare import prepare
from pixloop.errors import AwsError


def test_manifests_name_every_picture_that_rekognition_takes(dataset: Path, tmp_path: Path) -> None:
    written = write_rekognition_data(dataset, tmp_path, "s3://b/rekognition/x")
    data = Dataset.open(dataset)
    rows = {row.sha256: row for name in ("train", "validation", "test") for row in data.split(name)}
    lines = [
        json.loads(line)
        for name in ("train", "test")
        for line in (tmp_path / f"{name}.manifest").read_text().splitlines()
    ]
    large = {key: row for key, row in rows.items() if row.width >= 64}
    assert {Path(line["source-ref"]).stem for line in lines} == set(large)
    assert written.left_out == Counter(
        {"have a side below 64 pixels": len(rows) - len(large)} if len(rows) > len(large) else {}
    )
    for line in lines:
        name = line["source-ref"].removeprefix("s3://b/rekognition/x/")
        row = large[Path(name).stem]
        assert line["label-metadata"]["class-name"] == data.info.classes[row.label]
        with Image.open(tmp_path / name) as picture:
            assert picture.format in ("JPEG", "PNG")
            assert picture.size == (row.width, row.height)
    assert written.lines == {
        name: len((tmp_path / f"{name}.manifest").read_text().splitlines())
        for name in ("train", "test")
    }


def test_calibration_pictures_stay_out(dataset: Path, tmp_path: Path) -> None:
    write_rekognition_data(dataset, tmp_path, "s3://b/x")
    held_back = {row.sha256 for row in Dataset.open(dataset).split("calibration")}
    assert held_back
    assert not held_back & {file.stem for file in (tmp_path / "pictures").iterdir()}


def test_our_own_reader_understands_the_manifest(dataset: Path, tmp_path: Path) -> None:
    write_rekognition_data(dataset, tmp_path, "s3://b/x")
    labels = {sample.label for sample in read_samples(tmp_path / "train.manifest", "manifest")}
    assert labels == {"blue", "red"}


def test_a_data_set_that_rekognition_cannot_use_says_why(
    write_colours: Callable[..., None], tmp_path: Path
) -> None:
    write_colours(tmp_path / "pictures", 20, side=40)
    prepare(DataConfig(train="."), tmp_path / "pictures", None, tmp_path / "d", tmp_path / "w")
    with pytest.raises(AwsError, match="pictures have a side below 64 pixels"):
        write_rekognition_data(tmp_path / "d", tmp_path / "out", "s3://b/x")


def test_boxes_become_annotations(tmp_path: Path) -> None:
    folder = tmp_path / "coco"
    folder.mkdir()
    images, annotations = [], []
    random = np.random.default_rng(0)
    for i in range(12):
        pixels = random.integers(0, 255, (90, 120, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
        images.append({"id": i, "file_name": f"{i}.png", "width": 120, "height": 90})
        if i:
            annotations.append(
                {"id": i, "image_id": i, "category_id": 7, "bbox": [10, 20, 30.5, 40], "iscrowd": 0}
            )
    # Beside each, a crowd that is no object to learn.
    for i in range(1, 12):
        crowd = {"id": 20 + i, "image_id": i, "category_id": 7, "bbox": [50, 20, 9, 9]}
        annotations.append({**crowd, "iscrowd": 1})
    categories = [{"id": 7, "name": "star"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "labels.json").write_text(json.dumps(content))
    prepare(
        DataConfig(train=".", test_share=0.4),
        folder,
        None,
        tmp_path / "d",
        tmp_path / "w",
        "detection",
    )
    written = write_rekognition_data(tmp_path / "d", tmp_path / "out", "s3://b/x")
    line = json.loads((tmp_path / "out/train.manifest").read_text().splitlines()[0])
    assert line["bounding-box"]["image_size"] == [{"width": 120, "height": 90, "depth": 3}]
    (box,) = line["bounding-box"]["annotations"]
    assert box == {"class_id": 0, "left": 10, "top": 20, "width": 30, "height": 40}
    assert line["bounding-box-metadata"]["class-map"] == {"0": "star"}
    assert sum(written.lines.values()) + sum(written.left_out.values()) <= 12


# ---- what it says


def test_a_summary_becomes_our_evaluation(summary: dict[str, Any]) -> None:
    evaluation = convert_summary(summary, "data-1")
    metrics = evaluation["pixloop"]["metrics"]
    assert metrics["accuracy"] == pytest.approx(28 / 30)
    # blue: precision 18/18, recall 18/20; red: precision 10/12, recall 10/10
    f1 = (2 * 0.9 / 1.9 + 2 * (10 / 12) / (1 + 10 / 12)) / 2
    assert metrics["f1_macro"] == pytest.approx(f1)
    matrix = evaluation["multiclass_classification_metrics"]["confusion_matrix"]
    assert matrix == {"blue": {"blue": 18, "red": 2}, "red": {"blue": 0, "red": 10}}
    assert evaluation["pixloop"]["pictures"] == 30


def test_a_summary_of_boxes_keeps_rekognitions_own_numbers(summary: dict[str, Any]) -> None:
    results = {"Metrics": {"Precision": 0.8, "AveragePrecision": 0.66}}
    evaluation = convert_summary({**summary, "AggregatedEvaluationResults": results}, "data-1")
    assert evaluation["pixloop"]["metrics"] == pytest.approx(
        {"f1_macro": 0.9, "precision_macro": 0.8, "recall_macro": 0.7}
    )
    assert evaluation["pixloop"]["rekognition"]["average_precision"] == 0.66


class Client:
    """What a running version would answer."""

    def __init__(self, *labels: dict[str, object]) -> None:
        self.labels, self.asked = labels, []

    def detect_custom_labels(self, **request: object) -> dict[str, object]:
        self.asked.append(request)
        return {"CustomLabels": list(self.labels)}


def encode(size: tuple[int, int], format_: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size).save(buffer, format_, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("threshold", "decision"), [(0.9, "accept"), (0.95, "refer"), (None, "refer")]
)
def test_labels_become_a_prediction(threshold: float | None, decision: str) -> None:
    client = Client({"Name": "red", "Confidence": 6.5}, {"Name": "blue", "Confidence": 93.5})
    answer = ask_rekognition(client, "arn", b"picture", model="m", acceptance=Acceptance(threshold))
    assert answer == {
        "model": "m",
        "predictions": [
            {
                "label": "blue",
                "score": 0.935,
                "decision": decision,
                "probabilities": {"red": 0.065, "blue": 0.935},
            }
        ],
    }


def test_geometry_becomes_boxes_in_pixels() -> None:
    box = {"Left": 0.1, "Top": 0.2, "Width": 0.5, "Height": 0.25}
    client = Client({"Name": "star", "Confidence": 80.0, "Geometry": {"BoundingBox": box}})
    picture = encode((200, 100), "JPEG", progressive=True)
    answer = ask_rekognition(client, "arn", picture, model="m", acceptance=Acceptance(0.5))
    (prediction,) = answer["predictions"]
    assert prediction["boxes"] == [
        {"label": "star", "score": 0.8, "xyxy": [20, 20, 120, 45], "decision": "accept"}
    ]
    assert (prediction["width"], prediction["height"]) == (200, 100)


def test_nothing_found_is_referred() -> None:
    answer = ask_rekognition(Client(), "arn", b"picture", model="m", acceptance=Acceptance(0.1))
    assert answer["predictions"][0]["decision"] == "refer"


@pytest.mark.parametrize("format_", ["PNG", "JPEG"])
@pytest.mark.parametrize("size", [(1, 1), (300, 7), (4000, 3000)])
def test_sizes_are_read_from_headers(format_: str, size: tuple[int, int]) -> None:
    assert picture_size(encode(size, format_)) == size


@pytest.mark.parametrize(
    "picture", [b"", b"GIF89a", b"\xff\xd8\xff\xe0\x00\x10", b"\x89PNG\r\n\x1a\n\0"]
)
def test_what_has_no_size_says_so(picture: bytes) -> None:
    with pytest.raises(ValueError, match="picture"):
        picture_size(picture)


def test_calibration_asks_its_own_pictures_and_keeps_the_promise(dataset: Path) -> None:
    classes = Dataset.open(dataset).info.classes
    rows = [row for row in Dataset.open(dataset).split("calibration") if row.width >= 64]
    truth = {convert(row.image)[0]: classes[row.label] for row in rows}
    assert not truth.keys() >= {row.image for row in rows}  # some are WebP
    asked = []

    def ask(picture: bytes) -> dict[str, object]:
        asked.append(picture)
        return {"label": truth[picture], "score": 0.9}

    threshold = calibrate(ask, dataset, ThresholdsConfig(max_error=0.4, confidence=0.9))
    assert sorted(asked) == sorted(truth)
    assert all(picture.startswith((b"\x89PNG", b"\xff\xd8")) for picture in asked)
    assert threshold.score == pytest.approx(0.9)
    wrong = calibrate(
        lambda _: {"label": "?", "score": 0.9}, dataset, ThresholdsConfig(max_error=0.4)
    )
    assert wrong.score is None


def test_calibration_does_not_ask_what_rekognition_does_not_take(
    dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(picture: bytes) -> dict[str, object]:
        raise AssertionError(picture)

    monkeypatch.setattr(evaluation, "LARGEST_PICTURE_BYTES", 100)
    assert calibrate(ask, dataset, ThresholdsConfig()).pictures == 0


def test_each_class_has_its_own_threshold() -> None:
    own = Acceptance(None, {"red": 0.5, "blue": 0.95})
    for label, confidence, decision in (("red", 60, "accept"), ("blue", 93.5, "refer")):
        client = Client({"Name": label, "Confidence": confidence})
        answer = ask_rekognition(client, "arn", b"picture", model="m", acceptance=own)
        assert answer["predictions"][0]["decision"] == decision
