"""The report's part about drift."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.evaluation.html import Page, assert_accessible, assert_standalone

from pixloop.config import Config
from pixloop.evaluation.evaluate import REPORT, evaluate
from pixloop.evaluation.odds import describe_odds
from pixloop.monitoring.odds import CleanOdds, CorruptionOdds, Odds
from pixloop.monitoring.reference import FOLDER, write_odds

CONFIG = Config.model_validate(
    {"name": "colours", "task": "classification", "data": {"train": "."}}
)
NAMES = ("fog", "frost", "gaussian_noise")


def case(name: str, severity: int, pictures: int | None) -> CorruptionOdds:
    return CorruptionOdds(
        corruption=name,
        severity=severity,
        pictures=pictures,
        noticed=0.9 if pictures else 0.1,
        signal="brightness",
        accuracy=0.9 - severity / 10,
        score=0.95 - severity / 20,
        mix_shift=severity / 20,
    )


def make_odds(pictures: int | None = 12, accuracy: float | None = 0.9) -> Odds:
    return Odds(
        false_alarm=0.01,
        most_pictures=2000,
        pictures=40,
        accuracy=accuracy,
        score=0.95,
        clean=CleanOdds(
            streams=200, pictures=300, reference=300, alarms=1, low=0.0001, high=0.0275
        ),
        corruptions=tuple(case(name, s, pictures) for name in NAMES for s in range(1, 6)),
    )


def test_a_row_a_corruption_a_cell_a_severity():
    drift = describe_odds(make_odds())
    assert drift is not None
    assert [row["name"] for row in drift["rows"]] == ["fog", "frost", "gaussian noise"]
    assert all(len(row["cells"]) == 5 for row in drift["rows"])
    assert drift["severities"] == [1, 2, 3, 4, 5]
    assert drift["noticed"] == 15


def test_sooner_is_stronger():
    shares = []
    for pictures in (1, 30, 2000, None):
        drift = describe_odds(make_odds(pictures))
        assert drift is not None
        shares.append(drift["rows"][0]["cells"][0]["share"])
    assert shares == sorted(shares, reverse=True)
    assert shares[0] == 1
    assert shares[-1] == 0


def test_what_is_exactly_so_is_estimated_without_error():
    drift = describe_odds(make_odds())
    assert drift is not None
    # Accuracy falls by twice the fall of scores.
    assert drift["accuracy"]["error"] == pytest.approx(0, abs=1e-6)
    assert drift["accuracy"]["plot"].count("<circle") == 30


def test_without_accuracies_there_is_no_plot():
    drift = describe_odds(make_odds(accuracy=None))
    assert drift is not None
    assert drift["accuracy"] is None


def test_what_was_not_measured_is_not_shown():
    assert describe_odds(None) is None
    nothing = make_odds().model_copy(update={"clean": None, "corruptions": ()})
    assert describe_odds(nothing) is None


@pytest.fixture
def report(make_bundle: Callable[..., Path], make_dataset: Callable[..., Path], tmp_path: Path):
    def make(odds: Odds | None) -> str:
        bundle, output = make_bundle(), tmp_path / "output"
        if odds is not None:
            write_odds(bundle / FOLDER, odds)
        evaluate(CONFIG, bundle, make_dataset(), output)
        return (output / REPORT).read_text(encoding="utf-8")

    return make


def test_the_report_shows_it(report):
    text = report(make_odds())
    assert_standalone(text)
    assert_accessible(text)
    assert "1 of 200 clean streams" in text
    assert 'href="#drift"' in text
    titles = [cell.get("title") or "" for cell in Page(text).all("td")]
    assert (
        "gaussian noise, severity 5; noticed in 90% of streams; first by brightness; accuracy 40%"
        in titles
    )


def test_the_report_says_what_is_not_noticed(report):
    text = report(make_odds(pictures=None))
    assert "A dash: not noticed" in text


def test_the_report_does_without(report):
    assert 'id="drift"' not in report(None)
