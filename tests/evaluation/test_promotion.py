from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixloop.config_loop import PromotionConfig
from pixloop.evaluation.comparison.paired import pictures_needed
from pixloop.evaluation.promotion import no_champion, weigh

CONFIG = PromotionConfig()


def models(both: int, gained: int, lost: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    challenger = [1.0] * both + [1.0] * gained + [0.0] * lost
    champion = [1.0] * both + [0.0] * gained + [1.0] * lost
    return np.array(challenger), np.array(champion)


def verdict(
    both: int, gained: int, lost: int, meant: slice = slice(0), **config: float
) -> dict[str, Any]:
    challenger, champion = models(both, gained, lost)
    chosen = np.zeros(len(champion), bool)
    chosen[meant] = True
    return weigh(challenger, champion, chosen, PromotionConfig(**config))


def test_a_better_challenger_is_promoted_and_a_worse_one_refused() -> None:
    better, worse = verdict(300, 40, 5), verdict(300, 5, 40)
    assert (better["promote"], better["not_worse"], better["better"]) == (True, True, True)
    assert (worse["promote"], worse["not_worse"], worse["shown_worse"]) == (False, False, True)
    assert worse["best_difference"] < worse["allowed_difference"]
    assert "worse than the champion" in worse["reason"]


def test_the_same_model_is_neither_promoted_nor_refused() -> None:
    same = verdict(1000, 0, 0)
    assert (same["not_worse"], same["better"], same["promote"]) == (True, False, False)
    assert same["best_difference"] >= same["allowed_difference"]
    assert "not shown better" in same["reason"]


def test_a_gain_where_it_was_meant_to_be_promotes_what_is_equal_elsewhere() -> None:
    # 990 the same; of the ten meant, eight won.
    found = verdict(990, 8, 2, meant=slice(990, 1000))
    assert found["slice"]["pictures"] == 10
    assert found["better_where_meant"] is False  # 8 of 10 is p = 0.055
    found = verdict(990, 10, 0, meant=slice(990, 1000))
    assert (found["better_where_meant"], found["promote"]) == (True, True)


def test_a_loss_where_it_was_meant_to_be_stops_a_gain_elsewhere() -> None:
    found = verdict(300, 60, 12, meant=slice(360, 372))
    assert (found["better"], found["better_where_meant"]) == (True, False)
    assert found["promote"] is False


def test_few_pictures_say_how_many_more_are_needed() -> None:
    found = verdict(45, 3, 2)
    assert found["promote"] is False
    assert "more pictures would show it" in found["reason"]
    assert pictures_needed(np.zeros(50) - 0.1, 0.01, 0.95) is None
    needed = pictures_needed(np.array([1.0, 0.0, 0.0, -1.0, 1.0] * 10), 0.0, 0.95)
    assert needed is not None
    assert 30 < needed < 60


def test_without_a_champion_a_version_may_be_promoted() -> None:
    assert no_champion(CONFIG)["promote"] is True
    assert no_champion(CONFIG).keys() == verdict(10, 1, 1).keys()
