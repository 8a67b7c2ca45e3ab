"""evaluation.json is the report's twin: what one shows, the other holds."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.evaluation.html import visible_text
from tests.evaluation.numbers import measured_numbers, missing_numbers
from tests.evaluation.test_report import CERTIFICATE, DATA_REPORT, HISTORY

from pixloop.bundle import Bundle
from pixloop.config import GateConfig
from pixloop.data.dataset import Dataset
from pixloop.evaluation.document import Document, describe_evidence
from pixloop.evaluation.page import Evidence
from pixloop.evaluation.predictions import Predictions, predict_split
from pixloop.evaluation.report import render_report
from pixloop.evaluation.summary import summarise
from pixloop.serving.predictor import open_predictor

Maker = Callable[..., Path]


@pytest.fixture
def evaluated(make_bundle: Maker, make_dataset: Maker) -> tuple[dict[str, Any], Evidence[Any]]:
    bundle, data = Bundle.open(make_bundle()), Dataset.open(make_dataset())
    answers: Predictions = predict_split(
        open_predictor(bundle), data.split("test"), data.info.classes, "scoring"
    )
    evidence = Evidence(bundle.manifest, data, answers, CERTIFICATE, DATA_REPORT, HISTORY)
    summary = summarise(bundle.manifest, answers, GateConfig(minimum=0.5), None)
    return {**summary, **describe_evidence(summary, evidence)}, evidence


def test_has_the_form(evaluated: tuple[dict[str, Any], Evidence[Any]]) -> None:
    found = Document.model_validate(evaluated[0])
    assert found.verdict.ship in ("yes", "with care")
    assert len(found.verdict.sentences) == 3
    assert "risk_curve" in Document.model_json_schema()["properties"]


def test_every_measured_number_of_the_page_is_in_it(
    evaluated: tuple[dict[str, Any], Evidence[Any]],
) -> None:
    summary, evidence = evaluated
    text = visible_text(render_report(summary, evidence))
    assert len(measured_numbers(text)) > 20
    missing = missing_numbers(text, summary)
    assert len(missing) <= 2, missing  # accepted and right, accepted and wrong: of two numbers
