"""Pictures worth asking among those that were answered: which, and why.

One pass over the observations, whatever their number; of each reason only the weightiest are held,
and their pictures are read from the captures at the end, one by one.

The random draw is by lot: a hash of the observation's id, and nothing else. So a picture's chance
to be drawn does not depend on what it shows or what was answered, and the share of right answers
among those drawn is, but for chance, the share among all.
"""

import hashlib
import heapq
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from pixloop.annotation.items import Candidate, Reason, ReasonKind
from pixloop.annotation.uncertainty import doubt, words_of
from pixloop.monitoring.observations import Observation
from pixloop.records import Decision

#: What tells a reason to ask about an observation, if there is one.
Look = Callable[[Observation], Reason | None]
#: Separates this draw from all others that hash ids, such as the monitor's sample.
_LOT = "review\0"


class ReadPicture(Protocol):
    """Gives an observation's picture while there is one: ``Monitor.picture``."""

    def __call__(self, observation: Observation) -> bytes | None:
        """The encoded picture, or None where it is gone."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is looked for.

    Attributes:
        random: how many are drawn by lot.
        most: of every other reason, how many are taken at most, the weightiest.
        looks: further reasons than doubt: drift, disagreement.
        known: whether a picture needs no asking, by its SHA-256: it was asked or is learned from.
    """

    random: int
    most: int
    looks: tuple[Look, ...] = ()
    known: Callable[[str], bool] = field(default=lambda sha256: False)


def find_candidates(
    observations: Iterable[Observation], read_picture: ReadPicture, wanted: Wanted
) -> Iterator[Candidate]:
    """The pictures worth asking among observations.

    Args:
        observations: taken one by one.
        read_picture: called for those that are taken; where it gives None, the picture is gone
            and is left out.
        wanted: what is looked for.
    """
    heaps: dict[ReasonKind, _Best] = {"random": _Best(wanted.random)}
    for observation in observations:
        if wanted.known(observation.sha256):
            continue
        heaps["random"].push(draw_lot(observation.id), observation)
        for reason in _reasons(observation, wanted.looks):
            heaps.setdefault(reason.kind, _Best(wanted.most)).push(reason.weight, observation)
    drawn = {each.id for each in heaps["random"]}
    taken = {each.id: each for best in heaps.values() for each in best}
    for identity in sorted(taken):
        observation = taken[identity]
        picture = read_picture(observation)
        if picture is not None:
            reasons = _reasons(observation, wanted.looks)
            if identity in drawn:
                lot = draw_lot(identity)
                reasons.append(Reason("random", "drawn by lot from all that was asked", lot))
            yield _candidate(observation, picture, tuple(reasons))


def draw_lot(identity: str) -> float:
    """A number between 0 and 1 that an observation's id alone decides; the highest are drawn.

    >>> draw_lot("a:0") == draw_lot("a:0") != draw_lot("a:1")
    True
    """
    digest = hashlib.sha256((_LOT + identity).encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def report_candidate(
    picture: bytes, detail: str, answer: dict[str, object], model: str
) -> Candidate:
    """A picture that a user says was answered wrongly.

    Args:
        picture: its bytes.
        detail: what the user says of it.
        answer: the server's JSON for the picture; empty where it is not known.
        model: the version that gave it.
    """
    return Candidate(
        sha256=hashlib.sha256(picture).hexdigest(),
        picture=picture,
        reasons=(Reason("reported", detail or "reported as wrong", 1.0),),
        answer=dict(answer),
        model=model,
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        origin={"reported": detail},
    )


def _reasons(observation: Observation, looks: Iterable[Look]) -> list[Reason]:
    found = [look(observation) for look in (_unsure, *looks)]
    return [reason for reason in found if reason is not None]


def _unsure(observation: Observation) -> Reason | None:
    if observation.decision != Decision.REFER:
        return None
    return Reason("unsure", words_of(observation.answer), doubt(observation.answer))


def _candidate(observation: Observation, picture: bytes, reasons: tuple[Reason, ...]) -> Candidate:
    return Candidate(
        sha256=observation.sha256,
        picture=picture,
        reasons=reasons,
        answer=observation.answer,
        model=observation.model,
        at=observation.at.isoformat(),
        embedding=tuple(float(x) for x in observation.embedding),
        origin={"event": observation.id},
    )


class _Best:
    """The heaviest of what was pushed, at most so many; of equal weight, those with lesser ids."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._heap: list[tuple[float, int, str, Observation]] = []
        self._count = 0

    def push(self, weight: float, observation: Observation) -> None:
        if self._most <= 0:
            return
        self._count += 1
        entry = (weight, -self._count, observation.id, observation)
        if len(self._heap) < self._most:
            heapq.heappush(self._heap, entry)
        elif entry[:2] > self._heap[0][:2]:
            heapq.heapreplace(self._heap, entry)

    def __iter__(self) -> Iterator[Observation]:
        return (entry[-1] for entry in self._heap)
