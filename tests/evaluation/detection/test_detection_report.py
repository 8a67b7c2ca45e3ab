import io
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.evaluation.detection.cases import found, objects, simulate
from tests.evaluation.detection.conftest import picture
from tests.evaluation.html import Page, assert_accessible, assert_own_script, assert_standalone

from pixloop.bundle import Bundle
from pixloop.config import GateConfig
from pixloop.data.dataset import Dataset, DatasetWriter, Row
from pixloop.evaluation.detection.detections import Detections, detect_split
from pixloop.evaluation.detection.report import render_detection_report
from pixloop.evaluation.detection.summary import summarise_detections
from pixloop.evaluation.page import Evidence
from pixloop.serving.detector import Detector
from pixloop.serving.predictor import open_predictor

Maker = Callable[..., Path]
HOSTILE = ('<script>alert("1")</script>', "a' onload='x", "{{ 7 * 7 }} & </style>")
GATE = GateConfig(metric="map_50", minimum=0.3)

CERTIFICATE = {
    "batch_sizes": [3, 1],
    "graphs": [
        {
            "format": "onnx",
            "verdict": "agrees",
            "reason": "",
            "matched_share": 1.0,
            "smallest_iou": 0.99987,
            "largest_score_difference": 2e-6,
            "latency_ms": 3.25,
            "pictures": 52,
            "conditions": [
                {
                    "condition": "pictures with <nothing> in them",
                    "pictures": 4,
                    "boxes": 0,
                    "matched_share": 1.0,
                    "smallest_iou": None,
                }
            ],
        },
        {
            "format": "openvino",
            "precision": "int8",
            "verdict": "refused",
            "reason": "it <moved> boxes",
        },
    ],
}
HISTORY = {
    "epochs": 2,
    "best_epoch": 2,
    "history": [
        {"epoch": 1, "train_loss": 0.9, "validation": {"map_50": 0.5}},
        {"epoch": 2, "train_loss": 0.6, "validation": {"map_50": 0.625}},
    ],
}
DATA_REPORT = {
    "findings": [
        {
            "kind": "corrupt",
            "severity": "warning",
            "count": 1,
            "action": "left out",
            "examples": [{"path": "<i>.jpg", "detail": "truncated"}],
        }
    ]
}


@pytest.fixture
def scored(make_bundle: Maker, make_dataset: Maker) -> Callable[..., tuple[Any, Dataset]]:
    def make(**more: Any) -> tuple[Evidence[Detections], Dataset]:
        classes = more.get("classes", ("blue", "green", "red"))
        bundle, dataset = (
            Bundle.open(make_bundle(**more)),
            Dataset.open(make_dataset(classes=classes)),
        )
        detector = open_predictor(bundle)
        assert isinstance(detector, Detector)
        answers = detect_split(detector, dataset.split("test"), classes, "scoring")
        evidence = Evidence(bundle.manifest, dataset, answers, CERTIFICATE, DATA_REPORT, HISTORY)
        return evidence, dataset

    return make


def render(evidence: Evidence[Detections], gate: GateConfig = GATE) -> str:
    summary = summarise_detections(evidence.manifest, evidence.answers, gate, None)
    return render_detection_report(summary, evidence)


def test_the_page_is_whole_and_needs_nothing_else(scored: Callable[..., Any]) -> None:
    assert_standalone(render(scored()[0]))


def test_links_work_and_all_can_be_read_aloud(scored: Callable[..., Any]) -> None:
    assert_accessible(render(scored()[0]))


def test_text_from_outside_stays_text(scored: Callable[..., Any]) -> None:
    text = render(scored(classes=HOSTILE)[0])
    page = Page(text)
    assert_own_script(text)
    assert all("class" in a for a in page.all("i"))
    assert not any(key.startswith("on") for _, a in page.elements for key in a)
    assert "&lt;script&gt;" in text
    assert "{{ 7 * 7 }} &amp; &lt;/style&gt;" in text
    assert "it &lt;moved&gt; boxes" in text
    assert "&lt;i&gt;.jpg" in text


