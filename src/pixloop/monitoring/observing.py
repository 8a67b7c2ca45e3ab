"""From a captured picture to what is kept of it, and figures of what was kept."""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pixloop.monitoring.accuracy import AccuracyEstimate, estimate_accuracy
from pixloop.monitoring.captures import CapturedPicture
from pixloop.monitoring.columns import equals, floats
from pixloop.monitoring.observations import Observation, Observations
from pixloop.monitoring.reference import Reference
from pixloop.monitoring.signals import score_of
from pixloop.records import Decision, Detection, Prediction

#: A picture that is among so many latest ones is a repetition.
_RECENT = 1000
_BEGINNING = 16


def observe(
    captured: CapturedPicture,
    model: str,
    values: NDArray[np.float32],
    embedding: NDArray[np.float32],
) -> Observation:
    """What is kept of a picture.

    Args:
        captured: the picture and its answer.
        model: what answers call it.
        values: float32 (S,).
        embedding: float32 (E,).
    """
    return Observation(
        id=captured.id,
        at=captured.at,
        model=model,
        sha256=hashlib.sha256(captured.picture).hexdigest(),
        answer=captured.document,
        score=score_of(captured.answer),
        decision=_decision(captured.answer),
        values=values,
        embedding=embedding,
        file=captured.file,
        offset=captured.offset,
    )


def without_repetitions(rows: Sequence[Observation], recent: list[str]) -> NDArray[np.float32]:
    """What is tested of observations: no value where the same picture came a little while ago.

    A health check that sends one picture over and over, or a client that tries again, says nothing
    about what pictures are like, but a test that takes them for independent would ring.

    Args:
        rows: M observations.
        recent: the beginnings of the latest pictures' SHA-256; these are added.

    Returns:
        float32 (M, S), rows of NaN for repetitions.
    """
    values = np.stack([row.values for row in rows])
    for place, row in enumerate(rows):
        beginning = row.sha256[:_BEGINNING]
        if beginning in recent:
            values[place] = np.nan
        else:
            recent.append(beginning)
    del recent[:-_RECENT]
    return values


def _decision(answer: Prediction | Detection) -> str:
    decisions = (
        [box.decision for box in answer.boxes]
        if isinstance(answer, Detection)
        else [answer.decision]
    )
    return str(Decision.REFER if Decision.REFER in decisions else Decision.ACCEPT)


def accuracy_of(rows: Observations, first: int, reference: Reference) -> AccuracyEstimate | None:
    """The accuracy of the rows from ``first`` on, without labels; None where nothing tells it."""
    tables = rows.tables(["score"], first)
    scores = [floats(table["score"]) for table in tables if len(table)]
    if not scores:
        return None
    # The mix of answers tells what scores alone do not.
    values = np.concatenate(list(rows.values(first)))
    return estimate_accuracy(reference, np.concatenate(scores), reference.odds, values)


def referral_rate(rows: Observations, first: int) -> float | None:
    """The share of the rows from ``first`` on that is referred; None where there are none."""
    tables = rows.tables(["decision"], first)
    referred = [equals(t["decision"], Decision.REFER) for t in tables if len(t)]
    return float(np.concatenate(referred).mean()) if referred else None


def new_normal(rows: Sequence[Observation], before: Reference) -> Reference:
    """What was kept of pictures as a reference, of which nothing says whether answers were right.

    Args:
        rows: at least one.
        before: the bundle's reference, whose signals they have.
    """
    return Reference(
        signals=before.signals,
        values=np.stack([row.values for row in rows]),
        embeddings=np.stack([row.embedding for row in rows]),
        scores=np.array([row.score for row in rows], np.float32),
        correct=np.full(len(rows), np.nan, np.float32),
        thumbnails=before.thumbnails,
        false_alarm_seed=before.false_alarm_seed,
    )
