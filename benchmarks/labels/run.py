"""Accuracy against labels bought: the review queue's choice against chance.

    python benchmarks/labels/run.py DATA WEIGHTS [--cache features.npz] [--development]

DATA holds train/<class>/ and test/<class>/ (intel), WEIGHTS is mobilenetv2_100.timm.safetensors.
The network is never tuned here: what it sees is computed once, and a logistic regression on it is
fitted anew after each purchase. Writes results.json, RESULTS.md and labels.png beside this file;
with --development, prints what is reached on pictures held out of train, and writes nothing.
"""

import argparse
import os
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from features import read_features
from numpy.typing import NDArray
from report import write_report
from sklearn.linear_model import LogisticRegression

from pixloop.annotation.items import Item, Reason
from pixloop.annotation.selection import select
from pixloop.annotation.uncertainty import doubt
from pixloop.evaluation.trust.label_errors import out_of_fold, rank_label_errors

HERE = Path(__file__).parent
SEEDS, FIRST, LAST = 5, 30, 810
#: A purchase is a third of what was bought, so that it is made by a model that knows; 40 at most.
MOST_AT_ONCE = 40
POINTS = (50, 100, 150, 200, 300, 400, 600, 800)
COMPARED = (200, 400, 800)
HEAD_DIRECTIONS, PENALTY = 256, 0.003
KEPT_DIRECTIONS = 16  # of what is seen, the monitor keeps so much with each picture

Floats = NDArray[np.floating]


class World:
    """Pictures whose labels can be bought, and others to score on."""

    def __init__(self, pool: Floats, labels: Floats, held: Floats, truth: Floats) -> None:
        mean, spread = pool.mean(axis=0), pool.std(axis=0) + 1e-6
        # Directions and scales come from pictures alone, without labels.
        self.embeddings = (pool - mean) @ directions(pool - mean, KEPT_DIRECTIONS)
        scaled, scored = (pool - mean) / spread, (held - mean) / spread
        turn = directions(scaled, HEAD_DIRECTIONS)
        self.features, self.scored = scaled @ turn, scored @ turn
        self.labels, self.truth = labels, truth
        self.classes = int(labels.max()) + 1

    def fit(self, bought: list[int]) -> LogisticRegression:
        head = LogisticRegression(C=PENALTY, max_iter=500)
        return head.fit(self.features[bought], self.labels[bought])

    def accuracy(self, head: LogisticRegression) -> float:
        return float((head.predict(self.scored) == self.truth).mean())

    def item(self, head: LogisticRegression, index: int, shares: Floats) -> Item:
        names = [str(name) for name in head.classes_]
        answer = {
            "label": names[int(shares.argmax())],
            "score": float(shares.max()),
            "decision": "refer",
            "probabilities": dict(zip(names, map(float, shares), strict=True)),
        }
        reasons = [Reason("unsure", "", doubt(answer))]
        embedding = tuple(map(float, self.embeddings[index]))
        return Item(f"{index:064x}", tuple(reasons), answer, "m:1", "", embedding)


def directions(centred: Floats, count: int) -> Floats:
    return np.linalg.svd(centred, full_matrices=False)[2][:count].T


Choose = Callable[[World, LogisticRegression, list[int], int, np.random.Generator], list[int]]


def by_chance(
    world: World, head: LogisticRegression, bought: list[int], count: int, g: np.random.Generator
) -> list[int]:
    rest = np.setdiff1d(np.arange(len(world.labels)), bought)
    return [int(i) for i in g.choice(rest, count, replace=False)]


def by_queue(
    world: World, head: LogisticRegression, bought: list[int], count: int, g: np.random.Generator
) -> list[int]:
    """The function that 'pixloop review next' calls, on what the queue holds of each picture."""
    rest = np.setdiff1d(np.arange(len(world.labels)), bought)
    shares = head.predict_proba(world.features[rest])
    items = [world.item(head, int(i), s) for i, s in zip(rest, shares, strict=True)]
    known = head.predict_proba(world.features[bought])
    held = [world.item(head, i, s) for i, s in zip(bought, known, strict=True)]
    chosen = select(items, count, 0.0, int(g.integers(2**31)), held)
    return [int(item.sha256, 16) for item, _ in chosen]


def with_random_share(share: float) -> Choose:
    """As pixloop.yaml's default has it: a fifth of the budget goes to fair figures."""

    def choose(
        world: World,
        head: LogisticRegression,
        bought: list[int],
        count: int,
        g: np.random.Generator,
    ) -> list[int]:
        drawn = by_chance(world, head, bought, round(count * share), g)
        rest = by_queue(world, head, bought + drawn, count - len(drawn), g)
        return drawn + rest

    return choose


