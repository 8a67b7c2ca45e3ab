"""What is watched of each answered picture: one number a signal."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Literal

from pixloop.bundle import Task
from pixloop.records import Detection, Prediction

#: What kind of thing a signal tells of; each group may spend the same share of the false alarms.
Group = Literal["outputs", "classes", "embedding", "picture"]
Answer = Prediction | Detection

#: Of more classes than these, those that are answered most often are watched.
MOST_CLASSES = 12
#: Directions of the embedding that are watched, those in which pictures differ most.
DIRECTIONS = 4

_NONE = float("nan")
#: What a server's JSON keeps of a detector's numbers, so that an answer that was read from it and
#: one that was not are measured alike.
_SCORE_DECIMALS, _EDGE_DECIMALS = 6, 2
_PROBABILITY, _CLASS = "probability:", "class:"


@dataclass(frozen=True, slots=True)
class Signal:
    """One number that every answered picture has.

    Attributes:
        name: unique in a bundle: ``brightness``, ``probability:cat``, ``class:cat``.
        group: what it tells of.
        words: for people: "brightness", "probability of cat".
    """

    name: str
    group: Group
    words: str


#: Of the picture itself, in the order in which ``statistics`` gives them.
PICTURE_SIGNALS: tuple[Signal, ...] = tuple(
    Signal(name, "picture", words)
    for name, words in (
        ("brightness", "brightness"),
        ("contrast", "contrast"),
        ("saturation", "saturation"),
        ("red_green", "red against green"),
        ("blue_yellow", "blue against yellow"),
        ("sharpness", "sharpness"),
        ("noise", "noise"),
        ("bytes_per_pixel", "bytes a pixel"),
        ("megapixels", "size in megapixels"),
        ("aspect", "width over height"),
    )
)
EMBEDDING_SIGNALS: tuple[Signal, ...] = (
    Signal("embedding:distance", "embedding", "distance from what was learned"),
    *(
        Signal(f"embedding:{i}", "embedding", f"what the model sees, direction {i}")
        for i in range(1, DIRECTIONS + 1)
    ),
)

_OF_BOXES: tuple[Signal, ...] = (
    Signal("boxes", "outputs", "number of boxes"),
    Signal("confidence", "outputs", "score of the surest box"),
    Signal("mean_score", "outputs", "mean score of boxes"),
    Signal("box_area", "outputs", "size of boxes"),
)


def answer_signals(task: Task, answers: Sequence[Answer]) -> tuple[Signal, ...]:
    """What is watched of answers like these: of more classes than a few, the most frequent.

    Of two classes one is watched: the other's probability is what that one leaves.
    """
    found = Counter(label for answer in answers for label in _labels(answer))
    # Of equally frequent ones the first by name, whatever the order of the pictures.
    frequent = sorted(found, key=lambda name: (-found[name], name))[:MOST_CLASSES]
    if task == "detection":
        boxes = (Signal(_CLASS + c, "classes", f"number of boxes of {c}") for c in sorted(frequent))
        return (*_OF_BOXES, *boxes)
    known = {name for answer in answers[:1] for name in _probabilities(answer)}
    classes = sorted(frequent)[:1] if len(known) == 2 else sorted(frequent)
    return (
        Signal("confidence", "outputs", "probability of the answer"),
        *(Signal(_PROBABILITY + c, "outputs", f"probability of {c}") for c in classes),
        *(Signal(_CLASS + c, "classes", f"share of answers that are {c}") for c in classes),
    )


def measure_answer(answer: Answer, signals: Sequence[Signal]) -> list[float]:
    """The value of each of ``answer_signals``; NaN where an answer has none."""
    if isinstance(answer, Detection):
        values = _of_boxes(answer)
    else:
        values = {"confidence": answer.score}
        values |= {_PROBABILITY + c: share for c, share in answer.probabilities.items()}
    counts = Counter(_CLASS + label for label in _labels(answer))
    return [
        float(counts[signal.name]) if signal.group == "classes" else values.get(signal.name, _NONE)
        for signal in signals
    ]


def score_of(answer: Answer) -> float:
    """How sure an answer is: its score; of boxes, the mean of theirs, NaN where there are none."""
    return _of_boxes(answer)["mean_score"] if isinstance(answer, Detection) else answer.score


def _of_boxes(detection: Detection) -> dict[str, float]:
    """The values of ``_OF_BOXES``; the surest of no boxes has score 0."""
    scores = [round(box.score, _SCORE_DECIMALS) for box in detection.boxes]
    return {
        "boxes": float(len(scores)),
        "confidence": max(scores, default=0.0),
        "mean_score": fmean(scores) if scores else _NONE,
        "box_area": _median_area(detection),
    }


def _median_area(detection: Detection) -> float:
    """The middle one of the boxes' shares of the picture."""
    whole = detection.width * detection.height
    edges = ([round(edge, _EDGE_DECIMALS) for edge in box.xyxy] for box in detection.boxes)
    areas = [(x2 - x1) * (y2 - y1) / whole for x1, y1, x2, y2 in edges]
    return median(areas) if areas else _NONE


def _labels(answer: Answer) -> list[str]:
    return [box.label for box in answer.boxes] if isinstance(answer, Detection) else [answer.label]


def _probabilities(answer: Answer) -> Mapping[str, float]:
    return {} if isinstance(answer, Detection) else answer.probabilities
