import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import log_loss

from pixloop.evaluation.calibration import (
    MAX_TEMPERATURE,
    MIN_TEMPERATURE,
    expected_calibration_error,
    fit_temperature,
    negative_log_likelihood,
    reliability,
)
from pixloop.serving.classifier import softmax


def draw(pictures: int, temperature: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose honest probabilities are softmax(logits / temperature), and their targets."""
    rng = np.random.default_rng(seed)
    honest = rng.normal(0, 2, (pictures, 4))
    targets = (softmax(honest).cumsum(axis=1) < rng.random((pictures, 1))).sum(axis=1)
    return honest * temperature, targets


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
def test_finds_the_temperature_that_made_the_answers(temperature: float) -> None:
    logits, targets = draw(20_000, temperature)
    assert fit_temperature(logits, targets) == pytest.approx(temperature, rel=0.05)


def test_scaling_lowers_the_calibration_error_and_changes_no_answer() -> None:
    logits, targets = draw(5_000, 3.0)
    before, after = softmax(logits), softmax(logits, fit_temperature(logits, targets))
    assert expected_calibration_error(before, targets) > 0.15
    assert expected_calibration_error(after, targets) < 0.03
    assert (before.argmax(axis=1) == after.argmax(axis=1)).all()


@pytest.mark.parametrize("pictures", [3, 30, 300])
def test_perfectly_separable_pictures_stay_modest(pictures: int) -> None:
    targets = np.arange(pictures) % 3
    logits = np.eye(3)[targets] * 5
    scores = softmax(logits, fit_temperature(logits, targets)).max(axis=1)
    # All N right: as sure as the rule of succession allows, and no surer.
    assert scores == pytest.approx((pictures + 1) / (pictures + 2), rel=1e-3)


def test_identical_logits_of_any_size_stay_bounded() -> None:
    assert MIN_TEMPERATURE <= fit_temperature([[1e-9, 0.0]], [0]) <= MAX_TEMPERATURE
    assert MIN_TEMPERATURE <= fit_temperature([[1e9, 0.0]], [0]) <= MAX_TEMPERATURE


def test_random_answers_stay_bounded() -> None:
    assert fit_temperature([[9.0, 0.0], [9.0, 0.0]], [0, 1]) == pytest.approx(
        MAX_TEMPERATURE, rel=0.01
    )


def test_nothing_to_learn_from_means_one() -> None:
    assert fit_temperature(np.zeros((0, 3)), np.zeros(0)) == 1.0
    assert fit_temperature([[1.0, 1.0]], [0]) == 1.0


def test_huge_logits_do_not_overflow() -> None:
    assert softmax([[1e4, -1e4]]).tolist() == [[1.0, 0.0]]
    assert np.isfinite(negative_log_likelihood([[1e4, -1e4]], [1]))


@pytest.mark.parametrize(
    ("logits", "targets"), [([[1.0, 2.0]], [0, 1]), ([1.0], [0]), ([[np.nan, 1.0]], [0])]
)
def test_refuses_what_does_not_belong_together(logits: object, targets: object) -> None:
    with pytest.raises(ValueError, match="logits"):
        fit_temperature(logits, targets)  # type: ignore[arg-type]


def test_likelihood_is_scikit_learns_log_loss() -> None:
    logits, targets = draw(300, 1.0)
    assert negative_log_likelihood(logits, targets) == pytest.approx(
        log_loss(targets, softmax(logits), labels=range(4))
    )


@given(st.integers(1, 40), st.integers(2, 5), st.integers(1, 20), st.integers(0, 99))
def test_bins_hold_every_picture_once(pictures: int, classes: int, bins: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    probabilities = softmax(rng.normal(0, 4, (pictures, classes)))
    targets = rng.integers(0, classes, pictures)
    found = reliability(probabilities, targets, bins)
    assert sum(b.pictures for b in found) == pictures
    assert all(b.low - 1e-9 <= b.confidence <= b.high + 1e-9 for b in found)
    assert 0 <= expected_calibration_error(probabilities, targets, bins) <= 1


def test_no_pictures_have_no_error() -> None:
    assert expected_calibration_error(np.zeros((0, 3)), np.zeros(0)) == 0
