"""The workers, with predictors that show who computes what, when and with whom."""

import asyncio
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from tests.small_bundles import manifest

from pixloop.decoding import Size
from pixloop.errors import ImageError, ServingError
from pixloop.records import Decision, Prediction
from pixloop.serving import batching, memory
from pixloop.serving.batching import Batcher, Full
from pixloop.serving.codec import Place, Request
from pixloop.serving.engines import Outputs, PixelBatch
from pixloop.serving.jobs import BadPicture, Expired, FixedSlot, Job, Version
from pixloop.serving.model import Model


class Recorder(Model[int, Prediction]):
    """Answers a picture with its first byte, and notes every batch. It can be held up."""

    def __init__(self) -> None:
        self.batches: list[tuple[list[int], bool]] = []
        self.go_on, self.begun = threading.Event(), threading.Semaphore(0)
        self.go_on.set()
        super().__init__(manifest(), self._compute)

    def _compute(self, pixels: PixelBatch) -> Outputs:
        return (pixels[:, 0, 0, 0].astype(np.int64),)

    def prepare(self, picture: bytes, pixels: Any) -> Size | ImageError:
        if picture == b"bad":
            return ImageError("it is bad")
        pixels[...] = picture[0]
        return Size(1, 1)

    def answer(self, pixels: PixelBatch, sizes: Sequence[Size], *, alone: bool) -> list[Prediction]:
        self.batches.append(([int(each) for each in pixels[:, 0, 0, 0]], alone))
        self.begun.release()
        assert self.go_on.wait(30)
        return super().answer(pixels, sizes, alone=alone)

    def _read(self, outputs: Outputs, sizes: Sequence[Size]) -> list[int]:
        if 66 in outputs[0]:
            raise ServingError("66 is too much")
        return [int(each) for each in outputs[0]]

    def _decide(self, readings: Collection[int]) -> list[Prediction]:
        return [Prediction(str(i), 1.0, {str(i): 1.0}, Decision.ACCEPT) for i in readings]


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def start() -> Iterator[Callable[..., Batcher]]:
    made: list[Batcher] = []

    def start(workers: int = 1, max_batch: int = 4, places: int = 100) -> Batcher:
        made.append(Batcher(workers, max_batch, places))
        return made[-1]

    yield start
    for batcher in made:
        batcher.close()


def job(model: Any, *pictures: int | bytes, deadline: float = 60.0, name: str = "m") -> Job:
    """A job of a slot, or of a model that never changes; numbers are pictures of one byte."""
    encoded = tuple(each if isinstance(each, bytes) else bytes([each]) for each in pictures)
    slot = FixedSlot(Version(name, model)) if isinstance(model, Model) else model
    loop = asyncio.get_running_loop()
    request = Request(encoded, (Place(),) * len(encoded))
    return Job(slot, request, time.perf_counter() + deadline, loop, loop.create_future())


def labels(done: Job) -> list[str]:
    assert done.error is None
    return [answer.label for answer in done.answers]  # type: ignore[union-attr]


async def wait_for_work(recorder: Recorder) -> None:
    await asyncio.to_thread(recorder.begun.acquire)


def test_a_lone_request_is_computed_at_once_and_with_all_cores(
    recorder: Recorder, start: Callable[..., Batcher]
) -> None:
    async def ask() -> Job:
        only = job(recorder, 7)
        start(workers=2).submit(only)
        await only.future
        return only

    done = asyncio.run(ask())
    assert recorder.batches == [([7], True)]
    assert (labels(done), done.media_type, done.batch) == (["7"], "application/json", 1)
    assert b'"label": "7"' in done.body
    assert done.submitted <= done.taken <= done.finished


def test_free_memory_is_given_back_a_while_after_work(
    recorder: Recorder, start: Callable[..., Batcher], monkeypatch: pytest.MonkeyPatch
) -> None:
    given_back = threading.Semaphore(0)
    batcher = start(workers=2)

    def give_back() -> None:
        if threading.current_thread() in batcher._threads:  # workers of other tests do it as well
            given_back.release()

    monkeypatch.setattr(memory, "_TIDY_S", 0.05)
    monkeypatch.setattr(batching, "give_back_free_memory", give_back)

    async def ask() -> None:
        only = job(recorder, 7)
        batcher.submit(only)
        await only.future

    for _ in range(2):
        asyncio.run(ask())
        assert given_back.acquire(timeout=30)
        assert not given_back.acquire(timeout=0.2)  # once is enough


