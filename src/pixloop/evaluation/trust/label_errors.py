"""Labels that are likely to be wrong, by what the model and the pictures beside them say.

It is confident learning (Northcutt, Jiang, Chuang, Confident learning: estimating uncertainty in
dataset labels, 2021) on probabilities that do not know a picture's own label: of test pictures the
model's own; of the others those of a logistic regression on what the model sees, which learned from
the other folds' pictures. A label is doubtful where another class reaches the probability that this
other class has, on the average, on pictures of its own. Doubtful labels are ranked by the
probability of the label that was given.

The network itself has learned from the labels in doubt, so that a few wrong ones may have shaped
what it sees: what is found is right more often than not, and is not all there is.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]

#: Parts that the pictures are cut into; each is judged by a model of the others.
FOLDS = 5
#: Inverse strength of the regression's penalty, on features of unit variance.
PENALTY = 0.1
#: The share of labels that ``check_finding`` flips.
FLIPPED = 0.05


@dataclass(frozen=True, slots=True)
class Source:
    """Pictures whose labels are judged by one kind of probabilities.

    Attributes:
        rows: int64 (N,), which pictures they are, to whoever asks.
        labels: int64 (N,), as they were given.
        features: float32 (N, E), from which the probabilities are made out of fold; or None.
        shares: float32 (N, C), the probabilities, where there are no features.
    """

    rows: Labels
    labels: Labels
    features: Floats | None = None
    shares: Floats | None = None

    def judge(self, labels: Labels, classes: int) -> Floats:
        """Probabilities float32 (N, C) that do not know a picture's own label."""
        if self.features is not None:
            return out_of_fold(self.features, labels, classes)
        if self.shares is None:
            raise ValueError("labels can be judged neither by features nor by shares")
        return self.shares


@dataclass(frozen=True, slots=True)
class LabelDoubt:
    """A doubtful label.

    Attributes:
        row: which picture, as ``Source.rows`` has it.
        label: the class that was given.
        likely: the most probable class.
        shares: float32 (C,), of all classes.
    """

    row: int
    label: int
    likely: int
    shares: Floats

    @property
    def sure(self) -> float:
        """How probable it is that the given label is wrong, as the model sees it, 0 to 1."""
        return 1.0 - float(self.shares[self.label])


@dataclass(frozen=True, slots=True)
class Finding:
    """How well flipped labels are found, on the very pictures that were looked through.

    Attributes:
        flipped: labels that were flipped on purpose, each to another class by chance.
        found: how many of them are doubtful then.
        first: how many of the first ``flipped`` of the list are flipped ones. Labels that were
            wrong before count against it.
        counted: how much the estimate rises by them.
    """

    flipped: int
    found: int
    first: int
    counted: float


def doubt_labels(sources: Sequence[Source], classes: int) -> tuple[list[LabelDoubt], float]:
    """The doubtful labels, the most doubtful first, and an estimate of how many are wrong.

    Args:
        sources: the pictures.
        classes: how many there are, C.
    """
    doubts, wrong = [], 0.0
    for source in sources:
        shares = source.judge(source.labels, classes)
        wrong += estimate_errors(shares, source.labels)
        doubts += [
            LabelDoubt(
                int(source.rows[i]), int(source.labels[i]), _other(shares[i], source.labels[i]),
                shares[i],
            )
            for i in rank_label_errors(shares, source.labels).tolist()
        ]  # fmt: skip
    return sorted(doubts, key=lambda doubt: (-doubt.sure, doubt.row)), wrong


def check_finding(sources: Sequence[Source], classes: int, seed: int = 0) -> Finding | None:
    """Flip some labels on purpose, and see how many are found; None where there are too few.

    Args:
        sources: the pictures.
        classes: how many there are.
        seed: of which labels are flipped, and to what.
    """
    rng = np.random.default_rng(seed)
    ranked: list[tuple[float, bool]] = []
    flipped, counted = 0, 0.0
    for source in sources:
        count = round(len(source.labels) * FLIPPED)
        wrong = rng.choice(len(source.labels), count, replace=False)
        given = source.labels.copy()
        given[wrong] = (given[wrong] + rng.integers(1, classes, count)) % classes
        shares = source.judge(given, classes)
        before = estimate_errors(source.judge(source.labels, classes), source.labels)
        counted += estimate_errors(shares, given) - before
        order = rank_label_errors(shares, given)
        planted = np.isin(order, wrong).tolist()
        ranked += zip(shares[order, given[order]].tolist(), planted, strict=True)
        flipped += count
    if not flipped:
        return None
    hits = [planted for _, planted in sorted(ranked)]
    return Finding(flipped, sum(hits), sum(hits[:flipped]), counted)


