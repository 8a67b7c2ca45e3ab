import numpy as np

from pixloop.annotation.label_errors import doubt_boxes, out_of_fold, rank_label_errors
from pixloop.records import DetectedBox, Detection


def clouds(count=300, classes=3, seed=0):
    g = np.random.default_rng(seed)
    labels = g.integers(0, classes, count)
    return (np.eye(classes)[labels] * 4 + g.normal(size=(count, classes))).astype("f4"), labels


def test_flipped_labels_are_found_and_come_first():
    features, truth = clouds()
    wrong = np.random.default_rng(1).choice(300, 15, replace=False)
    given = truth.copy()
    given[wrong] = (given[wrong] + 1) % 3
    ranked = rank_label_errors(out_of_fold(features, given, 3), given)
    assert np.isin(ranked[:10], wrong).all()
    assert np.isin(wrong, ranked).mean() >= 0.7
    assert len(ranked) < 40


def test_right_labels_of_things_that_are_told_apart_are_left_alone():
    features, labels = clouds()
    apart = features + 10 * np.eye(3)[labels]
    assert len(rank_label_errors(out_of_fold(apart.astype("f4"), labels, 3), labels)) == 0


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
    assert len(rank_label_errors(np.zeros((0, 3), "f4"), np.zeros(0, np.int64))) == 0


def found(*boxes):
    return Detection(tuple(DetectedBox(label, score, xyxy) for label, score, xyxy in boxes), 50, 50)


def test_boxes_that_only_the_model_or_only_a_person_sees_are_doubtful():
    drawn = [{"label": "a", "xyxy": (0, 0, 10, 10), "crowd": False}]
    same = ("a", 0.9, (0, 0, 10, 10))
    assert doubt_boxes(0, drawn, found(same)) is None
    assert doubt_boxes(0, drawn, found(same, ("b", 0.3, (20, 20, 30, 30)))) is None
    extra = doubt_boxes(0, drawn, found(same, ("b", 0.8, (20, 20, 30, 30))))
    assert (extra.weight, extra.detail) == (0.8, "1 found and not drawn, the surest b 80 %")
    missed = doubt_boxes(0, drawn, found())
    assert (missed.weight, missed.detail) == (0.5, "1 drawn and not found, such as a")
    crowd = [{**drawn[0], "crowd": True}]
    assert doubt_boxes(0, crowd, found()) is None