def test_what_waits_is_taken_together(recorder: Recorder, start: Callable[..., Batcher]) -> None:
    async def ask() -> list[Job]:
        batcher = start(workers=1, max_batch=4)
        recorder.go_on.clear()
        slot = FixedSlot(Version("m", recorder))
        jobs = [job(slot, i) for i in range(7)]
        batcher.submit(jobs[0])
        await wait_for_work(recorder)
        for each in jobs[1:]:
            batcher.submit(each)
        assert batcher.waiting == 6
        assert batcher.oldest_s() > 0
        recorder.go_on.set()
        await asyncio.gather(*(each.future for each in jobs))
        assert batcher.waiting == 0
        assert batcher.oldest_s() == 0
        return jobs

    done = asyncio.run(ask())
    assert [labels(each) for each in done] == [[str(i)] for i in range(7)]
    assert recorder.batches == [([0], True), ([1, 2, 3, 4], False), ([5, 6], True)]
    assert [each.batch for each in done] == [1, 4, 4, 4, 4, 2, 2]


def test_idle_workers_share_what_waits(recorder: Recorder, start: Callable[..., Batcher]) -> None:
    async def ask() -> None:
        batcher = start(workers=2, max_batch=8)
        # Both workers come to the same many pictures: neither may take all of them.
        first = job(recorder, 1)
        batcher.submit(first)
        await first.future
        recorder.go_on.clear()
        many = job(recorder, *range(10, 16))
        batcher.submit(many)
        await wait_for_work(recorder)
        await wait_for_work(recorder)
        await wait_for_work(recorder)
        recorder.go_on.set()
        await many.future
        assert labels(many) == [str(i) for i in range(10, 16)]

    asyncio.run(ask())
    sizes = sorted(len(batch) for batch, _ in recorder.batches[1:])
    assert sum(sizes) == 6
    assert sizes[-1] <= 3


def test_a_large_request_does_not_hold_up_a_small_one(
    recorder: Recorder, start: Callable[..., Batcher]
) -> None:
    async def ask() -> None:
        batcher = start(workers=1, max_batch=2)
        slot = FixedSlot(Version("m", recorder))
        recorder.go_on.clear()
        large, small = job(slot, *range(10, 16)), job(slot, 1)
        batcher.submit(large)
        await wait_for_work(recorder)
        batcher.submit(small)
        recorder.go_on.set()
        await asyncio.gather(large.future, small.future)
        assert labels(large) == [str(i) for i in range(10, 16)]

    asyncio.run(ask())
    place = next(i for i, (batch, _) in enumerate(recorder.batches) if 1 in batch)
    assert place <= 2 < len(recorder.batches) - 1


def test_versions_are_not_mixed_in_a_batch(start: Callable[..., Batcher]) -> None:
    one, two = Recorder(), Recorder()

    async def ask() -> list[Job]:
        batcher = start(workers=1, max_batch=8)
        one.go_on.clear()
        slots = [FixedSlot(Version("one", one)), FixedSlot(Version("two", two))]
        jobs = [job(slots[0], 0)]
        batcher.submit(jobs[0])
        await wait_for_work(one)
        for i in range(1, 7):
            jobs.append(job(slots[i % 2], i))
            batcher.submit(jobs[-1])
        one.go_on.set()
        await asyncio.gather(*(each.future for each in jobs))
        return jobs

    done = asyncio.run(ask())
    for i, each in enumerate(done):
        assert labels(each) == [str(i)]
        assert each.body.startswith(b'{"model": "two"' if i % 2 else b'{"model": "one"')
    assert {i for batch, _ in two.batches for i in batch} == {1, 3, 5}


def test_a_bad_picture_fails_its_request_and_no_other(
    recorder: Recorder, start: Callable[..., Batcher]
) -> None:
    async def ask() -> None:
        batcher = start(workers=1, max_batch=8)
        slot = FixedSlot(Version("m", recorder))
        recorder.go_on.clear()
        first, bad, good = job(slot, 0), job(slot, 1, b"bad", 2), job(slot, 3)
        batcher.submit(first)
        await wait_for_work(recorder)
        batcher.submit(bad)
        batcher.submit(good)
        recorder.go_on.set()
        await asyncio.gather(first.future, bad.future, good.future)
        assert isinstance(bad.error, BadPicture)
        assert bad.error.index == 1
        assert labels(good) == ["3"]

    asyncio.run(ask())
    assert recorder.batches[1][0] == [1, 2, 3]


def test_of_a_large_request_that_failed_the_rest_is_not_computed(
    recorder: Recorder, start: Callable[..., Batcher]
) -> None:
    async def ask() -> None:
        batcher = start(workers=1, max_batch=2)
        bad = job(recorder, b"bad", *range(20))
        batcher.submit(bad)
        await bad.future
        after = job(recorder, 99)
        batcher.submit(after)
        await after.future
        assert labels(after) == ["99"]
        assert batcher.waiting == 0

    asyncio.run(ask())
    assert sum(len(batch) for batch, _ in recorder.batches) <= 3


