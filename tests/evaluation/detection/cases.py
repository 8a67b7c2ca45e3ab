"""Made-up pictures with true boxes, and what a detector of chosen skill finds in them."""

import numpy as np
from hypothesis import strategies as st

from pixloop.data.dataset import Objects
from pixloop.serving.detector import Found

SIDE = 64

Box = tuple[float, float, float, float]


def objects(*boxes: tuple[Box, int] | tuple[Box, int, bool]) -> Objects:
    """True boxes: xyxy and label, and whether it is a crowd region."""
    return Objects(
        boxes=np.array([b[0] for b in boxes], np.float64).reshape(-1, 4),
        labels=np.array([b[1] for b in boxes], np.int64),
        crowd=np.array([len(b) > 2 and b[2] for b in boxes], np.bool_),
    )


def found(*boxes: tuple[Box, int, float], side: int = SIDE) -> Found:
    """Found boxes: xyxy, label and score, in any order."""
    ordered = sorted(boxes, key=lambda b: -b[2])
    return Found(
        boxes=np.array([b[0] for b in ordered], np.float64).reshape(-1, 4),
        scores=np.array([b[2] for b in ordered], np.float64),
        labels=np.array([b[1] for b in ordered], np.int64),
        width=side,
        height=side,
    )


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    """Whole pixels on a small grid, so that boxes overlap often and exactly."""
    x, y = draw(st.integers(0, 40)), draw(st.integers(0, 40))
    return x, y, x + draw(st.sampled_from([4, 8, 12, 24])), y + draw(st.sampled_from([4, 8, 12]))


@st.composite
def worlds(draw: st.DrawFn, classes: int = 3) -> tuple[list[Found], list[Objects]]:
    """Pictures with crowd regions, ties, near hits, empty ones and absent classes."""
    labels = st.integers(0, classes - 1)
    searched, true = [], []
    for _ in range(draw(st.integers(1, 5))):
        things = draw(st.lists(st.tuples(boxes(), labels, st.booleans()), max_size=6))
        crowd_rarely = [(b, k, c and i % 3 == 0) for i, (b, k, c) in enumerate(things)]
        near = [
            (shift(b, draw(st.integers(-3, 3))), k, draw(scores))
            for b, k, _ in things
            if draw(st.booleans())
        ]
        wild = draw(st.lists(st.tuples(boxes(), labels, scores), max_size=5))
        true.append(objects(*crowd_rarely))
        searched.append(found(*near, *wild))
    return searched, true


scores = st.sampled_from([0.1, 0.3, 0.5, 0.5, 0.7, 0.9]) | st.floats(0.01, 1.0)


def shift(box: Box, by: int) -> Box:
    return box[0] + by, box[1], box[2] + by, box[3]


def simulate(
    pictures: int, seed: int, classes: int = 3, skill: float = 3.0
) -> tuple[list[Found], list[Objects]]:
    """Pictures of 0 to 5 squares, most of them found, and some false boxes with lower scores."""
    rng = np.random.default_rng(seed)
    searched, true = [], []
    for _ in range(pictures):
        places = rng.permutation(9)[: rng.integers(0, 6)]
        cells = [(float(p % 3) * 21, float(p // 3) * 21) for p in places]
        things = [((x, y, x + 20, y + 20), int(rng.integers(classes))) for x, y in cells]
        right = [
            (jitter(box, rng), label, sigmoid(rng.normal(skill, 1.5)))
            for box, label in things
            if rng.random() < 0.9
        ]
        wrong = [
            ((x, 44.0, x + 9, 60.0), int(rng.integers(classes)), sigmoid(rng.normal(-1, 1.5)))
            for x in rng.uniform(0, 50, rng.integers(0, 4))
        ]
        true.append(objects(*things))
        searched.append(found(*right, *wrong))
    return searched, true


def jitter(box: Box, rng: np.random.Generator) -> Box:
    x1, y1, x2, y2 = np.array(box) + rng.uniform(-1.5, 1.5, 4)
    return float(x1), float(y1), float(x2), float(y2)


def sigmoid(value: float) -> float:
    return float(1 / (1 + np.exp(-value)))
