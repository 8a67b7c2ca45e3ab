import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import binom

from pixloop.monitoring.conformal import BLOCK
from pixloop.monitoring.martingale import EXPERTS, Expert, Martingale

REFERENCE = 50
P_VALUES = st.lists(st.floats(0.0, 1.0), max_size=40).map(np.array)


def bet(martingale: Martingale, p: np.ndarray) -> np.ndarray:
    return martingale.bet(p, np.arange(martingale.seen + 1, martingale.seen + len(p) + 1))


def run(p: np.ndarray, alpha: float = 1e-4) -> Martingale:
    martingale = Martingale(-math.log(alpha), REFERENCE)
    bet(martingale, p)
    return martingale


def uniform(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(count)


@pytest.mark.parametrize("expert", EXPERTS, ids=str)
def test_odds_are_fair(expert: Expert) -> None:
    mean = quad(lambda p: float(expert.odds(np.array(p))), 0, 1, points=[0, 0.5, 1], limit=200)[0]
    assert mean == pytest.approx(1, abs=1e-4)
    everywhere = expert.odds(np.linspace(0, 1, 1001))
    assert (everywhere > 0).all()
    assert np.isfinite(everywhere).all()


def by_definition(p: np.ndarray) -> list[float]:
    """The capital by the formulae, one p-value after the other."""
    wealth = [0.5 / len(EXPERTS)] * len(EXPERTS)
    idle, found = 0.5, []
    for t, each in enumerate(p, start=1):
        remains = 0.5 * math.log(100) / math.log(t + 100)
        for k, expert in enumerate(EXPERTS):
            odds = float(expert.odds(np.array(each)))
            if expert.fades:
                odds = 1 + REFERENCE / (REFERENCE + t) * (odds - 1)
            wealth[k] = (wealth[k] + (idle - remains) / len(EXPERTS)) * odds
        idle = remains
        found.append(idle + sum(wealth))
    return found


@given(P_VALUES)
def test_is_the_capital_by_definition(p: np.ndarray) -> None:
    found = np.exp(bet(Martingale(1.0, REFERENCE), p))
    assert found == pytest.approx(by_definition(p), rel=1e-9)


def test_is_the_capital_by_definition_over_several_blocks() -> None:
    p = uniform(3 * BLOCK + 5) ** 1.3
    assert np.exp(bet(Martingale(1.0, REFERENCE), p)) == pytest.approx(by_definition(p), rel=1e-9)


@given(P_VALUES, st.integers(0, 40))
def test_cutting_a_stream_changes_nothing(p: np.ndarray, cut: int) -> None:
    whole = Martingale(1.0, REFERENCE)
    expected = bet(whole, p)
    first = Martingale(1.0, REFERENCE)
    parts = [bet(first, p[:cut])]
    second = Martingale.restore(1.0, first.state())
    parts.append(bet(second, p[cut:]))
    assert np.concatenate(parts) == pytest.approx(expected, abs=1e-9)
    assert second.seen == whole.seen
    assert (second.crossing is None) == (whole.crossing is None)
    if second.crossing and whole.crossing:
        assert (second.crossing.at, second.crossing.since, second.crossing.direction) == (
            whole.crossing.at,
            whole.crossing.since,
            whole.crossing.direction,
        )


@pytest.mark.parametrize("alpha", [0.3, 0.05])
def test_capital_seldom_grows_by_chance(alpha: float) -> None:
    streams = 600
    crossed = sum(run(uniform(400, seed), alpha).crossing is not None for seed in range(streams))
    assert crossed <= binom.ppf(0.999, streams, alpha)
    assert crossed > 0  # a bound that nothing comes near would be a test that notices little


def test_is_worth_on_average_what_it_was() -> None:
    # After few p-values, while chance has not yet made most poor and few very rich.
    worth = [math.exp(run(uniform(5, seed)).log_capital) for seed in range(3000)]
    assert np.mean(worth) == pytest.approx(1, abs=4 * np.std(worth) / math.sqrt(len(worth)))


@pytest.mark.parametrize("after", [0, 2_000, 50_000])
@pytest.mark.parametrize(
    ("direction", "moved"),
    [
        ("higher", lambda u: u**2),
        ("lower", lambda u: 1 - u**2),
        ("wider", lambda u: np.where(u < 0.5, u**2, 1 - (1 - u) ** 2)),
        ("narrower", lambda u: 0.25 + u / 2),
    ],
)
def test_tells_what_moved_and_since_when(direction: str, moved: object, after: int) -> None:
    p = np.concatenate([uniform(after), moved(uniform(1500, seed=1))])  # type: ignore[operator]
    crossing = run(p).crossing
    assert crossing is not None
    assert crossing.direction == direction
    assert abs(crossing.since - after) < 100
    assert after < crossing.at < after + 400


def test_a_later_crossing_changes_nothing() -> None:
    martingale = run(np.concatenate([np.full(50, 0.01), uniform(2000), np.full(50, 0.99)]))
    assert martingale.crossing == run(np.full(50, 0.01)).crossing


@pytest.mark.parametrize("p", [0.0, 0.01, 0.5, 0.99, 1.0])
def test_stays_finite(p: float) -> None:
    assert np.isfinite(bet(Martingale(5.0, REFERENCE), np.full(20_000, p))).all()


def test_no_capital_is_lost_for_good() -> None:
    # Whatever has come, half of what had not begun is still there.
    assert run(np.full(100_000, 0.5)).log_capital > math.log(0.5 * math.log(100) / math.log(2e5))


def test_pictures_without_a_value_are_counted_in_what_it_tells() -> None:
    p = np.concatenate([uniform(100), np.full(100, 0.01)])
    martingale = Martingale(9.0, REFERENCE)
    martingale.bet(p, 10 * np.arange(1, 201))
    every, tenth = martingale.crossing, run(p, math.exp(-9.0)).crossing
    assert every is not None
    assert tenth is not None
    assert (every.at, every.since) == (10 * tenth.at, 10 * tenth.since)
