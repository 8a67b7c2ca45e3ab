import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as reference

from pixloop.evaluation.metrics import (
    confusion_matrix,
    measure,
    precision_recall_f,
    wilson_interval,
)

answers = st.integers(2, 6).flatmap(
    lambda k: st.tuples(
        st.just(k),
        st.lists(
            st.tuples(st.integers(0, k - 1), st.integers(0, k - 1)), min_size=1, max_size=60
        ).map(np.array),
    )
)


@given(answers)
def test_agrees_with_scikit_learn(drawn: tuple[int, np.ndarray]) -> None:
    classes, pairs = drawn
    targets, predicted = pairs[:, 0], pairs[:, 1]
    counts = confusion_matrix(targets, predicted, classes)
    assert (counts == reference.confusion_matrix(targets, predicted, labels=range(classes))).all()
    found = measure(counts)
    macro = {"average": "macro", "zero_division": 0, "labels": range(classes)}
    assert found.accuracy == pytest.approx(reference.accuracy_score(targets, predicted))
    assert found.f1_macro == pytest.approx(reference.f1_score(targets, predicted, **macro))
    assert found.recall_macro == pytest.approx(reference.recall_score(targets, predicted, **macro))
    assert found.precision_macro == pytest.approx(
        reference.precision_score(targets, predicted, **macro)
    )


@given(answers, st.sampled_from([0.5, 1.0, 2.0]))
def test_each_class_agrees_with_scikit_learn(drawn: tuple[int, np.ndarray], beta: float) -> None:
    classes, pairs = drawn
    expected = reference.precision_recall_fscore_support(
        pairs[:, 0], pairs[:, 1], beta=beta, labels=range(classes), zero_division=0
    )
    found = precision_recall_f(confusion_matrix(pairs[:, 0], pairs[:, 1], classes), beta)
    for ours, theirs in zip(found, expected[:3], strict=True):
        assert ours == pytest.approx(theirs)


def test_a_class_that_was_never_tested_counts_as_nothing() -> None:
    found = measure(confusion_matrix([0, 1], [0, 1], 3))
    assert found.f1_macro == pytest.approx(2 / 3)
    assert found.classes[2].pictures == 0


def test_no_pictures_are_no_crash() -> None:
    assert measure(confusion_matrix([], [], 2)).accuracy == 0


@given(st.integers(0, 500), st.integers(0, 500))
def test_the_interval_holds_the_share(right: int, wrong: int) -> None:
    low, high = wilson_interval(right, right + wrong)
    assert 0 <= low <= high <= 1
    if right + wrong:
        assert low - 1e-12 <= right / (right + wrong) <= high + 1e-12


def test_the_interval_narrows_with_more_pictures() -> None:
    few, many = wilson_interval(9, 10), wilson_interval(900, 1000)
    assert many[1] - many[0] < (few[1] - few[0]) / 4
