"""Candidates for tests."""

import hashlib
import io

import numpy as np
from PIL import Image

from pixloop.annotation.items import Candidate, Reason, ReasonKind

PROBABILITIES = {"cat": 0.5, "dog": 0.3, "fox": 0.2}
CLASSES = ("cat", "dog", "fox")


def answer(label="cat", **shares):
    shares = shares or PROBABILITIES
    score = max(shares.values())
    return {"label": label, "score": score, "decision": "refer", "probabilities": shares}


def picture(number: int) -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(number).integers(0, 255, (12, 16, 3), np.uint8)
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def candidate(
    number: int,
    kind: ReasonKind = "unsure",
    weight: float = 0.5,
    ticket: float | None = None,
    embedding=None,
    **changes,
) -> Candidate:
    content = picture(number)
    reasons = [Reason(kind, f"{kind} {number}", weight)]
    if ticket is not None:
        reasons.append(Reason("random", "by lot", ticket))
    if embedding is None:
        embedding = tuple(np.random.default_rng(number).normal(size=4).tolist())
    values = {
        "sha256": hashlib.sha256(content).hexdigest(),
        "picture": content,
        "reasons": tuple(reasons),
        "answer": answer(),
        "model": "pets:1",
        "at": "2026-05-04T03:02:01+00:00",
        "embedding": tuple(embedding),
        "origin": {"event": f"e{number}:0"},
    }
    return Candidate(**{**values, **changes})
