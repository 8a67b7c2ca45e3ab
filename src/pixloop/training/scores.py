"""How good answers are: the numbers that choose the epoch and go to TensorBoard."""

from collections.abc import Mapping, Sequence

from torch import Tensor
from torch.nn import functional
from torchmetrics.detection import MeanAveragePrecision
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_confusion_matrix,
    multiclass_f1_score,
    multiclass_precision,
    multiclass_recall,
)


def score(logits: Tensor, targets: Tensor) -> dict[str, float]:
    """Cross-entropy, accuracy, and macro F1, precision and recall.

    Args:
        logits: float32, shape (N, K), N ≥ 1.
        targets: int64, shape (N,), 0 ≤ target < K.

    >>> score(Tensor([[9, 0], [0, 9]]), Tensor([0, 1]).long())["f1_macro"]
    1.0
    """
    classes, guesses = logits.shape[1], logits.argmax(dim=1)
    shares = {
        "accuracy": multiclass_accuracy(guesses, targets, classes, average="micro"),
        "f1_macro": multiclass_f1_score(guesses, targets, classes, average="macro"),
        "precision_macro": multiclass_precision(guesses, targets, classes, average="macro"),
        "recall_macro": multiclass_recall(guesses, targets, classes, average="macro"),
    }
    # Sums of float32 go a little above 1.
    found = {name: min(1.0, float(value)) for name, value in shares.items()}
    return found | {"loss": float(functional.cross_entropy(logits, targets))}


def better(scores: Mapping[str, float], others: Mapping[str, float]) -> bool:
    """Higher macro F1 (a detector: AP50), or as high and better by a finer measure.

    Without validation there are no scores, and later is better.

    >>> better({"f1_macro": 0.9, "loss": 0.3}, {"f1_macro": 0.9, "loss": 0.4})
    True
    """
    return not scores or _rank(scores) > _rank(others)


def confusion(logits: Tensor, targets: Tensor) -> Tensor:
    """The confusion matrix, int64, shape (K, K): rows are true classes, columns predicted ones.

    >>> confusion(Tensor([[9, 0], [9, 0]]), Tensor([0, 1]).long()).tolist()
    [[1, 0], [1, 0]]
    """
    matrix: Tensor = multiclass_confusion_matrix(logits.argmax(dim=1), targets, logits.shape[1])
    return matrix


def score_boxes(
    found: Sequence[dict[str, Tensor]], truth: Sequence[dict[str, Tensor]]
) -> dict[str, float]:
    """COCO's mean average precision: over IoU 0.50 to 0.95, at 0.50, and at 0.75.

    Args:
        found: what is found in each picture: boxes float32 (M, 4) xyxy, scores (M,), labels (M,).
        truth: what is in each picture: boxes, labels, and iscrowd (M,).
    """
    # It would wait for the other processes of a training, which do not come.
    metric = MeanAveragePrecision(backend="faster_coco_eval", sync_on_compute=False)
    metric.update(list(found), list(truth))
    values = metric.compute()
    # It is -1 where there is nothing to find.
    return {name: max(0.0, float(values[name])) for name in ("map", "map_50", "map_75")}


def _rank(scores: Mapping[str, float]) -> tuple[float, float]:
    if "map_50" in scores:
        return scores["map_50"], scores["map"]
    return scores["f1_macro"], -scores["loss"]
