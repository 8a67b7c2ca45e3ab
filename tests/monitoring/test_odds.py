"""The odds of an alarm, with a model and a watcher of a few lines."""

import io
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.stats import binom

from pixloop.data.corruptions import CORRUPTIONS
from pixloop.decoding import decode_image
from pixloop.monitoring import odds as odds_module
from pixloop.monitoring.odds import Odds, Watched, measure_odds, rate_interval
from pixloop.monitoring.signals import Signal
from pixloop.records import Prediction

SIGNALS = (
    Signal("brightness", "picture", "brightness"),
    Signal("contrast", "picture", "contrast"),
    Signal("class:dark", "classes", "answers that say dark"),
)


def picture(seed: int) -> bytes:
    """Light or dark, with some contrast."""
    random = np.random.default_rng(seed)
    pixels = random.normal(random.choice([90, 140]) + random.normal(0, 8), 25, (24, 24, 3))
    file = io.BytesIO()
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def predict(pictures: Sequence[bytes]) -> list[Prediction]:
    light = [1 / (1 + np.exp(-(decode_image(data).mean() - 115) / 8)) for data in pictures]
    return [
        Prediction("light" if p > 0.5 else "dark", max(p, 1 - p), {"light": p, "dark": 1 - p})
        for p in map(float, light)
    ]


def measure(pictures: Sequence[bytes], answers: Sequence[Prediction]) -> np.ndarray:
    pixels = [decode_image(data) for data in pictures]
    rows = [(p.mean(), p.std(), a.label == "dark") for p, a in zip(pixels, answers, strict=True)]
    return np.array(rows, np.float32)


PICTURES = [picture(seed) for seed in range(16)]
TRUTH = [answer.label for answer in predict(PICTURES)]


def judge(answers: Sequence[Prediction]) -> tuple[np.ndarray, np.ndarray]:
    right = [answer.label == truth for answer, truth in zip(answers, TRUTH, strict=True)]
    return np.array([a.score for a in answers], np.float32), np.array(right, np.float32)


WATCHED = Watched(SIGNALS, predict, measure, judge)


@pytest.fixture(scope="module")
def clean() -> np.ndarray:
    pictures = [picture(seed) for seed in range(100, 220)]
    return measure(pictures, predict(pictures))


@pytest.fixture(scope="module")
def odds(clean) -> Odds:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(odds_module, "STREAMS", 3)
        patch.setattr(odds_module, "CLEAN_STREAMS", 50)
        patch.setattr(odds_module, "MOST_PICTURES", 200)
        patch.setattr(odds_module, "SEVERITIES", (1, 5))
        return measure_odds(WATCHED, clean[:80], clean[80:], PICTURES, 0.01)


def found(odds: Odds, name: str, severity: int):
    return next(c for c in odds.corruptions if (c.corruption, c.severity) == (name, severity))


def test_every_corruption_is_tried(odds):
    assert [c.corruption for c in odds.corruptions[::2]] == list(CORRUPTIONS)
    assert odds.pictures == len(PICTURES)
    assert odds.accuracy == 1


def test_what_moves_a_signal_is_noticed_by_it(odds):
    bright = found(odds, "brightness", 5)
    assert bright.noticed == 1
    assert bright.pictures is not None
    assert bright.pictures < 60
    assert bright.accuracy is not None
    assert bright.accuracy < 0.7
    assert bright.mix_shift > 0.3
    assert found(odds, "contrast", 5).signal == "contrast"


def test_a_stronger_corruption_is_noticed_sooner(odds):
    slight, strong = (found(odds, "gaussian_noise", s).pictures or 201 for s in (1, 5))
    assert strong < slight


def test_what_moves_nothing_is_not_noticed(odds):
    # Pixels change places; nothing that is watched here does.
    shaken = found(odds, "pixelate", 1)
    assert shaken.accuracy == pytest.approx(1, abs=0.1)


def test_the_median_is_an_alarm_where_half_of_the_streams_have_one(odds):
    noticed = [case.noticed >= 0.5 for case in odds.corruptions]
    assert noticed == [case.pictures is not None for case in odds.corruptions]
    assert not all(noticed)


def test_clean_streams_are_as_long_as_the_pool_allows(odds):
    assert odds.clean is not None
    assert (odds.clean.reference, odds.clean.pictures) == (60, 60)
    assert odds.clean.alarms <= 3
    assert odds.clean.low <= odds.clean.alarms / 50 <= odds.clean.high


def test_same_seed_same_odds(clean, monkeypatch):
    monkeypatch.setattr(odds_module, "STREAMS", 2)
    monkeypatch.setattr(odds_module, "CLEAN_STREAMS", 3)
    monkeypatch.setattr(odds_module, "CORRUPTIONS", ("fog",))
    one, other = (
        measure_odds(WATCHED, clean[:80], clean[80:], PICTURES, 0.01, seed=4) for _ in range(2)
    )
    assert one == other
    assert Odds.model_validate_json(one.model_dump_json()) == one


def test_too_few_pictures_tell_nothing(clean, monkeypatch):
    monkeypatch.setattr(odds_module, "CORRUPTIONS", ())
    odds = measure_odds(WATCHED, clean[:10], clean[:0], [], 0.01)
    assert odds.clean is None
    assert odds.accuracy is None
    assert odds.corruptions == ()


def test_false_alarms_of_a_pool_are_counted(clean, monkeypatch):
    monkeypatch.setattr(odds_module, "CLEAN_STREAMS", 20)
    monkeypatch.setattr(odds_module, "CORRUPTIONS", ())
    monkeypatch.setattr(odds_module, "replay", lambda *_: odds_module.Alarmed(5, "brightness"))
    odds = measure_odds(WATCHED, clean[:80], clean[80:], [], 0.01)
    assert odds.clean is not None
    assert (odds.clean.alarms, odds.clean.high) == (20, 1.0)


@given(st.integers(0, 50), st.integers(1, 50))
def test_the_interval_is_clopper_and_pearsons(count, more):
    total = count + more
    low, high = rate_interval(count, total)
    assert low <= count / total <= high
    # At the bounds, what was seen or more extreme has a chance of 2.5 %.
    if count:
        assert binom.sf(count - 1, total, low) == pytest.approx(0.025, rel=1e-4)
    assert binom.cdf(count, total, high) == pytest.approx(0.025, rel=1e-4)
