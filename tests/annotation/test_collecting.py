from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from tests.annotation.waiting import answer, picture

from pixloop.annotation.collecting import collect_observed, known_pictures
from pixloop.annotation.queue import ReviewQueue
from pixloop.data.annotations import Annotation, AnnotationStore
from pixloop.monitoring.alarms import Alarm
from pixloop.monitoring.observations import Observation
from pixloop.monitoring.reference import Reference
from pixloop.monitoring.signals import Signal

START = datetime(2026, 5, 4, tzinfo=UTC)


class Watched:
    model = "pets:1"
    reference = Reference(
        signals=(Signal("brightness", "picture", "brightness"),),
        values=np.linspace(0, 0.2, 50, dtype=np.float32)[:, None],
        embeddings=np.zeros((50, 0), np.float32),
        scores=np.ones(50, np.float32),
        correct=np.ones(50, np.float32),
    )

    def __init__(self, folder: Path, count: int) -> None:
        self.captures, self.count = folder / "captures", count

    def observations(self):
        for n in range(self.count):
            yield Observation(
                f"e{n}:0", START + timedelta(seconds=n), "pets:1", f"{n:064x}", answer(), 0.5,
                "refer" if n % 4 == 0 else "accept", np.array([n / 100], np.float32),
                np.random.default_rng(n).normal(size=3).astype("f4"),
            )  # fmt: skip

    def picture(self, observation):
        return picture(1) + observation.id.encode()


def alarm(first: int) -> Alarm:
    return Alarm(
        id="a", kind="drift", model="pets:1", signal="brightness", direction="higher",
        words="", at=START, since=START + timedelta(seconds=first), first=first,
    )  # fmt: skip


@pytest.fixture
def queue(tmp_path):
    return ReviewQueue(tmp_path / "review")


def unknown(sha256: str) -> bool:
    return False


def collect(watched, queue, known=unknown, alarms=()):
    return collect_observed(watched, queue, known, alarms, budget=5, random_share=0.4)


def kinds(queue):
    return [reason.kind for item in queue.items() for reason in item.reasons]


def test_each_collection_goes_on_where_the_last_one_ended(queue, tmp_path):
    watched = Watched(tmp_path, 40)
    assert collect(watched, queue) > 0
    assert kinds(queue).count("random") == 2
    assert collect(watched, queue) == 0
    watched.count = 80
    assert collect(watched, queue) > 0
    # Lots are drawn among the new ones only: whoever was passed over once stays so.
    assert kinds(queue).count("random") == 4
    assert queue.collected("pets:1") == 80


def test_a_collection_that_was_killed_offers_the_same_again(queue, tmp_path):
    watched = Watched(tmp_path, 40)
    collect(watched, queue)
    before = list(queue.items())
    queue.set_collected("pets:1", 0)
    assert collect(watched, queue) == 0
    assert list(queue.items()) == before


def test_an_alarm_asks_for_what_was_read_before_it_was_raised(queue, tmp_path):
    watched = Watched(tmp_path, 40)
    collect(watched, queue)
    assert "drifted" not in kinds(queue)
    collect(watched, queue, alarms=[alarm(20)])
    drifted = [i for i in queue.items() if "drifted" in {r.kind for r in i.reasons}]
    assert {int(item.sha256, 16) for item in drifted} == set(range(20, 40))
    assert kinds(queue).count("random") == 2


def test_what_is_annotated_or_learned_from_is_not_asked(queue, tmp_path):
    store = AnnotationStore(tmp_path / "annotations")
    for n, deleted in ((0, False), (4, True)):
        said = Annotation(id=f"x-{n}", sha256=f"{n:064x}", label="cat", deleted=deleted)
        store.add(said, None)
    known = known_pictures([], store)
    collect(Watched(tmp_path, 40), queue, known)
    names = {int(item.sha256, 16) for item in queue.items()}
    assert 0 not in names
    assert 4 in names


def test_other_alarms_ask_nothing(queue, tmp_path):
    quality = alarm(0).model_copy(update={"kind": "quality"})
    foreign = alarm(0).model_copy(update={"signal": "embedding:1"})
    collect(Watched(tmp_path, 40), queue, alarms=[quality, foreign])
    assert "drifted" not in kinds(queue)
