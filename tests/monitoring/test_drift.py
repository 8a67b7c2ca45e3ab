import io
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from pixloop.monitoring.drift import DriftTest, log_limits
from pixloop.monitoring.signals import Signal

SIGNALS = (
    Signal("confidence", "outputs", "confidence"),
    Signal("class:cat", "classes", "pictures of cat"),
    Signal("class:dog", "classes", "pictures of dog"),
    Signal("brightness", "picture", "brightness"),
)
FALSE_ALARM = 0.01


def pictures(count: int, seed: int) -> np.ndarray:
    """Signals that have to do with one another, one of them a yes or no."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(count, 4))
    values[:, 0] += values[:, 3]
    values[:, 1] = values[:, 3] > 0.3
    return values.astype(np.float32)


def fresh(reference: int = 300, seed: int = 0, false_alarm: float = FALSE_ALARM) -> DriftTest:
    return DriftTest(SIGNALS, pictures(reference, 10_000 + seed), false_alarm, seed)


def saved_and_read(test: DriftTest) -> DriftTest:
    file = io.BytesIO()
    np.savez_compressed(file, **test.state())
    file.seek(0)
    with np.load(file, allow_pickle=False) as state:
        return DriftTest.restore(SIGNALS, FALSE_ALARM, 0, state)


def test_groups_share_the_false_alarms_evenly_and_so_do_their_signals() -> None:
    shares = np.exp(-log_limits(SIGNALS, 0.03))
    assert shares.tolist() == pytest.approx([0.01, 0.005, 0.005, 0.01])


@pytest.mark.parametrize(("reference", "false_alarm"), [(20, 0.3), (200, 0.1)])
def test_false_alarms_are_as_rare_as_promised(reference: int, false_alarm: float) -> None:
    streams, alarms = 200, 0
    for seed in range(streams):
        test = fresh(reference, seed, false_alarm)
        test.update(pictures(400, seed))
        alarms += test.alarm is not None
    assert alarms <= binom.ppf(0.999, streams, false_alarm)


@pytest.mark.parametrize("after", [0, 2_000])
@pytest.mark.parametrize("shift", [1.0, -1.0, 2.0])
def test_a_shift_is_found_and_named(after: int, shift: float) -> None:
    stream = pictures(after + 300, 1)
    stream[after:, 3] += shift
    test = fresh()
    test.update(stream)
    alarm = test.alarm
    assert alarm is not None
    assert alarm.signal == "brightness"
    assert alarm.direction == ("higher" if shift > 0 else "lower")
    assert after < alarm.at <= after + 100
    assert abs(alarm.since - after) <= 60
    assert 0 <= alarm.log_evidence < 5
    assert [moved.signal for moved in test.moved] == ["brightness"]


def test_another_mix_of_classes_is_found() -> None:
    stream = pictures(2_500, 1)
    stream[2_000:, 1] = np.random.default_rng(2).random(500) < 0.7
    test = fresh()
    test.update(stream)
    assert [moved.signal for moved in test.moved] == ["class:cat"]
    assert test.moved[0].direction == "higher"
    assert abs(test.moved[0].since - 2_000) < 100


def test_all_that_moved_is_told_in_its_order() -> None:
    stream = pictures(1_500, 1)
    stream[500:, 3] += 2
    stream[1_000:, 0] -= 3
    test = fresh()
    evidence = test.update(stream)
    assert [alarm.signal for alarm in test.moved] == ["brightness", "confidence"]
    assert test.alarm == test.moved[0]
    for alarm, s in zip(test.moved, (3, 0), strict=True):
        assert alarm.at == np.flatnonzero(evidence[:, s] >= 0)[0] + 1
        assert alarm.log_evidence == evidence[alarm.at - 1, s]


def test_what_comes_after_an_alarm_does_not_change_it() -> None:
    stream = pictures(3_000, 1)
    stream[:100, 3] += 2
    early, late = fresh(), fresh()
    early.update(stream[:100])
    late.update(stream)
    assert early.alarm is not None
    assert late.alarm == early.alarm


@settings(max_examples=20)
@given(st.lists(st.integers(0, 600), max_size=6))
def test_cutting_a_stream_and_restarting_change_nothing(sizes: list[int]) -> None:
    stream = pictures(900, 1)
    stream[500:, 3] += 1
    stream[::7, 0] = np.nan
    whole = fresh()
    expected = whole.update(stream)
    test, start, found = fresh(), 0, []
    for size in [*sizes, 900]:
        found.append(test.update(stream[start : start + size]))
        start += size
        test = saved_and_read(test)
    assert np.concatenate(found) == pytest.approx(expected, abs=1e-9)
    assert test.evidence == pytest.approx(whole.evidence, abs=1e-9)
    assert test.seen == whole.seen == 900
    assert [(m.signal, m.direction, m.since, m.at) for m in test.moved] == [
        (m.signal, m.direction, m.since, m.at) for m in whole.moved
    ]
    assert test.history.points == pytest.approx(whole.history.points, abs=1e-9)


def test_the_last_row_is_the_evidence_now() -> None:
    test = fresh()
    assert test.evidence == pytest.approx(-log_limits(SIGNALS, FALSE_ALARM))
    evidence = test.update(pictures(70, 1))
    assert evidence.shape == (70, 4)
    assert (evidence[-1] == test.evidence).all()
    assert (test.history.points == evidence).all()


def test_no_pictures_change_nothing() -> None:
    test = fresh()
    before = test.evidence
    assert test.update(np.empty((0, 4))).shape == (0, 4)
    assert (test.evidence == before).all()
    assert test.seen == 0


def test_a_picture_without_a_value_tells_nothing_of_that_signal() -> None:
    stream = pictures(300, 1)
    stream[100:, 3] += 1
    gaps = np.full((600, 4), np.nan, np.float32)
    gaps[1::2] = stream
    without, dense = fresh(), fresh()
    evidence, expected = without.update(gaps), dense.update(stream)
    assert (evidence[1::2] == expected).all()
    assert (evidence[2::2] == expected[:-1]).all()
    assert without.alarm is not None
    assert dense.alarm is not None
    # Told in pictures, not in values.
    assert without.alarm.at == 2 * dense.alarm.at
    assert without.alarm.since == 2 * dense.alarm.since


def test_a_signal_that_no_picture_has_stays_silent() -> None:
    stream = pictures(50, 1)
    stream[:, 2] = np.nan
    test = DriftTest(SIGNALS, stream, FALSE_ALARM, 0)
    assert (test.update(stream)[:, 2] == -math.log(600)).all()


def test_signals_are_judged_each_by_itself() -> None:
    stream, other = pictures(200, 1), pictures(200, 1)
    other[:, 3] += 1
    assert (fresh().update(stream)[:, :3] == fresh().update(other)[:, :3]).all()


def test_works_without_a_reference() -> None:
    stream = pictures(900, 1)
    stream[600:, 3] += 1
    test = DriftTest(SIGNALS, np.empty((0, 4)), FALSE_ALARM, 0)
    test.update(stream)
    assert test.alarm is not None
    assert abs(test.alarm.since - 600) < 60


@pytest.mark.slow
def test_a_million_pictures_need_no_more_than_a_thousand() -> None:
    test = fresh()
    for seed in range(100):
        test.update(pictures(10_000, seed))
    assert test.alarm is None
    assert len(test.history.points) <= 500
    assert sum(array.nbytes for array in test.state().values()) < 4 * 655_360
    stream = pictures(300, 1)
    stream[:, 3] += 1
    test.update(stream)
    assert test.alarm is not None
    assert abs(test.alarm.since - 1_000_000) < 100
