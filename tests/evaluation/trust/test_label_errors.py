import numpy as np
import pytest

from pixloop.evaluation.trust.label_errors import (
    Source,
    check_finding,
    doubt_labels,
    estimate_errors,
    out_of_fold,
    rank_label_errors,
)


def clouds(count=300, classes=3, seed=0, apart=4):
    g = np.random.default_rng(seed)
    labels = g.integers(0, classes, count)
    return (np.eye(classes)[labels] * apart + g.normal(size=(count, classes))).astype("f4"), labels


def flip(labels, count, classes=3, seed=1):
    g = np.random.default_rng(seed)
    wrong = g.choice(len(labels), count, replace=False)
    given = labels.copy()
    given[wrong] = (given[wrong] + g.integers(1, classes, count)) % classes
    return given, wrong


def test_flipped_labels_are_found_and_come_first():
    features, truth = clouds()
    given, wrong = flip(truth, 15)
    ranked = rank_label_errors(out_of_fold(features, given, 3), given)
    assert np.isin(ranked[:10], wrong).all()
    assert np.isin(wrong, ranked).mean() >= 0.7
    assert len(ranked) < 40


def test_right_labels_of_things_that_are_told_apart_are_left_alone():
    features, labels = clouds(apart=14)
    shares = out_of_fold(features, labels, 3)
    assert len(rank_label_errors(shares, labels)) == 0
    assert estimate_errors(shares, labels) == 0


@pytest.mark.parametrize("count", [0, 12, 30, 60])
def test_the_estimate_is_near_how_many_were_flipped(count):
    features, truth = clouds(600, apart=6)
    given, _ = flip(truth, count)
    estimate = estimate_errors(out_of_fold(features, given, 3), given)
    assert 0.8 * count - 3 <= estimate <= 1.2 * count + 3


def test_the_estimate_scales_each_class_to_all_its_pictures():
    # Of class 0 two of four are confident, of which one counts for class 1.
    shares = np.float32([[0.9, 0.1], [0.1, 0.9], [0.4, 0.6], [0.5, 0.5], [0.1, 0.9], [0.1, 0.9]])
    labels = np.int64([0, 0, 0, 0, 1, 1])
    # Means where they were given: 0.475 of class 0, 0.9 of class 1; rows 0 and 3 reach the first.
    assert estimate_errors(shares, labels) == pytest.approx(4 / 3)


def test_no_picture_is_judged_by_its_own_label():
    features, labels = clouds(15)
    changed = labels.copy()
    changed[7] = (labels[7] + 1) % 3
    # Where the folds stay the same, a picture's shares do not know its own label.
    before = out_of_fold(features, labels, 3, folds=15)
    after = out_of_fold(features, changed, 3, folds=15)
    assert np.allclose(before[7], after[7], atol=1e-4)


def test_classes_that_are_rare_or_missing_do_no_harm():
    features, labels = clouds(20)
    labels[:] = 0
    labels[3] = 1
    shares = out_of_fold(features, labels, 4)
    assert shares.shape == (20, 4)
    assert not shares[:, 2:].any()
    assert set(rank_label_errors(shares, labels).tolist()) <= set(range(20))
    nothing = np.zeros((0, 3), "f4"), np.zeros(0, np.int64)
    assert len(rank_label_errors(*nothing)) == 0
    assert estimate_errors(*nothing) == 0


def test_doubts_of_several_sources_are_ranked_together_and_name_their_rows():
    features, truth = clouds()
    given, wrong = flip(truth, 15)
    tests = np.float32([[0.98, 0.01, 0.01]] * 3 + [[0.0, 0.999, 0.001]])
    sources = [
        Source(np.arange(1000, 1004), np.int64([0, 0, 1, 1]), shares=tests),
        Source(np.arange(300), given, features=features),
    ]
    doubts, estimate = doubt_labels(sources, 3)
    rows = [doubt.row for doubt in doubts]
    assert 1002 in rows
    assert np.isin(wrong, rows).mean() >= 0.7
    sure = [doubt.sure for doubt in doubts]
    assert sure == sorted(sure, reverse=True)
    assert all(doubt.likely != doubt.label for doubt in doubts)
    assert 10 <= estimate <= 25


def test_a_trial_says_how_well_wrong_labels_are_found():
    good, labels = clouds(400, apart=8)
    easy = check_finding([Source(np.arange(400), labels, features=good)], 3)
    assert easy.flipped == 20
    assert easy.found >= 17
    assert easy.first >= 17
    assert 15 <= easy.counted <= 25
    noise = np.random.default_rng(0).normal(size=(400, 3)).astype("f4")
    blind = check_finding([Source(np.arange(400), labels, features=noise)], 3)
    assert blind.first <= 5
    assert check_finding([Source(np.arange(2), labels[:2], features=good[:2])], 3) is None
