import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from markupsafe import Markup
from tests.evaluation.html import Page

from pixloop.bundle import Bundle
from pixloop.config_file import parse_config
from pixloop.data.dataset import Dataset
from pixloop.evaluation.card import write_card
from pixloop.evaluation.page import Evidence
from pixloop.evaluation.predictions import predict_split
from pixloop.evaluation.section import Section
from pixloop.evaluation.summary import summarise
from pixloop.serving.predictor import open_predictor

Maker = Callable[..., Path]
HOSTILE = ('<script>alert("1")</script>', "a | b' onload='x", "{{ 7 * 7 }} & </style>")
FRAGILE = Section("robustness", "Robustness", "Keeps 41 % under <noise>", False, {}, Markup(""))


@pytest.fixture
def write(make_bundle: Maker, make_dataset: Maker, tmp_path: Path) -> Callable[..., Any]:
    def make(
        settings: list[str], classes: tuple[str, ...] = ("blue", "green", "red"), **more: Any
    ) -> tuple[str, str]:
        bundle = Bundle.open(make_bundle(classes=classes))
        data = Dataset.open(make_dataset(classes=classes))
        answers = predict_split(open_predictor(bundle), data.split("test"), classes, "scoring")
        config = parse_config({"task": "classification", "data": "."}, settings)
        evidence = replace(Evidence(bundle.manifest, data, answers), **more)
        summary = summarise(bundle.manifest, answers, config.gate, None)
        write_card(summary, evidence, config, tmp_path)
        return (
            (tmp_path / "model_card.html").read_text(encoding="utf-8"),
            (tmp_path / "model_card.md").read_text(encoding="utf-8"),
        )

    return make


def test_what_people_said_is_there_and_what_they_did_not_say_has_a_key(
    write: Callable[..., Any],
) -> None:
    said = ["card.intended_use=Sorting waste", "card.license=MIT", "card.contact=a@example.org"]
    for text in write(said):
        assert "Sorting waste" in text
        assert "a@example.org" in text
        assert "card.intended_use" not in text
        for key in ("card.not_for", "card.data"):
            assert key in text.replace("\\_", "_"), key


def test_says_what_was_measured_and_what_was_not(write: Callable[..., Any]) -> None:
    for text in write([], sections=(FRAGILE,)):
        assert "Keeps 41 % under &lt;noise&gt;" in text
        assert "Not measured: whether it is weaker on some kinds of pictures" in text
        assert "Not measured: how it answers noisy" not in text
        assert "Fewer than 30 test pictures" in text
        assert re.search(r"95 % interval", text)


def test_nothing_from_outside_is_markup(write: Callable[..., Any]) -> None:
    html, markdown = write(["card.not_for=<img src=x onerror=y>"], classes=HOSTILE)
    page = Page(html)
    assert not page.all("script")
    assert not page.all("img")
    assert not any(key.startswith("on") for _, a in page.elements for key in a)
    body = markdown.split("---\n", 2)[2]
    assert "<" not in body
    # A sign in a class's name makes no further column.
    rows = [line for line in body.splitlines() if "onload" in line and line.startswith("|")]
    assert rows
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} <= {5, 6}


def test_the_hub_can_read_it(write: Callable[..., Any]) -> None:
    hub = pytest.importorskip("huggingface_hub")
    _, text = write(["card.license=Our own, ask"])
    front = yaml.safe_load(text.split("---\n")[1])
    assert (front["license"], front["license_name"]) == ("other", "Our own, ask")
    card = hub.ModelCard(text, ignore_metadata_errors=False)
    results = {each.metric_name: each.metric_value for each in card.data.eval_results}
    assert 0.5 < results["Accuracy"] < 1
    assert card.data.pipeline_tag == "image-classification"
    _, text = write(["card.license=Apache-2.0"])
    assert yaml.safe_load(text.split("---\n")[1])["license"] == "apache-2.0"
