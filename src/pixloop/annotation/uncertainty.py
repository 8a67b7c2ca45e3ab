"""How unsure an answer is, and two answers apart: of the server's JSON for a picture.

Of a classification it is the margin between the two most probable classes (Scheffer et al., 2001);
of a detection, how many of its boxes are expected to be wrong.
"""

from collections.abc import Mapping, Sequence
from math import exp
from typing import Any

from pixloop.records import Xyxy

#: Boxes of one class that overlap so much are the same thing.
SAME_BOX = 0.5

Answer = Mapping[str, Any]


def doubt(answer: Answer) -> float:
    """How unsure an answer is, from 0 to 1."""
    if "boxes" in answer:
        return 1.0 - exp(-sum(1.0 - float(box["score"]) for box in answer["boxes"]))
    shares = sorted((float(p) for p in answer["probabilities"].values()), reverse=True)
    return 1.0 - (shares[0] - (shares[1] if len(shares) > 1 else 0.0))


def words_of(answer: Answer) -> str:
    """An unsure answer for people.

    >>> words_of({"label": "bus", "score": 0.51, "probabilities": {"bus": 0.51, "car": 0.4}})
    'bus 51 %, car 40 %'
    """
    if "boxes" in answer:
        unsure = [box for box in answer["boxes"] if box["decision"] == "refer"]
        shown = ", ".join(f"{box['label']} {_percent(box['score'])}" for box in unsure[:3])
        more = f" and {len(unsure) - 3} more" if len(unsure) > 3 else ""
        return f"{len(unsure)} of {len(answer['boxes'])} boxes unsure: {shown}{more}"
    return ", ".join(f"{name} {_percent(share)}" for name, share in top_classes(answer, 2))


def top_classes(answer: Answer, count: int) -> list[tuple[str, float]]:
    """The most probable classes of a classification, the first first."""
    shares = answer.get("probabilities", {})
    return sorted(shares.items(), key=lambda pair: (-pair[1], pair[0]))[:count]


def disagreement(a: Answer, b: Answer) -> tuple[float, str] | None:
    """How much two answers for one picture contradict one another, 0 to 1, and in words.

    None where they agree. Two sure answers that differ contradict one another the most.
    """
    if "boxes" in a:
        return _of_boxes(a["boxes"], b["boxes"])
    if a["label"] == b["label"]:
        return None
    sure = (float(a["score"]) + float(b["score"])) / 2
    words = f"{a['label']} {_percent(a['score'])} against {b['label']} {_percent(b['score'])}"
    return sure, words


def _of_boxes(a: Sequence[Answer], b: Sequence[Answer]) -> tuple[float, str] | None:
    total = len(a) + len(b)
    matched = 2 * len(match_boxes(a, b))
    if matched == total:
        return None
    alone = total - matched
    return alone / total, f"{alone} of {total} boxes are seen by one of the two only"


def match_boxes(a: Sequence[Answer], b: Sequence[Answer]) -> list[tuple[int, int]]:
    """Boxes of the same class that overlap by ``SAME_BOX``, each once, the largest overlaps first.

    Args:
        a: each with ``label`` and ``xyxy``.
        b: likewise.

    Returns:
        Pairs of indices.
    """
    pairs = sorted(
        (
            (-overlap(one["xyxy"], other["xyxy"]), i, j)
            for i, one in enumerate(a)
            for j, other in enumerate(b)
            if one["label"] == other["label"]
        ),
    )
    free_a, free_b, found = set(range(len(a))), set(range(len(b))), []
    for negative, i, j in pairs:
        if -negative >= SAME_BOX and i in free_a and j in free_b:
            found.append((i, j))
            free_a.remove(i)
            free_b.remove(j)
    return found


def overlap(a: Xyxy, b: Xyxy) -> float:
    """The intersection of two boxes over their union.

    >>> overlap((0, 0, 2, 2), (1, 0, 3, 2))
    0.3333333333333333
    """
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    area = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return float(both / (area - both))


def _percent(share: float) -> str:
    return f"{round(100 * float(share))} %"
