import json
from typing import Any

import pytest

from pixloop.aws.functions.filter_sure import ThresholdNotMet, handler


@pytest.fixture(autouse=True)
def project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROJECT", "vehicles")


def event(prediction: dict[str, Any]) -> dict[str, Any]:
    return {"picture": "s3://b/a.jpg", "model": "vehicles:3", "prediction": prediction}


def box(decision: str, label: str = "bus") -> dict[str, Any]:
    return {"label": label, "score": 0.5, "xyxy": [0, 0, 1, 1], "decision": decision}


SURE = {"label": "bus", "score": 0.99, "decision": "accept", "probabilities": {}}
UNSURE = SURE | {"score": 0.4123, "decision": "refer"}


@pytest.mark.parametrize(
    "prediction", [SURE, {"boxes": []}, {"boxes": [box("accept"), box("accept")]}]
)
def test_what_is_sure_passes_as_it_came(
    prediction: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert handler(event(prediction), None) == event(prediction)
    said = json.loads(capsys.readouterr().out)
    assert (said["Accepted"], said["Referred"]) == (1, 0)


@pytest.mark.parametrize(
    ("prediction", "says"),
    [
        (UNSURE, "bus 0.412"),
        (SURE | {"decision": "later"}, "bus 0.990"),
        ({"boxes": [box("accept"), box("refer", "car"), box("refer")]}, "car 0.500, bus 0.500"),
    ],
)
def test_what_is_not_sure_is_refused_with_label_and_score(
    prediction: dict[str, Any], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ThresholdNotMet, match=says):
        handler(event(prediction), None)
    said = json.loads(capsys.readouterr().out)
    assert (said["Accepted"], said["Referred"]) == (0, 1)


def test_counts_are_in_cloudwatchs_format(capsys: pytest.CaptureFixture[str]) -> None:
    handler(event(SURE), None)
    (line,) = capsys.readouterr().out.splitlines()
    said = json.loads(line)
    (described,) = said["_aws"]["CloudWatchMetrics"]
    assert isinstance(said["_aws"]["Timestamp"], int)
    assert described["Namespace"] == "pixloop"
    assert described["Dimensions"] == [["Project"]]
    assert said["Project"] == "vehicles"
    assert [metric["Name"] for metric in described["Metrics"]] == ["Accepted", "Referred"]
    assert all(isinstance(said[metric["Name"]], int) for metric in described["Metrics"])
