"""Which of many pictures are worth asking: a random share, and of the rest those that differ.

The random share is drawn by lot, and nothing else has a say in it: what is drawn may be as hard as
any chosen picture, and counts as random all the same, for leaving it out would make the draw
easier than the stream. Those that take part in the draw are asked in no other way.

The rest are the weightiest, several times as many as are asked, brought into as many clusters as
are asked; of each cluster the picture nearest to its centre is taken, so that a hundred pictures
with the same doubt do not crowd out the second doubt (Zhdanov, Diverse mini-batch active learning,
2019). Near-duplicates of what is asked already are left out.
"""

import warnings
from collections.abc import Iterable, Sequence
from math import ceil

import numpy as np
from numpy.typing import NDArray

from pixloop.annotation.items import Drawn, Item

Floats = NDArray[np.float32]
Indices = NDArray[np.intp]

#: So many of the weightiest pictures a place are held against one another.
CANDIDATES_A_PLACE = 3
#: Pictures nearer to one another than this share of the median distance are taken to show the same.
#: Measured on intel: of different pictures less than 1 in 100 has another one so near (0.20); of a
#: picture saved again as JPEG of quality 75, two in three are, of quality 50, one in four.
NEAR = 0.15
#: Pictures that the median distance is taken over.
_SAMPLE = 500
#: Dimensions over which pictures without an embedding are spread.
_SPREAD = 8


def select(
    items: Sequence[Item],
    budget: int,
    random_share: float,
    seed: int = 0,
    held: Sequence[Item] = (),
) -> list[tuple[Item, Drawn]]:
    """The pictures to ask next, and how each came to it.

    Args:
        items: those that wait.
        budget: how many to ask, at most.
        random_share: of the budget, 0 to 1, drawn among those that have a ticket. Where too few
            wait with one, the others fill the places, and the other way round. Where it is 0,
            tickets count for nothing.
        seed: of what chance decides.
        held: asked before; what looks like one of them is not chosen.
    """
    draws = random_share > 0
    tickets = sorted(
        (item for item in items if draws and item.ticket is not None),
        key=lambda item: (-(item.ticket or 0.0), item.sha256),
    )
    others = [item for item in items if not draws or item.ticket is None]
    drawn = tickets[: ceil(budget * random_share)]
    chosen = _choose(others, budget - len(drawn), [*held, *drawn], seed)
    # What is left over is drawn too: the next in the order of the draw, so it stays a fair one.
    drawn = tickets[: budget - len(chosen)]
    return [(item, "random") for item in drawn] + [(item, "chosen") for item in chosen]


def _choose(items: list[Item], count: int, held: Sequence[Item], seed: int) -> list[Item]:
    if count <= 0 or not items:
        return []
    places = embed_items([*items, *held])
    places, around = places[: len(items)], places[len(items) :]
    weights = np.array([item.weight for item in items], np.float32)
    return [items[i] for i in select_diverse(weights, places, count, around, seed)]


def select_diverse(
    weights: Floats,
    places: Floats,
    count: int,
    held: Floats | None = None,
    seed: int = 0,
) -> list[int]:
    """Heavy pictures that differ from one another and from those asked before.

    Args:
        weights: float32 (N,), 0 to 1, how much there is to learn of each.
        places: float32 (N, E), where each is seen.
        count: how many are wanted.
        held: float32 (H, E), where those are that were asked before.
        seed: of the clusters' first centres.

    Returns:
        Indices, the heaviest first; fewer than ``count`` where others are near-duplicates.
    """
    order = np.argsort(-weights, kind="stable")[: max(1, count) * CANDIDATES_A_PLACE * 2]
    order = _without_duplicates(order, places, held)
    if len(order) <= count:
        return [int(i) for i in order]
    top = order[: count * CANDIDATES_A_PLACE]
    picked = _nearest_to_centres(top, weights, places, count, seed)
    picked += [int(i) for i in top if i not in set(picked)][: count - len(picked)]
    return sorted(picked, key=lambda i: (-weights[i], i))


