"""MAPIE's threshold for each case that it is given; runs in an environment of its own.

    python mapie_thresholds.py CASES ANSWERS

CASES is an .npz with, for each case i, scores_i and correct_i; ``max_error`` and ``confidence`` of
each; ANSWERS becomes JSON: a method's name to the thresholds, null where there is none.
"""

import json
import sys
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from mapie.risk_control import BinaryClassificationController, FWERFixedSequenceTesting

warnings.filterwarnings("ignore")


def both(scores: Any) -> Any:
    """The probabilities that an answer is wrong, and right."""
    column = np.asarray(scores).reshape(-1)
    return np.stack([1 - column, column], axis=1)


def methods() -> dict[str, Any]:
    """Its default, and its tests in sequence with one start and with four."""
    return {
        "bonferroni_holm": "bonferroni_holm",
        "fixed_sequence": "fixed_sequence",
        "fixed_sequence, 4 starts": FWERFixedSequenceTesting(n_starts=4),
    }


def choose(scores: Any, correct: Any, max_error: float, confidence: float, method: Any) -> Any:
    """The threshold that its controller takes, or None."""
    if not len(scores):
        return None
    controller = BinaryClassificationController(
        predict_function=both,
        risk="precision",
        target_level=1 - max_error,
        confidence_level=confidence,
        fwer_method=method,
    )
    # Answers of one of two classes: "it is right". Candidates are its own, 0 to 0.99.
    controller.calibrate(np.asarray(scores).reshape(-1, 1), np.asarray(correct).astype(int))
    best = controller.best_predict_param
    return None if best is None else float(np.ravel(best)[0])


def main() -> None:
    cases = np.load(sys.argv[1])
    limits = list(zip(cases["max_error"].tolist(), cases["confidence"].tolist(), strict=True))
    found = {
        name: [
            choose(cases[f"scores_{i}"], cases[f"correct_{i}"], *limit, method)
            for i, limit in enumerate(limits)
        ]
        for name, method in methods().items()
    }
    text = json.dumps({"version": version("mapie"), "thresholds": found})
    Path(sys.argv[2]).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
