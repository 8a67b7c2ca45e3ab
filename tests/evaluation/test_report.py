import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.evaluation.html import Page, assert_accessible, assert_own_script, assert_standalone

from pixloop.bundle import Bundle
from pixloop.config import GateConfig
from pixloop.data.dataset import Dataset
from pixloop.evaluation.page import Evidence
from pixloop.evaluation.predictions import Predictions, predict_split
from pixloop.evaluation.report import render_report
from pixloop.evaluation.summary import summarise
from pixloop.serving.predictor import open_predictor

Maker = Callable[..., Path]
HOSTILE = ('<script>alert("1")</script>', "a' onload='x", "{{ 7 * 7 }} & </style>")

HISTORY = {
    "epochs": 2,
    "best_epoch": 2,
    "weights_origin": "<b>none</b>",
    "head_only": {"loss": 1.2, "f1_macro": 0.2875},
    "history": [
        {"epoch": 0, "train_loss": None, "validation": {"loss": 1.1, "f1_macro": 0.3}},
        {"epoch": 1, "train_loss": 0.9, "validation": {"loss": 0.8, "f1_macro": 0.5}},
        {"epoch": 2, "train_loss": 0.6, "validation": {"loss": 0.7, "f1_macro": 0.6}},
    ],
}
DATA_REPORT = {
    "findings": [
        {
            "kind": "rotated",
            "severity": "info",
            "count": 2,
            "action": "turned upright",
            "examples": [],
        },
        {
            "kind": "corrupt",
            "severity": "warning",
            "count": 1,
            "action": "left out",
            "examples": [{"path": "<i>.jpg", "detail": "truncated"}],
        },
    ]
}
CERTIFICATE = {
    "batch_sizes": [17, 3, 1],
    "graphs": [
        {
            "format": "onnx",
            "verdict": "agrees",
            "reason": "",
            "top1_agreement": 1.0,
            "largest_probability_difference": 2e-6,
            "latency_ms": 3.25,
        },
        {
            "format": "openvino",
            "precision": "int8",
            "verdict": "refused",
            "reason": "it <changed> answers",
        },
    ],
}


@pytest.fixture
def render(make_bundle: Maker, make_dataset: Maker) -> Callable[..., str]:
    def make(classes: tuple[str, ...] = ("blue", "green", "red"), **more: Any) -> str:
        bundle = Bundle.open(make_bundle(classes=classes, name=more.pop("name", "colours")))
        dataset = Dataset.open(make_dataset(classes=classes))
        predictions = predict_split(
            open_predictor(bundle), dataset.split("test"), classes, "scoring"
        )
        gate = more.pop("gate", GateConfig(minimum=0.5))
        evidence = Evidence(
            manifest=bundle.manifest,
            dataset=dataset,
            answers=predictions,
            certificate=CERTIFICATE,
            data_report=DATA_REPORT,
            training=more.pop("training", HISTORY),
        )
        return render_report(summarise(bundle.manifest, predictions, gate, None), evidence)

    return make


def test_the_page_is_whole_and_needs_nothing_else(render: Callable[..., str]) -> None:
    assert_standalone(render())


def test_text_from_outside_stays_text(render: Callable[..., str]) -> None:
    text = render(classes=HOSTILE, name="colours")
    page = Page(text)
    assert_own_script(text)
    assert not page.all("i") or all("class" in a for a in page.all("i"))
    assert not any(key.startswith("on") for _, a in page.elements for key in a)
    assert "&lt;script&gt;" in text
    assert "{{ 7 * 7 }} &amp; &lt;/style&gt;" in text
    assert "&lt;b&gt;none&lt;/b&gt;" in text
    assert "<b>openvino-int8</b> was refused: it &lt;changed&gt; answers" in text
    assert "&lt;i&gt;.jpg" in text


def test_links_work_and_all_can_be_read_aloud(render: Callable[..., str]) -> None:
    assert_accessible(render())


def test_the_verdict_says_what_failed(render: Callable[..., str]) -> None:
    passed, refused = render(), render(gate=GateConfig(minimum=0.999))
    assert "Meets the gate" in passed
    assert "Refused by the gate" not in passed
    assert "Refused by the gate" in refused
    assert re.search(r"f1_macro is 0\.\d+, 0\.\d+ below 0\.999", refused)


def test_shows_mistakes_graphs_training_and_findings(render: Callable[..., str]) -> None:
    text = render()
    for words in (
        "Worst mistakes",
        "Least sure",
        "3.2 ms",
        "refused",
        "First the last layers learned",
        "0.287 with the head alone, 0.300 with all of them",
        "2 epochs of the whole network; epoch 2 was the best",
        "1 corrupt or truncated picture",
        "training.epochs",
    ):
        assert words in text, words
    # The gravest finding comes first.
    assert text.index("corrupt or truncated") < text.index("lay on their side")


def test_tells_where_only_the_last_layers_learned(render: Callable[..., str]) -> None:
    first = HISTORY | {"epochs": 0, "best_epoch": 0, "history": HISTORY["history"][:1]}
    text = render(training=first)
    assert "Only the last layers learned" in text
    assert "epochs of the whole network" not in text
    assert "<b>Loss</b>" not in text


def test_parts_without_their_file_are_left_out(make_bundle: Maker, make_dataset: Maker) -> None:
    bundle, dataset = Bundle.open(make_bundle()), Dataset.open(make_dataset())
    predictions = predict_split(
        open_predictor(bundle), dataset.split("test"), dataset.info.classes, "scoring"
    )
    summary = summarise(bundle.manifest, predictions, GateConfig(), None)
    page = Page(render_report(summary, Evidence(bundle.manifest, dataset, predictions)))
    sections = {a.get("id") for a in page.all("section")}
    assert "lineage" in sections
    assert not sections & {"graphs", "training"}


def test_a_hundred_classes_still_read_well(make_bundle: Maker, make_dataset: Maker) -> None:
    rng = np.random.default_rng(0)
    names = tuple(f"class {k:02d}" for k in range(100))
    bundle, dataset = Bundle.open(make_bundle()), Dataset.open(make_dataset(pictures=300))
    probabilities = rng.dirichlet(np.full(100, 0.05), 300)
    predictions = Predictions(
        classes=names,
        paths=tuple(str(i) for i in range(300)),
        sha256=("0" * 64,) * 300,
        targets=np.where(rng.random(300) < 0.8, probabilities.argmax(1), rng.integers(0, 100, 300)),
        probabilities=probabilities,
        uncalibrated=probabilities,
        accepted=probabilities.max(axis=1) > 0.5,
    )
    summary = summarise(bundle.manifest, predictions, GateConfig(), None)
    text = render_report(summary, Evidence(bundle.manifest, dataset, predictions))
    page = Page(text)
    assert not [a for a in page.all("table") if a.get("class") == "matrix"]
    assert "The other 85 classes" in text
    assert len(text) < 2_500_000


@pytest.mark.integration
def test_opens_in_a_browser(render: Callable[..., str], tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no chromium here")
    page, picture = tmp_path / "report.html", tmp_path / "report.png"
    page.write_text(render(), encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--window-size=500,800"]
    done = subprocess.run(
        [browser, *options, "--enable-logging=stderr", f"--screenshot={picture}", page.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert picture.stat().st_size > 10_000
    # What the content security policy refuses, and what does not parse, is said there.
    assert "CONSOLE" not in done.stderr
