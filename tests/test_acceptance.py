import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.small_bundles import THRESHOLD, by_class

from pixloop.acceptance import Acceptance
from pixloop.records import Decision

SCORES = st.none() | st.floats(0, 1)
BY_CLASS = Acceptance(None, {"cat": 0.5, "dog": 0.9, "eel": None})


def test_each_class_is_held_to_its_own_score() -> None:
    assert BY_CLASS.decide("cat", 0.6) is Decision.ACCEPT
    assert BY_CLASS.decide("dog", 0.6) is Decision.REFER
    assert BY_CLASS.decide("eel", 1.0) is Decision.REFER
    assert BY_CLASS.decide("fox", 1.0) is Decision.REFER  # unheard of


def test_the_threshold_itself_is_accepted_and_none_refers_all() -> None:
    assert Acceptance(0.9).accepts("cat", 0.9)
    assert not Acceptance(0.9).accepts("cat", float(np.nextafter(0.9, 0)))
    assert not Acceptance().accepts("cat", 1.0)
    assert not Acceptance(0.0).accepts("cat", float("nan"))


@given(SCORES, st.dictionaries(st.text(), SCORES))
def test_as_text_it_stays_what_it_is(score: float | None, classes: dict[str, float | None]) -> None:
    acceptance = Acceptance(score, classes)
    assert Acceptance.from_text(acceptance.to_text()) == acceptance


@pytest.mark.parametrize("text", ["0,9", '"0.9"', "1.5", "true", '{"score": null}', "[]", "NaN"])
def test_what_is_no_threshold_is_refused(text: str) -> None:
    with pytest.raises((ValueError, KeyError)):
        Acceptance.from_text(text)


@pytest.mark.parametrize(
    "threshold", [THRESHOLD, by_class(cat=0.5, dog=None), by_class(cat=None, dog=None)], ids=str
)
def test_a_bundles_threshold_reads_the_same_with_and_without_its_schema(threshold: object) -> None:
    assert Acceptance.of(threshold.model_dump(mode="json")) == threshold.acceptance  # type: ignore[attr-defined]


def test_thresholds_of_before_there_were_groups_are_for_all() -> None:
    old = THRESHOLD.model_dump(exclude={"groups"})
    assert Acceptance.of(old) == Acceptance(THRESHOLD.score)
