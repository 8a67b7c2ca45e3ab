"""Watching a search: what a listener is told."""

from typing import TYPE_CHECKING, Literal, Protocol

from pixloop.tuning.space import Settings

if TYPE_CHECKING:
    from pixloop.tuning.study import Study

TrialEnd = Literal["done", "stopped", "failed", "interrupted"]


class TuningListener(Protocol):
    """Whoever follows a search. Calls come from its workers' threads."""

    def search_started(self, study: "Study", trials: int, deadline: float | None) -> None:
        """A search begins: its budget in trials, and as a time of ``time.monotonic``."""

    def trial_started(self, number: int, settings: Settings) -> None:
        """A training begins."""

    def trial_advanced(self, number: int, epoch: int, score: float) -> None:
        """A training has ended an epoch; epoch 0 is the warm start."""

    def trial_ended(self, number: int, how: TrialEnd, best: float | None, reason: str = "") -> None:
        """A training is done, stopped early, failed or interrupted."""

    def search_ended(self) -> None:
        """The budget is spent."""


class Silent:
    """A listener that says nothing, and the base of those that say something."""

    def search_started(  # noqa: D102
        self, study: "Study", trials: int, deadline: float | None
    ) -> None:
        pass

    def trial_started(self, number: int, settings: Settings) -> None:  # noqa: D102
        pass

    def trial_advanced(self, number: int, epoch: int, score: float) -> None:  # noqa: D102
        pass

    def trial_ended(  # noqa: D102
        self, number: int, how: TrialEnd, best: float | None, reason: str = ""
    ) -> None:
        pass

    def search_ended(self) -> None:  # noqa: D102
        pass