def by_doubt(
    world: World, head: LogisticRegression, bought: list[int], count: int, g: np.random.Generator
) -> list[int]:
    """The most doubtful alone, without regard to what they show."""
    rest = np.setdiff1d(np.arange(len(world.labels)), bought)
    shares = np.sort(head.predict_proba(world.features[rest]), axis=1)
    return [int(i) for i in rest[np.argsort(shares[:, -1] - shares[:, -2])[:count]]]


WAYS: dict[str, Choose] = {
    "random": by_chance,
    "ours": by_queue,
    "ours, a fifth of it random": with_random_share(0.2),
    "most doubtful": by_doubt,
}


def buy(
    world: World, choose: Choose, seed: int, at_once: int, grows: bool
) -> list[tuple[int, float]]:
    """Labels bought, and the accuracy with them, after each purchase."""
    g = np.random.default_rng(seed)
    bought = [int(i) for i in g.choice(len(world.labels), FIRST, replace=False)]
    curve = []
    while True:
        head = world.fit(bought)
        curve.append((len(bought), world.accuracy(head)))
        if len(bought) >= LAST:
            return curve
        count = min(at_once, max(10, len(bought) // 3)) if grows else at_once
        chosen = choose(world, head, bought, min(count, LAST - len(bought)), g)
        assert not set(chosen) & set(bought)
        bought += chosen


def curves(worlds: list[World], choose: Choose, at_once: int, grows: bool) -> Floats:
    """Accuracy at POINTS, (runs, points)."""
    rows = []
    for world in worlds:
        for seed in range(SEEDS):
            labels, accuracy = zip(*buy(world, choose, seed, at_once, grows), strict=True)
            rows.append(np.interp(range(FIRST, LAST + 1), labels, accuracy))
    return np.array(rows)


def needed(mean: Floats, wanted: float) -> float | None:
    """The fewest labels with which a mean curve reaches an accuracy."""
    reached = np.flatnonzero(mean >= wanted)
    return float(FIRST + reached[0]) if len(reached) else None


def measure(worlds: list[World], at_once: int = MOST_AT_ONCE, grows: bool = True) -> dict:
    found = {name: curves(worlds, choose, at_once, grows) for name, choose in WAYS.items()}
    chance = found["random"].mean(axis=0)
    result: dict = {}
    for name, rows in found.items():
        mean, spread = rows.mean(axis=0), rows.std(axis=0, ddof=1)
        result[name] = {
            "accuracy": {n: float(mean[n - FIRST]) for n in POINTS},
            "deviation": {n: float(spread[n - FIRST]) for n in POINTS},
            "needs": {n: needed(mean, float(chance[n - FIRST])) for n in COMPARED},
            "curve": [float(v) for v in mean[::10]],
            "spread": [float(v) for v in spread[::10]],
        }
    return result


def measure_label_errors(features: Floats, labels: NDArray[np.int64], share: float = 0.05) -> dict:
    """Flip labels on purpose; which of them are found?"""
    found = []
    for seed in range(SEEDS):
        g = np.random.default_rng(seed)
        wrong = g.choice(len(labels), round(len(labels) * share), replace=False)
        given = labels.copy()
        classes = int(labels.max()) + 1
        given[wrong] = (given[wrong] + g.integers(1, classes, len(wrong))) % classes
        ranked = rank_label_errors(out_of_fold(features, given, classes), given)
        hits = np.isin(ranked, wrong)
        found.append((hits[: len(wrong)].mean(), hits.sum() / len(wrong), len(ranked)))
    first, all_, many = np.mean(found, axis=0)
    return {"flipped": len(wrong), "right_of_first": first, "found": all_, "flagged": many}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--cache", type=Path, default=Path("features.npz"))
    parser.add_argument("--development", action="store_true")
    options = parser.parse_args()
    seen = read_features(options.data, options.weights, options.cache)
    train, labels = seen["train"], seen["train_labels"]
    if options.development:
        worlds = []
        for split in range(3):
            order = np.random.default_rng(100 + split).permutation(len(train))
            held, pool = order[:540], order[540:]
            worlds.append(World(train[pool], labels[pool], train[held], labels[held]))
        for name, each in measure(worlds).items():
            shown = " ".join(f"{n}:{v:.3f}" for n, v in each["accuracy"].items())
            print(f"{name:28} {shown} needs {each['needs']}", flush=True)
        return
    world = World(train, labels, seen["test"], seen["test_labels"])
    results = {
        "pool": len(train),
        "test": len(seen["test"]),
        "seeds": SEEDS,
        "growing": measure([world]),
        "rounds_of_100": measure([world], 100, grows=False),
        "label_errors": measure_label_errors(world.embeddings.astype(np.float32), labels),
    }
    write_report(HERE, results, FIRST)


if __name__ == "__main__":
    main()
