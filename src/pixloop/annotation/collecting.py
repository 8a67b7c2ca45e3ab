"""Filling the queue: from what a version answered, and from what it learned from."""

from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path

import pyarrow.parquet as pq

from pixloop.annotation.candidates import Look, Wanted, find_candidates
from pixloop.annotation.label_errors import find_label_errors
from pixloop.annotation.looks import ChallengerAnswers, look_for_drift
from pixloop.annotation.queue import ReviewQueue
from pixloop.bundle import Bundle
from pixloop.data.annotations import AnnotationStore
from pixloop.data.dataset import Dataset
from pixloop.monitoring.alarms import Alarm
from pixloop.monitoring.monitor import Monitor

#: Of each reason, so many times the budget may wait: enough to choose from, and bounded.
_WAITING_A_PLACE = 5


def collect_observed(
    monitor: Monitor,
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
        monitor: the version's.
        queue: takes them.
        known: whether a picture is learned from or annotated, by its SHA-256.
        alarms: those that are open.
        budget: how many are asked at a time.
        random_share: of them, how many are drawn at random.

    Returns:
        How many are new to the queue.
    """
    drift = [look for alarm in alarms if (look := _drift_look(monitor, alarm)) is not None]
    first = queue.collected(monitor.model)
    # With an alarm, the pictures since it began count, which may have been read before it.
    wanted = Wanted(
        random=round(budget * random_share),
        most=budget * _WAITING_A_PLACE,
        looks=(*drift, ChallengerAnswers(monitor.captures)),
        known=lambda sha256: known(sha256) or queue.knows(sha256),
    )
    count = monitor.rows.count
    fresh = islice(monitor.rows.read(first=first), count - first)
    new = queue.offer(find_candidates(fresh, monitor.picture, wanted))
    if drift:
        again = Wanted(0, budget * _WAITING_A_PLACE, tuple(drift), wanted.known)
        start = min((a.first for a in alarms if a.kind == "drift"), default=first)
        before = islice(monitor.rows.read(first=start), max(0, first - start))
        new += queue.offer(find_candidates(before, monitor.picture, again))
    queue.set_collected(monitor.model, count)
    return new


def _drift_look(monitor: Monitor, alarm: Alarm) -> Look | None:
    reference = monitor.reference
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
        for shard in data.info.shards:
            known |= _hashes(data.folder / shard.file)
    return lambda sha256: bytes.fromhex(sha256) in known


def _hashes(shard: Path) -> set[bytes]:
    column = pq.read_table(shard, columns=["sha256"])["sha256"]
    return {bytes.fromhex(each) for each in column.to_pylist()}