def out_of_fold(
    features: Floats, labels: Labels, classes: int, folds: int = FOLDS, seed: int = 0
) -> Floats:
    """The classes' probabilities for each picture, by a regression on the pictures of other folds.

    Args:
        features: float32 (N, E).
        labels: int64 (N,), as they were given.
        classes: how many there are, C.
        folds: parts; each class is spread evenly over them as far as it goes.
        seed: decides which picture is in which part.

    Returns:
        float32 (N, C). A class that no other fold has gets nothing.
    """
    # scikit-learn takes half a second to import.
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    shares = np.zeros((len(labels), classes), np.float32)
    parts = _spread(labels, folds, seed)
    for part in range(folds):
        inside = parts == part
        known = np.unique(labels[~inside])
        if not inside.any() or not len(known):
            continue
        if len(known) == 1:
            shares[inside, known[0]] = 1.0
            continue
        regression = LogisticRegression(C=PENALTY, max_iter=1000)
        model = make_pipeline(StandardScaler(), regression)
        model.fit(features[~inside], labels[~inside])
        shares[np.ix_(inside, model.classes_)] = model.predict_proba(features[inside])
    return shares


def rank_label_errors(shares: Floats, labels: Labels) -> NDArray[np.intp]:
    """The pictures whose labels are doubtful, the most doubtful first.

    Args:
        shares: float32 (N, C), out of fold.
        labels: int64 (N,), as they were given.

    Returns:
        Indices, M of them: a picture is doubtful where another class is at least as probable as it
        is on the average where it was given, and more probable than the one given.
    """
    given = shares[np.arange(len(labels)), labels]
    reached = np.where(shares >= _usual(shares, labels), shares, 0.0)
    reached[np.arange(len(labels)), labels] = 0.0
    doubtful = np.flatnonzero(reached.max(axis=1, initial=0.0) > given)
    return doubtful[np.argsort(given[doubtful], kind="stable")]


def estimate_errors(shares: Floats, labels: Labels) -> float:
    """How many labels are wrong, by the calibrated confident joint of given and true classes.

    Each picture that reaches some class's usual probability counts for the most probable of
    those; of each given class the counts are scaled to all its pictures. What looks like another
    class without being one is counted too, so that it is rather too many than too few.

    Args:
        shares: float32 (N, C), out of fold.
        labels: int64 (N,), as they were given.
    """
    reached = np.where(shares >= _usual(shares, labels), shares, -1.0)
    confident = reached.max(axis=1, initial=-1.0) >= 0
    wrong = confident & (reached.argmax(axis=1) != labels)
    total = 0.0
    for label in np.unique(labels[confident]):
        own = labels == label
        total += float(own.sum() * (own & wrong).sum() / (own & confident).sum())
    return total


def _usual(shares: Floats, labels: Labels) -> NDArray[np.float64]:
    """The mean probability of each class where it was given, (C,); of one that never was, ∞."""
    usual = np.full(shares.shape[1], np.inf)
    for label in np.unique(labels):
        usual[label] = shares[labels == label, label].mean()
    return usual


def _other(shares: Floats, label: int) -> int:
    """The most probable class but the one given."""
    others = shares.copy()
    others[label] = -1.0
    return int(others.argmax())


def _spread(labels: Labels, folds: int, seed: int) -> NDArray[np.intp]:
    """A fold for each picture, such that every class is in all of them."""
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    order = shuffled[np.argsort(labels[shuffled], kind="stable")]
    parts = np.empty(len(labels), np.intp)
    parts[order] = np.arange(len(labels)) % folds
    return parts