def _nearest_to_centres(
    top: Indices, weights: Floats, places: Floats, count: int, seed: int
) -> list[int]:
    # scikit-learn takes half a second to import.
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    seen = places[top].astype(np.float64)
    with warnings.catch_warnings():
        # There may be fewer different places than clusters.
        warnings.simplefilter("ignore", ConvergenceWarning)
        clusters = KMeans(count, n_init=1, random_state=seed).fit(
            seen, sample_weight=weights[top].astype(np.float64) + 1e-6
        )
    apart = np.square(seen - clusters.cluster_centers_[clusters.labels_]).sum(axis=1)
    best: dict[int, int] = {}
    for place, cluster in enumerate(clusters.labels_.tolist()):
        if cluster not in best or apart[place] < apart[best[cluster]]:
            best[cluster] = place
    return [int(top[place]) for place in best.values()]


def _without_duplicates(order: Indices, places: Floats, held: Floats | None) -> Indices:
    """Of pictures that show the same, the first."""
    limit = NEAR * _median_distance(places)
    kept: list[int] = []
    seen = np.empty((len(order) + (0 if held is None else len(held)), places.shape[1]), np.float32)
    count = 0
    if held is not None and len(held):
        seen[: len(held)] = held
        count = len(held)
    for index in order.tolist():
        if count == 0 or _least_distance(places[index], seen[:count]) > limit:
            kept.append(index)
            seen[count] = places[index]
            count += 1
    return np.array(kept, np.intp)


def _least_distance(place: Floats, others: Floats) -> float:
    return float(np.sqrt(np.square(others - place).sum(axis=1).min()))


def _median_distance(places: Floats) -> float:
    some = places[:: max(1, len(places) // _SAMPLE)]
    if len(some) < 2:
        return 0.0
    left, right = np.triu_indices(len(some), 1)
    return float(np.median(np.sqrt(np.square(some[left] - some[right]).sum(axis=1))))


def embed_items(items: Iterable[Item]) -> Floats:
    """Where pictures are seen, float32 (N, E).

    What two versions see cannot be compared: each has coordinates of its own, scaled alike, so that
    pictures that different versions saw are far apart. Those without an embedding are told apart by
    what the model answered.
    """
    items = list(items)
    blocks: dict[tuple[str, int], list[int]] = {}
    for number, item in enumerate(items):
        blocks.setdefault((item.model, len(item.embedding)), []).append(number)
    parts = []
    for (_, width), numbers in sorted(blocks.items()):
        if width:
            # What could not be seen of a picture that cannot be read is NaN.
            seen = _scaled(np.nan_to_num(np.array([items[n].embedding for n in numbers], "f4")))
        else:
            seen = _by_answer([items[n] for n in numbers])
        part = np.zeros((len(items), seen.shape[1]), np.float32)
        part[numbers] = seen
        parts.append(part)
    return np.concatenate(parts, axis=1) if parts else np.zeros((0, 0), np.float32)


def _scaled(seen: Floats) -> Floats:
    """Centred, and with a mean square of 1."""
    centred = seen - seen.mean(axis=0)
    size = float(np.sqrt(np.square(centred).sum(axis=1).mean()))
    scaled: Floats = centred / size if size > 0 else centred
    return scaled


def _by_answer(items: list[Item]) -> Floats:
    """A direction for each answer; within one, pictures are spread at random, so none are alike."""
    answers = [_answer_words(item) for item in items]
    columns = {answer: i for i, answer in enumerate(sorted(set(answers)))}
    seen = np.zeros((len(items), len(columns) + _SPREAD), np.float32)
    for row, (item, answer) in enumerate(zip(items, answers, strict=True)):
        seen[row, columns[answer]] = 1.0
        digits = np.frombuffer(bytes.fromhex(item.sha256)[:_SPREAD], np.uint8)
        seen[row, len(columns) :] = digits / 255.0
    return seen


def _answer_words(item: Item) -> str:
    boxes = item.answer.get("boxes")
    if boxes is None:
        return str(item.answer.get("label", ""))
    return ",".join(sorted({str(box["label"]) for box in boxes}))
