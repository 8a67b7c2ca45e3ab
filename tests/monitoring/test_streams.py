"""Streams through the drift test, and what a corruption does to them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pixloop.monitoring.drift import DriftTest
from pixloop.monitoring.signals import Signal
from pixloop.monitoring.streams import Alarmed, Shift, clean_stream, replay

SIGNALS = (
    Signal("brightness", "picture", "brightness"),
    Signal("class:cat", "classes", "answers that say cat"),
)


def values(count: int, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    brightness = random.normal(100, 10, count)
    return np.stack([brightness, random.random(count) < 0.3], axis=1).astype(np.float32)


def test_what_moves_is_noticed_and_named():
    stream = values(400, 1)
    stream[:, 0] += 30
    alarm = replay(SIGNALS, values(200), stream, 0.01, 0)
    assert alarm is not None
    assert alarm.signal == "brightness"
    assert alarm.at < 50


def test_a_later_alarm_is_found_where_a_whole_look_finds_it():
    stream = values(1000, 1)
    stream[600:, 0] += 8
    alarm = replay(SIGNALS, values(200), stream, 0.01, 0)
    assert alarm is not None
    assert 600 < alarm.at < 800


@given(st.integers(0, 10), st.sampled_from([0, 50, 200]))
@settings(max_examples=15)
def test_it_finds_what_one_look_at_everything_finds(seed, start):
    stream = values(600, seed)
    stream[start:, 0] += 9
    whole = DriftTest(SIGNALS, values(200), 0.01, seed)
    whole.update(stream)
    assert whole.alarm is not None
    assert replay(SIGNALS, values(200), stream, 0.01, seed) == Alarmed(
        whole.alarm.at, whole.alarm.signal
    )


def test_what_does_not_move_raises_no_alarm():
    assert replay(SIGNALS, values(200), values(1000, 1), 0.01, 0) is None


@given(st.integers(2, 60), st.integers(0, 2**32 - 1))
def test_clean_streams_share_out_the_pool(count, seed):
    pool = values(count)
    reference, stream = clean_stream(pool, count // 2, count, np.random.default_rng(seed))
    both = np.concatenate([reference, stream])
    assert len(reference) == count // 2
    assert np.array_equal(np.sort(both, axis=0), np.sort(pool, axis=0))


def test_without_a_change_streams_are_of_the_reference():
    few = values(20, 1)
    stream = Shift(few, few).stream(values(200), 500, np.random.default_rng(0))
    assert set(stream[:, 0]) <= set(values(200)[:, 0])
    assert replay(SIGNALS, values(200), stream, 0.01, 0) is None


def test_a_change_is_that_of_the_nearest_picture():
    before = np.array([[0, 0], [100, 1]], np.float32)
    after = np.array([[5, 0], [70, 0]], np.float32)
    reference = np.array([[10, 0], [90, 1]], np.float32)
    stream = Shift(before, after).stream(reference, 100, np.random.default_rng(0))
    # 10 + 5 and 90 - 30; a cat is no longer seen.
    assert set(map(tuple, stream.tolist())) == {(15.0, 0.0), (60.0, 0.0)}


def test_of_equally_near_pictures_any_is_taken():
    before = np.array([[0.0], [0.0], [0.0]], np.float32)
    after = np.array([[1.0], [2.0], [3.0]], np.float32)
    stream = Shift(before, after).stream(
        np.zeros((5, 1), np.float32), 300, np.random.default_rng(0)
    )
    shares = [np.mean(stream == value) for value in (1, 2, 3)]
    assert shares == pytest.approx([1 / 3] * 3, abs=0.1)


def test_what_is_missing_stays_missing_or_becomes_what_it_became():
    nan = np.nan
    before = np.array([[1.0, nan], [2.0, 4.0]], np.float32)
    after = np.array([[nan, 7.0], [3.0, 5.0]], np.float32)
    reference = np.array([[1.0, nan]], np.float32)
    stream = Shift(before, after).stream(reference, 20, np.random.default_rng(0))
    assert np.isnan(stream[:, 0]).all()  # the surest box is gone
    assert (stream[:, 1] == 7).all()
    gone = Shift(before[1:], after[1:]).stream(reference, 20, np.random.default_rng(0))
    assert np.isnan(gone[:, 1]).all()


@given(st.integers(0, 2**32 - 1))
def test_values_stay_within_what_was_seen(seed):
    random = np.random.default_rng(seed)
    before, after, reference = (random.random((n, 3), np.float32) for n in (5, 5, 30))
    stream = Shift(before, after).stream(reference, 50, random)
    seen = np.concatenate([before, after, reference])
    assert (stream >= seen.min(axis=0)).all()
    assert (stream <= seen.max(axis=0)).all()
