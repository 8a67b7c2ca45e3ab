"""Betting against uniform p-values: capital that grows only where they are not uniform.

A gambler who starts with 1 and bets on independent uniform p-values at fair odds ever reaches 1/α
with a chance of at most α (J. Ville, Étude critique de la notion de collectif, 1939). So capital
of 1/α is an alarm whose chance of being false is known however often one looks.

The capital is spread, before anything is seen, over

- ways to bet (``EXPERTS``): that values become higher or lower, a little or much, or that they
  spread or gather. Each multiplies what it has by f(p), where f ≥ 0 has the mean 1 over (0, 1):
  1 + ε(½ - p), or κ p^(κ-1) (Vovk et al. 2022, chapter 8).
- times to begin: half at once, the rest at picture t with the weight R(t-1) - R(t), where
  R(t) = log a / log(t + a). What has not begun lies idle and loses nothing, so a change is found
  nearly as soon after a million pictures as after a thousand: it costs log 1/weight to find it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pixloop.monitoring.conformal import BLOCK

Direction = Literal["higher", "lower", "wider", "narrower"]
Floats = NDArray[np.float64]

#: The share of the capital that bets from the first picture on.
_AT_ONCE = 0.5
#: The time until which about as much capital begins in every equal stretch.
_EARLY = 100.0
_LEAST_P = 1e-15


@dataclass(frozen=True, slots=True)
class Expert:
    """A way to bet: what it takes the values to become, and its odds f(p)."""

    direction: Direction
    odds: Callable[[Floats], Floats]


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


_ONE_SIDED = (_linear(1.0), _linear(1.8), _power(0.6), _power(0.3))
EXPERTS: tuple[Expert, ...] = (
    *(Expert("higher", odds) for odds in _ONE_SIDED),
    *(Expert("lower", _mirrored(odds)) for odds in _ONE_SIDED),
    Expert("wider", _at_both_ends(_power(0.6))),
    Expert("narrower", _in_the_middle(_power(0.6))),
)


class Martingale:
    """The capital of one gambler, and when each expert's luck began.

    Attributes:
        seen: p-values that were bet on.
        log_capital: the logarithm of the capital now; 0 at the beginning.
    """

    def __init__(self) -> None:
        self.seen = 0
        self.log_capital = 0.0
        count = len(EXPERTS)
        self._log_wealth = np.full(count, np.log(_AT_ONCE / count))
        # Of each expert: its bets' gain so far, the least it ever was, and when that was.
        self._gain, self._least = np.zeros(count), np.zeros(count)
        self._least_at = np.zeros(count, np.int64)

    def bet(self, p: Floats) -> Floats:
        """The logarithm of the capital after each of the p-values; float64 (m,)."""
        blocks = [self._bet(p[start : start + BLOCK]) for start in range(0, len(p), BLOCK)]
        return np.concatenate(blocks) if blocks else np.empty(0)

    def luckiest(self) -> tuple[Direction, int]:
        """What the expert who has gained most bets on, and after which p-value its luck began."""
        best = int(np.argmax(self._gain - self._least))
        return EXPERTS[best].direction, int(self._least_at[best])

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Everything that it knows, as arrays."""
        return {
            "seen": np.array(self.seen),
            "log_capital": np.array(self.log_capital),
            "log_wealth": self._log_wealth,
            "gain": self._gain,
            "least": self._least,
            "least_at": self._least_at,
        }

    @classmethod
    def restore(cls, state: dict[str, NDArray[np.generic]]) -> "Martingale":
        """As it was when ``state`` was called."""
        self = cls()
        self.seen, self.log_capital = int(state["seen"]), float(state["log_capital"])
        self._log_wealth = np.array(state["log_wealth"], np.float64)
        self._gain = np.array(state["gain"], np.float64)
        self._least = np.array(state["least"], np.float64)
        self._least_at = np.array(state["least_at"], np.int64)
        return self

    def _bet(self, p: Floats) -> Floats:
        log_odds = np.log(np.stack([expert.odds(p) for expert in EXPERTS], axis=1))
        gains = np.cumsum(log_odds, axis=0)
        before = gains - log_odds
        times = self.seen + np.arange(len(p) + 1)
        idle = (1 - _AT_ONCE) * np.log(_EARLY) / np.log(times + _EARLY)
        begins = np.log((idle[:-1] - idle[1:]) / len(EXPERTS))
        # W_t = (W_{t-1} + w_t) f_t; with F, the product of the odds: W_t/F_t = W_0 + Σ w_k/F_{k-1}.
        stakes = np.vstack([self._log_wealth, begins[:, None] - before])
        log_wealth = np.logaddexp.accumulate(stakes, axis=0)[1:] + gains
        log_capital: Floats = np.logaddexp(
            np.logaddexp.reduce(log_wealth, axis=1), np.log(idle[1:])
        )
        self._remember_gains(gains)
        self._log_wealth, self.log_capital = log_wealth[-1], float(log_capital[-1])
        self.seen += len(p)
        return log_capital

    def _remember_gains(self, gains: Floats) -> None:
        total = self._gain + gains
        lowest = total.argmin(axis=0)
        value = total[lowest, np.arange(len(EXPERTS))]
        fell = value <= self._least
        self._least = np.where(fell, value, self._least)
        self._least_at = np.where(fell, self.seen + lowest + 1, self._least_at)
        self._gain = total[-1]