def test_what_a_model_raises_fails_its_batch_and_no_more(
    recorder: Recorder, start: Callable[..., Batcher]
) -> None:
    async def ask() -> None:
        batcher = start()
        for picture, failure in ((66, ServingError), (1, None)):
            done = job(recorder, picture)
            batcher.submit(done)
            await done.future
            assert (type(done.error) if done.error else None) is failure

    asyncio.run(ask())


def test_no_more_wait_than_may(recorder: Recorder, start: Callable[..., Batcher]) -> None:
    async def ask() -> None:
        batcher = start(workers=1, places=2)
        recorder.go_on.clear()
        jobs = [job(recorder, i) for i in range(4)]
        batcher.submit(jobs[0])
        await wait_for_work(recorder)
        batcher.submit(jobs[1])
        assert not batcher.full
        batcher.submit(jobs[2])
        assert batcher.full
        with pytest.raises(Full):
            batcher.submit(jobs[3])
        recorder.go_on.set()
        await asyncio.gather(*(each.future for each in jobs[:3]))
        assert not batcher.full

    asyncio.run(ask())


def test_what_is_too_late_is_not_computed(
    recorder: Recorder, start: Callable[..., Batcher]
) -> None:
    async def ask() -> None:
        batcher = start()
        late, soon = job(recorder, 1, deadline=-1.0), job(recorder, 2)
        batcher.submit(late)
        batcher.submit(soon)
        await asyncio.gather(late.future, soon.future)
        assert isinstance(late.error, Expired)

    asyncio.run(ask())
    assert [batch for batch, _ in recorder.batches] == [[2]]


def test_what_nobody_waits_for_is_not_computed_and_frees_its_place(
    recorder: Recorder, start: Callable[..., Batcher]
) -> None:
    async def ask() -> None:
        batcher = start(workers=1, places=1)
        recorder.go_on.clear()
        first, gone, last = (job(recorder, i) for i in range(3))
        batcher.submit(first)
        await wait_for_work(recorder)
        batcher.submit(gone)
        batcher.abandon(gone)
        batcher.submit(last)
        recorder.go_on.set()
        await asyncio.gather(first.future, last.future)

    asyncio.run(ask())
    assert [batch for batch, _ in recorder.batches] == [[0], [2]]


class Failing(Recorder):
    """A version that errs on every picture."""

    def _read(self, outputs: Outputs, sizes: Sequence[Size]) -> list[int]:
        raise ServingError("it errs")


class Replaced:
    """A slot whose version is bad, and that has another."""

    def __init__(self, bad: Version, good: Version) -> None:
        self.current, self._good = bad, good

    def answered(self, version: Version, pictures: int) -> None:
        pass

    def stand_in(self, failed: Version) -> Version | None:
        return self._good if failed is not self._good else None

    def fall_back(self, failed: Version, error: Exception) -> None:
        self.current = self._good


def test_a_version_that_errs_is_replaced_and_the_request_answered(
    recorder: Recorder, start: Callable[..., Batcher]
) -> None:
    async def ask() -> list[Job]:
        batcher = start()
        slot = Replaced(Version("bad", Failing()), Version("good", recorder))
        jobs = []
        for picture in (1, 2, 66):
            jobs.append(job(slot, picture))
            batcher.submit(jobs[-1])
            await jobs[-1].future
        return jobs

    done = asyncio.run(ask())
    assert [labels(each) for each in done[:2]] == [["1"], ["2"]]
    assert b'"model": "good"' in done[0].body
    # The good one may err as well; then there is nothing left.
    assert isinstance(done[2].error, ServingError)


def test_a_loop_that_was_closed_stops_no_worker(
    recorder: Recorder, start: Callable[..., Batcher]
) -> None:
    batcher = start()
    recorder.go_on.clear()

    async def leave() -> None:
        batcher.submit(job(recorder, 1))
        await wait_for_work(recorder)

    async def ask() -> None:
        second = job(recorder, 2)
        batcher.submit(second)
        recorder.go_on.set()
        await second.future
        assert labels(second) == ["2"]

    asyncio.run(leave())
    asyncio.run(ask())


def test_closing_waits_for_the_batch_at_work(recorder: Recorder) -> None:
    before = set(threading.enumerate())

    async def ask() -> None:
        batcher = Batcher(2, 4, 10)
        done = job(recorder, 1)
        batcher.submit(done)
        await wait_for_work(recorder)
        await asyncio.to_thread(batcher.close)
        await done.future
        assert labels(done) == ["1"]

    asyncio.run(ask())
    assert not [
        thread
        for thread in set(threading.enumerate()) - before
        if thread.name.startswith("worker-")
    ]
