"""evaluation.json is the report's twin: what one shows, the other holds."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.evaluation.html import visible_text
from tests.evaluation.test_report import CERTIFICATE, DATA_REPORT, HISTORY

from pixloop.bundle import Bundle
from pixloop.config import GateConfig
from pixloop.data.dataset import Dataset
from pixloop.evaluation.document import Document, describe_evidence
from pixloop.evaluation.formats import count, percent
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
    known = {form for number in numbers(summary) for form in forms(number)}
    shares = [n for n in numbers(summary) if 0 <= n <= 1]
    # The bar's parts are what these leave to one.
    known |= {percent(1 - share) for share in shares if 0 < share < 1}
    text = visible_text(render_report(summary, evidence))
    measured = re.findall(r"(?<![\w.])\d+\.\d{3}(?![\w.])|\d+(?:\.\d+)?\xa0%", text)
    assert len(measured) > 20
    said = {percent(0.95).replace(".0", ""), "95\xa0%", "80\xa0%", "100\xa0%", "0\xa0%"}
    missing = {each for each in measured if each not in known | said}
    assert len(missing) <= 2, missing  # accepted and right, accepted and wrong: of two numbers


def numbers(value: Any) -> Iterator[float]:
    """Every number in a JSON value."""
    if isinstance(value, dict):
        for inner in value.values():
            yield from numbers(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from numbers(inner)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield float(value)


def forms(number: float) -> Iterator[str]:
    """How the page may write it."""
    yield f"{number:.3f}"
    yield count(round(number))
    if 0 <= number <= 1:
        yield percent(number)
        yield percent(number, 2)
        yield f"{number * 100:.4g}\xa0%"
