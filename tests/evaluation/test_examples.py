import base64
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from pixloop.data.dataset import Dataset
from pixloop.evaluation.examples import RIGHT, UNSURE, WORST, choose_examples, thumbnail
from pixloop.evaluation.predictions import Predictions

Maker = Callable[..., Path]


def predictions(scores: list[float], right: list[bool]) -> Predictions:
    """Three classes in turn; a wrong answer is the next class."""
    targets = np.arange(len(scores)) % 3
    answers = np.where(right, targets, (targets + 1) % 3)
    table = np.repeat((1 - np.array(scores))[:, None] / 2, 3, axis=1)
    table[np.arange(len(scores)), answers] = scores
    return Predictions(
        classes=("blue", "green", "red"),
        paths=tuple(str(i) for i in range(len(scores))),
        sha256=("0" * 64,) * len(scores),
        targets=targets,
        probabilities=table,
        uncalibrated=table,
        accepted=np.array(scores) > 0.9,
    )


def test_mistakes_are_shown_surest_first_and_once(make_dataset: Maker) -> None:
    rng = np.random.default_rng(0)
    scores = rng.uniform(0.4, 1, 60).tolist()
    right = (rng.random(60) < 0.5).tolist()
    split = Dataset.open(make_dataset(60)).split("test")
    found = choose_examples(predictions(scores, right), split)
    assert (len(found.worst), len(found.unsure), len(found.right)) == (WORST, UNSURE, RIGHT)
    expected = sorted((s for s, r in zip(scores, right, strict=True) if not r), reverse=True)
    assert [e.score for e in found.worst] == expected[:WORST]
    assert not any(e.right for e in found.worst)
    assert all(e.right for e in found.right)
    assert {e.label for e in found.right[:3]} == {"blue", "green", "red"}
    shown = [e.path for e in (*found.worst, *found.unsure, *found.right)]
    assert len(shown) == len(set(shown))


def test_a_model_that_is_always_right_has_no_mistakes(make_dataset: Maker) -> None:
    split = Dataset.open(make_dataset(4)).split("test")
    found = choose_examples(predictions([0.9, 0.8, 0.7, 0.6], [True] * 4), split)
    assert found.worst == ()
    assert [e.score for e in found.unsure] == [0.6, 0.7, 0.8, 0.9]


def test_large_pictures_shrink_and_tiny_ones_keep_their_pixels() -> None:
    for side, kind, small in ((1200, "jpeg", False), (8, "png", True)):
        buffer = io.BytesIO()
        Image.effect_noise((side, side), 80).convert("RGB").save(buffer, "PNG")
        address, tiny = thumbnail(buffer.getvalue())
        assert address.startswith(f"data:image/{kind};base64,")
        assert tiny is small
        assert len(address) < 40_000
        shown = Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2])))
        assert max(shown.size) == min(side, 200)
