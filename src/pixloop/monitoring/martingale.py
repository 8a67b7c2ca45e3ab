"""Betting against uniform p-values: capital that grows only where they are not uniform.

A gambler who starts with 1 and bets on independent uniform p-values at fair odds ever reaches 1/α
with a chance of at most α (J. Ville, Étude critique de la notion de collectif, 1939). So capital
of 1/α is an alarm whose chance of being false is known however often one looks.

The capital is spread, before anything is seen, over

- ways to bet (``EXPERTS``): that values become higher or lower, a little or much, or that they
  spread or gather. Each multiplies what it has by f(p), where f ≥ 0 has the mean 1 over (0, 1):
  1 + ε(½ - p), or κ p^(κ-1) (Vovk et al. 2022, chapter 8). What has been so from the first picture
  on shows less and less, as p-values rank with the stream itself: of n + t values only n are the
  reference's. So some stake only the share n/(n + t), with the odds 1 + n/(n + t) · (f(p) - 1).
- times to begin: half at once, the rest at picture t with the weight R(t-1) - R(t), where
  R(t) = log a / log(t + a). What has not begun lies idle and loses nothing, so a change is found
  nearly as soon after a million pictures as after a thousand: it costs log 1/weight to find it.
"""

from collections.abc import Callable, Mapping
from dataclasses import astuple, dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from pixloop.monitoring.conformal import BLOCK

Direction = Literal["higher", "lower", "wider", "narrower"]
Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

_DIRECTIONS: tuple[Direction, ...] = get_args(Direction)
#: The share of the capital that bets from the first picture on.
_AT_ONCE = 0.5
#: The time until which about as much capital begins in every equal stretch.
_EARLY = 100.0
_LEAST_P = 1e-15


@dataclass(frozen=True, slots=True)
class Expert:
    """A way to bet: what it takes the values to become, its odds f(p), and whether it fades."""

    direction: Direction
    odds: Callable[[Floats], Floats]
    fades: bool = False


def _linear(slope: float) -> Callable[[Floats], Floats]:
    return lambda p: 1 + slope * (0.5 - p)


def _power(kappa: float) -> Callable[[Floats], Floats]:
    return lambda p: kappa * np.maximum(p, _LEAST_P) ** (kappa - 1)


def _mirrored(odds: Callable[[Floats], Floats]) -> Callable[[Floats], Floats]:
    return lambda p: odds(1 - p)


def _at_both_ends(odds: Callable[[Floats], Floats]) -> Callable[[Floats], Floats]:
    return lambda p: odds(1 - np.abs(2 * p - 1))


def _in_the_middle(odds: Callable[[Floats], Floats]) -> Callable[[Floats], Floats]:
    return lambda p: odds(np.abs(2 * p - 1))


_LINEAR = (_linear(1.0), _linear(1.8))
_ONE_SIDED = (*_LINEAR, _power(0.6), _power(0.3))
#: Chosen by measuring among others; docs/drift.md has the table.
EXPERTS: tuple[Expert, ...] = (
    *(Expert("higher", odds) for odds in _ONE_SIDED),
    *(Expert("lower", _mirrored(odds)) for odds in _ONE_SIDED),
    *(Expert("higher", odds, fades=True) for odds in _LINEAR),
    *(Expert("lower", _mirrored(odds), fades=True) for odds in _LINEAR),
    Expert("wider", _at_both_ends(_power(0.6))),
    Expert("narrower", _in_the_middle(_power(0.6))),
)
_FADING = np.array([expert.fades for expert in EXPERTS])


@dataclass(frozen=True, slots=True)
class Crossing:
    """Capital has reached its limit for the first time.

    Attributes:
        direction: what the expert bets on who had then gained most since his luck began.
        since: the number of pictures after which it began: of all times, the one from which on
            his odds are most likely (E. Page, Continuous inspection schemes, 1954).
        at: the number of pictures after which the limit was reached.
        log_capital: the logarithm of the capital then.
    """

    direction: Direction
    since: int
    at: int
    log_capital: float