def test_says_what_there_is(scored: Callable[..., Any]) -> None:
    evidence, _ = scored()
    text = render(evidence)
    summary = summarise_detections(evidence.manifest, evidence.answers, GATE, None)
    for words in (
        "Meets the gate",
        "mean AP50 on 40 test pictures",
        f"{summary['metrics']['map_50']:.3f}",
        f"{summary['metrics']['map_75']:.3f}",
        f"{summary['classes']['green']['recall']:.3f}",
        "wrong place",
        "Surest mistakes",
        "Missed",
        "Worst pictures",
        "0.9999",
        "2.0e-06",
        "3.2 ms",
        "with &lt;nothing&gt; in them",
        "epoch 2 was the best",
        "AP50, epoch 2: 0.625",
        "1 corrupt or truncated picture",
        "training.epochs",
        "40 test",
    ):
        assert words in text, words
    refused = render(evidence, GateConfig(metric="map_50", minimum=0.999))
    assert re.search(r"map_50 is 0\.\d+, 0\.\d+ below 0\.999", refused)


def test_mistakes_are_drawn_with_both_boxes(scored: Callable[..., Any]) -> None:
    page = Page(render(scored()[0]))
    kinds = {str(a.get("class")).split()[0] for a in page.all("g") if "class" in a}
    assert kinds >= {"true", "missed", "right", "wrong"}
    shots = [a for a in page.all("svg") if "shot" in str(a.get("class"))]
    pictures = page.all("image")
    assert len(shots) == len(pictures) > 10
    assert all(str(a["href"]).startswith("data:image/") for a in pictures)


def test_a_perfect_detector_has_nothing_to_show(tmp_path: Path, make_bundle: Maker) -> None:
    image, _ = picture(0)
    box = (0, 0, 20, 20)
    writer = DatasetWriter(tmp_path / "data", ("blue", "green", "red"), "detection")
    writer.add("test", Row(image, "1.png", -1, 64, 64, "0" * 64, objects((box, 0))))
    writer.finish()
    manifest = Bundle.open(make_bundle()).manifest
    answers = Detections(
        classes=("blue", "green", "red"),
        paths=("1.png",),
        sha256=("0" * 64,),
        found=(found((box, 0, 0.9)),),
        truth=(objects((box, 0)),),
        box_scores=manifest.box_scores,
        threshold=manifest.threshold,
    )
    text = render(Evidence(manifest, Dataset.open(tmp_path / "data"), answers))
    page = Page(text)
    assert "no mistake to show" in text
    assert "None: every true box is found" in text
    assert not {a.get("id") for a in page.all("section")} & {"graphs", "training"}
    # Two classes and two sizes have no true box, and so no average precision.
    assert text.count("–</b>") == 4


def test_a_hundred_classes_still_read_well(scored: Callable[..., Any]) -> None:
    evidence, _ = scored()
    names = tuple(f"class {k:02d}" for k in range(100))
    searched, truth = simulate(40, seed=0, classes=100)
    answers = replace(evidence.answers, classes=names, found=tuple(searched), truth=tuple(truth))
    text = render(replace(evidence, answers=answers))
    assert not [a for a in Page(text).all("table") if a.get("class") == "matrix"]
    assert "The other 85 classes" in text
    assert "for the weakest classes" in text


def test_many_large_pictures_make_a_small_page(tmp_path: Path, scored: Callable[..., Any]) -> None:
    evidence, _ = scored()
    rng = np.random.default_rng(0)
    buffer = io.BytesIO()
    noise = rng.integers(0, 255, (150, 200, 3)).astype(np.uint8)
    Image.fromarray(noise).resize((2400, 1800)).save(buffer, "JPEG")
    writer = DatasetWriter(tmp_path / "data", evidence.answers.classes, "detection")
    searched, truth = [], []
    for i in range(30):
        x = 40.0 * i
        truth.append(objects(((x, 100, x + 300, 500), 0), ((x, 900, x + 60, 960), 1)))
        searched.append(found(((x + 200, 200, x + 500, 600), 0, 0.9), side=2400))
        writer.add("test", Row(buffer.getvalue(), f"{i}.jpg", -1, 2400, 1800, str(i), truth[-1]))
    writer.finish()
    answers = replace(
        evidence.answers,
        paths=tuple(f"{i}.jpg" for i in range(30)),
        found=tuple(searched),
        truth=tuple(truth),
    )
    data = Dataset.open(tmp_path / "data")
    assert_standalone(render(replace(evidence, answers=answers, dataset=data)))


@pytest.mark.integration
def test_opens_in_a_browser(scored: Callable[..., Any], tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no chromium here")
    page, shot = tmp_path / "report.html", tmp_path / "report.png"
    page.write_text(render(scored()[0]), encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--window-size=500,800"]
    done = subprocess.run(
        [browser, *options, "--enable-logging=stderr", f"--screenshot={shot}", page.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert shot.stat().st_size > 10_000
    # What the content security policy refuses, and what does not parse, is said there.
    assert "CONSOLE" not in done.stderr
