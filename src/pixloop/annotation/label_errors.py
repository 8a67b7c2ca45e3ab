"""Labels of the training data that are likely to be wrong, by what the pictures beside them say.

Classification is confident learning (Northcutt, Jiang, Chuang, Confident learning: estimating
uncertainty in dataset labels, 2021): a logistic regression on what the model sees tells each
picture's classes without having learned from that picture's own label; a label is doubtful where
another class reaches the probability that this other class has, on the average, on pictures of its
own. Doubtful labels are ranked by the probability of the label that was given.

The network itself has learned from the labels in doubt, so that a few wrong ones may have shaped
what it sees: what is found is right more often than not, and is not all there is.

Detection is simpler: what the model finds and nobody drew, and what somebody drew and the model
finds nowhere. It has learned from these very boxes, so what it contradicts all the same is worth a
look; a box that it has learned by heart is not found.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixloop.annotation.items import Candidate, Reason
from pixloop.annotation.uncertainty import match_boxes
from pixloop.bundle import Bundle
from pixloop.data.dataset import Dataset, Row, Split
from pixloop.errors import AnnotationError, ImageError
from pixloop.monitoring.embedding import Embedder, load_projection
from pixloop.monitoring.extractor import measuring_threads
from pixloop.monitoring.reference import EMBEDDING, FOLDER
from pixloop.progress import progress
from pixloop.records import Decision, Detection
from pixloop.serving.predictor import open_predictor

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]

#: Parts that the pictures are cut into; each is judged by a model of the others.
FOLDS = 5
#: Inverse strength of the regression's penalty, on features of unit variance.
PENALTY = 0.1
#: Pictures in memory at once.
_BATCH = 32
#: A box that was found and not drawn, or drawn and not found, is a doubt from this weight on.
_LEAST_BOX_DOUBT = 0.5


@dataclass(frozen=True, slots=True)
class Doubt:
    """A picture of a data set whose label or boxes are doubtful.

    Attributes:
        index: the row in its split.
        weight: 0 to 1.
        detail: for people.
        answer: what the model, or the pictures beside it, say; as the server's JSON.
        embedding: float32 (E,), where there is one.
    """

    index: int
    weight: float
    detail: str
    answer: dict[str, Any]
    embedding: tuple[float, ...] = ()


def find_label_errors(
    data: Dataset, bundle: Bundle, model: str, most: int, split: str = "train"
) -> Iterator[Candidate]:
    """The pictures of a split whose labels are most doubtful, the most doubtful first.

    Args:
        data: the data set that the version learned from.
        bundle: the version's.
        model: what its answers call it.
        most: how many at most.
        split: of the data set.

    Raises:
        AnnotationError: the bundle's classes are not the data set's, or it has no embedding.
    """
    classes = bundle.manifest.classes
    if tuple(classes) != tuple(data.info.classes):
        raise AnnotationError(
            f"{model} and the data set in {data.folder} have different classes; expected those of "
            "the version's own data set. Run 'pixloop run' again."
        )
    rows = data.split(split)
    find = _in_boxes if data.info.task == "detection" else _in_labels
    for doubt in find(rows, bundle)[:most]:
        row = rows.read(doubt.index)
        yield _candidate(row, doubt, classes, model, split)


# ---- classification


def _in_labels(rows: Split, bundle: Bundle) -> list[Doubt]:
    classes = bundle.manifest.classes
    seen = _embed(rows, bundle)
    labels = rows.labels
    shares = out_of_fold(seen, labels, len(classes))
    doubts = []
    for index in rank_label_errors(shares, labels).tolist():
        given, best = int(labels[index]), int(shares[index].argmax())
        detail = (
            f"labelled {classes[given]}; by the other pictures it is {classes[best]} "
            f"({shares[index, best]:.0%})"
        ).replace("%", " %")
        answer = {
            "label": classes[best],
            "score": float(shares[index, best]),
            "decision": Decision.REFER.value,
            "probabilities": dict(zip(classes, map(float, shares[index]), strict=True)),
        }
        weight = 1.0 - float(shares[index, given])
        doubts.append(Doubt(index, weight, detail, answer, tuple(map(float, seen[index]))))
    return doubts


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
    classes = shares.shape[1]
    usual = np.full(classes, np.inf)
    for label in range(classes):
        own = shares[labels == label, label]
        if len(own):
            usual[label] = own.mean()
    given = shares[np.arange(len(labels)), labels]
    reached = np.where(shares >= usual, shares, 0.0)
    reached[np.arange(len(labels)), labels] = 0.0
    doubtful = np.flatnonzero(reached.max(axis=1, initial=0.0) > given)
    return doubtful[np.argsort(given[doubtful], kind="stable")]


def _spread(labels: Labels, folds: int, seed: int) -> NDArray[np.intp]:
    """A fold for each picture, such that every class is in all of them."""
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    order = shuffled[np.argsort(labels[shuffled], kind="stable")]
    parts = np.empty(len(labels), np.intp)
    parts[order] = np.arange(len(labels)) % folds
    return parts


def _embed(rows: Split, bundle: Bundle) -> Floats:
    """What the model sees in each picture, float32 (N, E); zeros where one cannot be read."""
    record = bundle.manifest.reference
    if record is None or record.embedding is None:
        why = "an older pixloop exported it" if record is None else record.without_embedding
        raise AnnotationError(
            f"the bundle {bundle.path} has no embedding to tell doubtful labels by: {why}. Run "
            "'pixloop run' again, or leave --label-errors out."
        )
    bundle.verify(bundle.graph_files(record.embedding.graph))
    threads = measuring_threads()
    embedder = Embedder(bundle.path, bundle.manifest, record.embedding, threads)
    projection = load_projection(bundle.path / FOLDER / EMBEDDING)
    seen = np.zeros((len(rows), projection.width), np.float32)

    def see(row: Row) -> Floats:
        try:
            place: Floats = projection.project(embedder(row.image)[None])[0]
        except ImageError:
            place = np.zeros(projection.width, np.float32)
        return place

    done = 0
    with ThreadPoolExecutor(threads) as pool, progress("looking at labels", len(rows)) as advance:
        for some in _batches(rows):
            seen[done : done + len(some)] = list(pool.map(see, some))
            done += len(some)
            advance(len(some))
    return seen


def _batches(rows: Split) -> Iterator[list[Row]]:
    each = iter(rows)
    while batch := list(islice(each, _BATCH)):
        yield batch


# ---- detection


def _in_boxes(rows: Split, bundle: Bundle) -> list[Doubt]:
    predictor = open_predictor(bundle)
    classes = bundle.manifest.classes
    doubts, done = [], 0
    with progress("looking at boxes", len(rows)) as advance:
        for some in _batches(rows):
            answers = predictor.predict([row.image for row in some])
            for index, (row, answer) in enumerate(zip(some, answers, strict=True), start=done):
                if isinstance(answer, Detection):
                    doubt = doubt_boxes(index, _drawn(row, classes), answer)
                    doubts += [doubt] if doubt else []
            done += len(some)
            advance(len(some))
    return sorted(doubts, key=lambda doubt: (-doubt.weight, doubt.index))


def doubt_boxes(index: int, drawn: Sequence[dict[str, Any]], answer: Detection) -> Doubt | None:
    """What is doubtful about a picture's boxes, if anything is.

    A box that was found and not drawn weighs its score. One that was drawn and not found weighs
    nothing more than the least doubt: detectors miss things that are there.

    Args:
        index: the picture's row.
        drawn: each with ``label`` and ``xyxy``; crowds with ``crowd``.
        answer: the model's.
    """
    found = [asdict(box) for box in answer.boxes]
    pairs = match_boxes(drawn, found)
    drawn_found = {i for i, _ in pairs}
    found_drawn = {j for _, j in pairs}
    extra = [box for j, box in enumerate(found) if j not in found_drawn]
    missed = [b for i, b in enumerate(drawn) if i not in drawn_found and not b.get("crowd")]
    weight = max([box["score"] for box in extra], default=0.0)
    if missed:
        weight = max(weight, _LEAST_BOX_DOUBT)
    if weight < _LEAST_BOX_DOUBT:
        return None
    parts = []
    if extra:
        surest = max(extra, key=lambda box: float(box["score"]))
        score = f"{surest['score']:.0%}".replace("%", " %")
        parts.append(f"{len(extra)} found and not drawn, the surest {surest['label']} {score}")
    if missed:
        parts.append(f"{len(missed)} drawn and not found, such as {missed[0]['label']}")
    document = {"boxes": found, "width": answer.width, "height": answer.height}
    return Doubt(index, float(weight), "; ".join(parts), document)


def _drawn(row: Row, classes: Sequence[str]) -> list[dict[str, Any]]:
    if row.objects is None:
        return []
    objects = row.objects
    return [
        {"label": classes[label], "xyxy": tuple(box), "crowd": crowd}
        for label, box, crowd in zip(
            objects.labels.tolist(), objects.boxes.tolist(), objects.crowd.tolist(), strict=True
        )
    ]


def _candidate(row: Row, doubt: Doubt, classes: Sequence[str], model: str, split: str) -> Candidate:
    label = classes[row.label] if row.label >= 0 else ""
    return Candidate(
        sha256=row.sha256,
        picture=row.image,
        reasons=(Reason("label_error", doubt.detail, doubt.weight),),
        answer=doubt.answer,
        model=model,
        at="",
        embedding=doubt.embedding,
        origin={"dataset": split, "path": row.path, **({"label": label} if label else {})},
    )
