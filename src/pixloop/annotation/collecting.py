"""Filling the queue: from what a version answered, and from what it learned from."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Protocol

from pixloop.annotation.candidates import Look, Wanted, find_candidates
from pixloop.annotation.label_errors import find_label_errors
from pixloop.annotation.looks import ChallengerAnswers, look_for_drift
from pixloop.annotation.queue import ReviewQueue
from pixloop.bundle import Bundle
from pixloop.data.annotations import AnnotationStore
from pixloop.data.dataset import SPLITS, Dataset
from pixloop.monitoring.alarms import Alarm
from pixloop.monitoring.observations import Observation
from pixloop.monitoring.reference import Reference

#: Of each reason, so many times the budget may wait: enough to choose from, and bounded.
_WAITING_A_PLACE = 5


class Watched(Protocol):
    """What a version answered, in the order in which it was seen: ``monitoring.Monitor``."""

    model: str  #: what answers call it
    captures: Path

    @property
    def reference(self) -> Reference:
        """What pictures are held against."""

    def observations(self) -> Iterator[Observation]:
        """All that was answered; only ever longer."""

    def picture(self, observation: Observation) -> bytes | None:
        """The encoded picture, while there is one."""


def collect_observed(
    watched: Watched,
    queue: ReviewQueue,
    known: Callable[[str], bool],
    alarms: Iterable[Alarm],
    budget: int,
    random_share: float,
) -> int:
    """Offer what is new among a version's answered pictures.

    How far they were read is noted after they were offered: a collection that was killed is done
    again, and offers the same.

    Args:
        watched: the version's monitor.
        queue: takes them.
        known: whether a picture is learned from or annotated, by its SHA-256.
        alarms: those that are open.
        budget: how many are asked at a time.
        random_share: of them, how many are drawn at random.

    Returns:
        How many are new to the queue.
    """
    most, first = budget * _WAITING_A_PLACE, queue.collected(watched.model)

    def settled(sha256: str) -> bool:
        return known(sha256) or queue.knows(sha256)

    looks = [(a, look) for a in alarms if (look := _drift_look(watched, a)) is not None]
    drift = tuple(look for _, look in looks)
    # What an alarm is about may have been read before it was raised.
    since = min((alarm.first for alarm, _ in looks), default=first)
    before = islice(watched.observations(), min(since, first), first)
    new = 0
    if drift:
        again = Wanted(0, most, drift, settled)
        new += queue.offer(find_candidates(before, watched.picture, again))
    wanted = Wanted(
        random=round(budget * random_share),
        most=most,
        looks=(*drift, ChallengerAnswers(watched.captures)),
        known=settled,
    )
    fresh = _Counted(islice(watched.observations(), first, None))
    new += queue.offer(find_candidates(fresh, watched.picture, wanted))
    queue.set_collected(watched.model, first + fresh.count)
    return new


class _Counted:
    """Counts what is taken."""

    def __init__(self, observations: Iterator[Observation]) -> None:
        self._observations, self.count = observations, 0

    def __iter__(self) -> Iterator[Observation]:
        for observation in self._observations:
            self.count += 1
            yield observation


def _drift_look(watched: Watched, alarm: Alarm) -> Look | None:
    reference = watched.reference
    names = [signal.name for signal in reference.signals]
    if alarm.kind != "drift" or alarm.signal not in names:
        return None
    column = names.index(alarm.signal)
    words = reference.signals[column].words
    since = alarm.since or alarm.at
    return look_for_drift(since, column, words, reference.values[:, column])


def collect_label_errors(
    data: Dataset, bundle: Bundle, model: str, queue: ReviewQueue, most: int
) -> int:
    """Offer the training pictures whose labels are most doubtful; gives how many wait anew.

    Raises:
        AnnotationError: the version has other classes than the data set, or no embedding.
    """
    return queue.offer(find_label_errors(data, bundle, model, most))


def known_pictures(datasets: Iterable[Dataset], store: AnnotationStore) -> Callable[[str], bool]:
    """Tells of a picture's SHA-256 whether it is in a data set, or people have answered for it."""
    known = {bytes.fromhex(each.sha256) for each in store.read() if not each.deleted}
    for data in datasets:
        for split in SPLITS:
            for table in data.split(split).tables(["sha256"]):
                known |= {bytes.fromhex(each) for each in table["sha256"].to_pylist()}
    return lambda sha256: bytes.fromhex(sha256) in known