class Martingale:
    """The capital of one gambler, and what made it grow.

    However its p-values are cut into calls, what comes out is the same.

    Args:
        log_limit: the logarithm of the capital that is an alarm.
        reference: how many values of the reference the p-values rank with.

    Attributes:
        seen: p-values that were bet on.
        log_capital: the logarithm of the capital now; 0 at the beginning.
        crossing: when the capital first reached the limit, where it has.
    """

    def __init__(self, log_limit: float, reference: int) -> None:
        self._log_limit, self._reference = log_limit, reference
        self.seen = 0
        self.log_capital = 0.0
        self.crossing: Crossing | None = None
        count = len(EXPERTS)
        # Of each expert: what he would have had to have at the beginning of the block, so as to
        # have what he has by its odds alone; and the logarithm of the product of these.
        self._log_stake = np.full(count, np.log(_AT_ONCE / count))
        self._block_gain = np.zeros(count)
        # Of each expert: his bets' gain so far, the least it ever was, and after which picture.
        self._gain, self._least = np.zeros(count), np.zeros(count)
        self._least_at = np.zeros(count, np.int64)

    def bet(self, p: Floats, pictures: Counts) -> Floats:
        """The logarithm of the capital after each of the next p-values.

        Args:
            p: float64 (m,), from 0 to 1.
            pictures: int64 (m,), how many pictures there were with each of them.

        Returns:
            float64 (m,).
        """
        capital = np.empty(len(p))
        start = 0
        while start < len(p):
            # Blocks end at multiples of their length, wherever calls do.
            end = min(len(p), start + BLOCK - self.seen % BLOCK)
            capital[start:end] = self._bet(p[start:end], pictures[start:end])
            start = end
        return capital

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Everything that it knows, as arrays."""
        found = self.crossing
        return {
            "reference": np.array(self._reference),
            "seen": np.array(self.seen),
            "log_capital": np.array(self.log_capital),
            "log_stake": self._log_stake,
            "block_gain": self._block_gain,
            "gain": self._gain,
            "least": self._least,
            "least_at": self._least_at,
            "crossed": np.array(astuple(found)[1:] if found else (), np.float64),
            "direction": np.array(_DIRECTIONS.index(found.direction) if found else -1),
        }

    @classmethod
    def restore(cls, log_limit: float, state: Mapping[str, NDArray[np.generic]]) -> "Martingale":
        """As it was when ``state`` was called."""
        self = cls(log_limit, int(state["reference"]))
        self.seen, self.log_capital = int(state["seen"]), float(state["log_capital"])
        self._log_stake = np.array(state["log_stake"], np.float64)
        self._block_gain = np.array(state["block_gain"], np.float64)
        self._gain = np.array(state["gain"], np.float64)
        self._least = np.array(state["least"], np.float64)
        self._least_at = np.array(state["least_at"], np.int64)
        if len(state["crossed"]):
            since, at, log_capital = np.array(state["crossed"], np.float64).tolist()
            direction = _DIRECTIONS[int(state["direction"])]
            self.crossing = Crossing(direction, int(since), int(at), log_capital)
        return self

    def _bet(self, p: Floats, pictures: Counts) -> Floats:
        log_odds = self._log_odds(p)
        gains = np.cumsum(np.vstack([self._block_gain, log_odds]), axis=0)
        idle = _idle(self.seen + np.arange(len(p) + 1))
        begins = np.log((idle[:-1] - idle[1:]) / len(EXPERTS))
        # W_t = (W_{t-1} + w_t) f_t; with F, the product of the odds: W_t/F_t = W_0 + Σ w_k/F_{k-1}.
        stakes = np.vstack([self._log_stake, begins[:, None] - gains[:-1]])
        stakes = np.logaddexp.accumulate(stakes, axis=0)
        wealth = stakes[1:] + gains[1:]
        capital = np.logaddexp(np.logaddexp.reduce(wealth, axis=1), np.log(idle[1:]))
        self.seen += len(p)
        if self.seen % BLOCK:
            self._log_stake, self._block_gain = stakes[-1], gains[-1]
        else:
            self._log_stake, self._block_gain = wealth[-1], np.zeros(len(EXPERTS))
        self.log_capital = float(capital[-1])
        self._look_back(log_odds, capital, pictures)
        return np.asarray(capital, np.float64)

    def _log_odds(self, p: Floats) -> Floats:
        """float64 (m, experts)."""
        odds = np.stack([expert.odds(p) for expert in EXPERTS], axis=1)
        total = self._reference + self.seen + 1 + np.arange(len(p))
        share = (self._reference / total)[:, None]
        odds[:, _FADING] = 1 + share * (odds[:, _FADING] - 1)
        return np.asarray(np.log(odds))

    def _look_back(self, log_odds: Floats, capital: Floats, pictures: Counts) -> None:
        """Remember when the experts' luck began, and the first crossing."""
        gains = np.cumsum(np.vstack([self._gain, log_odds]), axis=0)[1:]
        reached = np.flatnonzero(capital >= self._log_limit)
        if self.crossing is None and len(reached):
            first = int(reached[0])
            least, least_at = self._lowest(gains[: first + 1], pictures)
            best = int(np.argmax(gains[first] - least))
            self.crossing = Crossing(
                direction=EXPERTS[best].direction,
                since=int(least_at[best]),
                at=int(pictures[first]),
                log_capital=float(capital[first]),
            )
        self._least, self._least_at = self._lowest(gains, pictures)
        self._gain = gains[-1]

    def _lowest(self, gains: Floats, pictures: Counts) -> tuple[Floats, Counts]:
        """The least of each expert's gains up to the end of these, and when it was."""
        lowest = gains.argmin(axis=0)
        value = gains[lowest, np.arange(len(EXPERTS))]
        fell = value < self._least
        return np.where(fell, value, self._least), np.where(fell, pictures[lowest], self._least_at)


def _idle(times: NDArray[np.int64]) -> Floats:
    """The capital that has not begun after so many p-values."""
    return np.asarray((1 - _AT_ONCE) * np.log(_EARLY) / np.log(times + _EARLY))
