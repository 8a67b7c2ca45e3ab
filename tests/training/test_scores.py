import numpy as np
import torch
from sklearn.metrics import confusion_matrix, f1_score, precision_score, recall_score

from pixloop.training.scores import confusion, score


def test_the_scores_are_scikit_learns():
    torch.manual_seed(0)
    logits, targets = torch.randn(60, 4), torch.randint(0, 4, (60,))
    guesses, found = logits.argmax(1), score(logits, targets)
    assert np.isclose(found["f1_macro"], f1_score(targets, guesses, average="macro"))
    assert np.isclose(found["precision_macro"], precision_score(targets, guesses, average="macro"))
    assert np.isclose(found["recall_macro"], recall_score(targets, guesses, average="macro"))
    assert np.isclose(found["accuracy"], (targets == guesses).float().mean())
    assert np.array_equal(confusion(logits, targets), confusion_matrix(targets, guesses))
