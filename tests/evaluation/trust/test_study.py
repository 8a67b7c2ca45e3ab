import json

import pytest
from tests.evaluation.html import Page
from tests.evaluation.trust.planted import HOSTILE, WRONG, write_planted
from tests.referenced_bundles import write_referenced_classifier, write_referenced_detector
from tests.small_bundles import COLOURS

from pixloop.config_file import parse_config
from pixloop.data.dataset import Dataset, DatasetWriter
from pixloop.evaluation.detection.detections import detect_split
from pixloop.evaluation.predictions import predict_split
from pixloop.evaluation.section import Subject
from pixloop.evaluation.trust.study import study_trust
from pixloop.serving.predictor import open_predictor


def subject(bundle, data, **keys):
    config = parse_config(
        {"task": data.info.task, "data": {"train": "."}, "trust": keys}, [], where="a test"
    )
    answer = detect_split if data.info.task == "detection" else predict_split
    answers = answer(open_predictor(bundle), data.split("test"), data.info.classes, "asking")
    return Subject(config, bundle, data, answers)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write_referenced_classifier(tmp_path_factory.mktemp("trust") / "colours")


@pytest.fixture(scope="module")
def section(bundle, tmp_path_factory):
    data = write_planted(tmp_path_factory.mktemp("trust") / "planted")
    return study_trust(subject(bundle, data))


def paths(entries):
    return [entry["path"] for entry in entries]


def test_planted_label_errors_are_the_list(section):
    review = section.content["review"]
    assert [entry["number"] for entry in review] == list(range(1, len(review) + 1))
    listed = {entry["path"] for entry in review if "looks the same" not in entry["detail"]}
    planted = {f"{split}/{i}.jpg" for split, rows in WRONG.items() for i in rows}
    planted = planted - {"train/3.jpg"} | {HOSTILE}
    assert listed - {"train/20.jpg", "train/59.jpg"} <= planted
    assert len(listed & planted) >= 4
    assert HOSTILE in listed
    labels = section.content["labels"]
    assert labels["judged"] == 120
    assert 4 <= labels["estimate"]["wrong"] <= 13
    assert labels["check"]["flipped"] == 6


def test_test_pictures_are_judged_by_the_model(section):
    entries = [entry for entry in section.content["review"] if entry["split"] == "test"]
    assert entries
    for entry in entries:
        number = int(entry["path"][5:-4])
        assert entry["likely"] == entry["answer"]["label"] == COLOURS[number % 3]
        assert entry["label"] == COLOURS[(number + 1) % 3]
        assert entry["weight"] > 0.5
        assert "by the model" in entry["detail"]


def test_a_leak_is_told_with_what_the_score_is_without_it(section):
    leaks = section.content["leaks"]
    assert [(pair["a"]["path"], pair["b"]["path"]) for pair in leaks["pairs"]] == [
        ("test/29.jpg", "train/10.jpg")
    ]
    assert leaks["pictures"] == 1
    right = round(leaks["value"] * 30)
    assert leaks["without"] == pytest.approx((right - 1) / 29)
    assert section.good is False


def test_duplicates_under_two_labels_come_first_and_both_are_for_review(section):
    duplicates = section.content["duplicates"]
    first = duplicates["pairs"][0]
    assert first["conflict"]
    assert {first["a"]["path"], first["b"]["path"]} == {"train/20.jpg", "train/59.jpg"}
    assert duplicates["conflicting"] == 1
    assert {"train/20.jpg", "train/59.jpg"} <= set(paths(section.content["review"]))
    assert "1 pair of the same picture under two labels" in section.verdict


def test_the_page_is_whole_and_hostile_names_are_text(section):
    page = Page(str(section.body))
    assert not page.all("script")
    assert all(image["src"].startswith("data:image/") for image in page.all("img"))
    assert all(image.get("alt") for image in page.all("img"))
    assert "&lt;script&gt;alert(" in section.body
    assert "pixloop review add 1" in section.body
    json.dumps(dict(section.content), allow_nan=False)


def test_it_can_be_turned_off_and_looks_at_no_more_than_asked(bundle, tmp_path):
    data = write_planted(tmp_path / "planted")
    assert study_trust(subject(bundle, data, pictures=0)) is None
    content = study_trust(subject(bundle, data, pictures=40)).content
    assert content["pictures"] == content["labels"]["judged"] == 40
    assert content["of"] == 120


def test_without_an_embedding_the_test_labels_are_judged_all_the_same(bundle, tmp_path):
    data = write_planted(tmp_path / "planted")
    bare = bundle.manifest.model_copy(update={"reference": None})
    blind = type(bundle)(bundle.path, bare)
    section = study_trust(subject(blind, data))
    assert section.content["labels"]["judged"] == 30
    assert {entry["split"] for entry in section.content["review"]} == {"test"}
    assert section.content["leaks"]["pairs"] == []
    assert "no embedding" in section.body


@pytest.mark.slow
def test_boxes_that_were_forgotten_are_found(tmp_path):
    bundle = write_referenced_detector(tmp_path / "things")
    whole = Dataset.open(tmp_path / "things-dataset")
    writer = DatasetWriter(tmp_path / "planted", whole.info.classes, "detection")
    forgotten = set()
    for split in ("train", "validation", "calibration", "test"):
        for i, row in enumerate(whole.split(split)):
            if i in (5, 11) and len(row.objects.labels):
                forgotten.add(row.path)
                kept = type(row.objects)(
                    *(
                        part[1:]
                        for part in (row.objects.boxes, row.objects.labels, row.objects.crowd)
                    )
                )
                row = type(row)(row.image, row.path, -1, row.width, row.height, row.sha256, kept)
            writer.add(split, row)
    writer.finish()
    section = study_trust(subject(bundle, Dataset.open(tmp_path / "planted")))
    review = section.content["review"]
    listed = {entry["path"] for entry in review if "not drawn" in entry["detail"]}
    assert listed <= forgotten
    assert len(listed) >= len(forgotten) / 2 >= 2
    assert section.content["labels"]["estimate"] is None
    assert "<svg" in section.body
    Page(str(section.body))
