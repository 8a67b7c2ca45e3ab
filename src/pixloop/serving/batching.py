"""Workers that answer pictures in batches, made of whatever waits when a worker is free.

Nobody waits for a batch to fill: a lone picture is computed at once, with all cores; where many
wait, each worker takes its share of them and computes it on one core. A worker decodes what it
computes, so that a batch stays on one core from the encoded bytes to the answer.
"""

import contextlib
import threading
import time
from collections import Counter, deque
from collections.abc import Sequence

import numpy as np

from pixloop.decoding import Size
from pixloop.errors import ImageError, ServingError
from pixloop.serving.codec import Answer
from pixloop.serving.engines import PixelBatch
from pixloop.serving.jobs import BadPicture, Expired, Job, Version, encode, hand_over
from pixloop.serving.memory import Tidying, give_back_free_memory


class Full(ServingError):
    """As many requests wait as may."""


#: A picture of a job, by its index.
_Item = tuple[Job, int]


class Batcher:
    """The workers and what waits for them."""

    def __init__(self, workers: int, max_batch: int, places: int) -> None:
        """Start nothing yet: the first job does.

        Args:
            workers: batches computed at once, a thread each.
            max_batch: pictures in a batch at most.
            places: jobs that may wait.
        """
        self._workers, self._max_batch, self._places = workers, max_batch, places
        self._changed = threading.Condition()
        self._jobs: deque[Job] = deque()
        self._pictures = 0  # of the jobs, those that no worker has
        self._busy = 0  # workers that compute
        self._threads: list[threading.Thread] = []
        self._closed = False
        self._tidying = Tidying()

    @property
    def waiting(self) -> int:
        """Jobs that wait."""
        return len(self._jobs)

    @property
    def full(self) -> bool:
        """Whether a job would be refused now."""
        return len(self._jobs) >= self._places

    def oldest_s(self) -> float:
        """How long the first in the queue has waited; 0 where nothing waits."""
        try:
            return time.perf_counter() - self._jobs[0].submitted
        except IndexError:
            return 0.0

    def submit(self, job: Job) -> None:
        """Queue a job.

        Raises:
            Full: too many wait.
        """
        job.submitted = time.perf_counter()
        with self._changed:
            if self.full:
                raise Full("too many requests are waiting")
            if not self._threads:
                self._start()
            self._jobs.append(job)
            self._pictures += len(job.request.pictures)
            self._changed.notify(len(job.request.pictures))

    def abandon(self, job: Job) -> None:
        """Compute nothing more of a job: nobody waits for its answer."""
        with self._changed:
            if job in self._jobs:
                self._jobs.remove(job)
                self._pictures -= len(job.request.pictures) - job._next
            job.error = job.error or Expired("nobody waits for the answer")

    def close(self) -> None:
        """End the workers, each after the batch that it is at."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _start(self) -> None:
        self._threads = [
            threading.Thread(target=self._work, name=f"worker-{i}", daemon=True)
            for i in range(self._workers)
        ]
        for thread in self._threads:
            thread.start()

    def _work(self) -> None:
        buffers: dict[int, PixelBatch] = {}
        while True:
            with self._changed:
                self._changed.wait_for(self._is_called, self._tidying.due_in())
                if self._closed:
                    return
                tidy = self._tidying.take()
                finished, items = self._take()
                alone = not self._jobs and not self._busy
                self._busy += 1
            if tidy:
                give_back_free_memory()
            if items:
                finished += self._answer(items, buffers, alone)
            with self._changed:  # before those who wait hear of it, and ask again
                self._busy -= 1
                if items:
                    self._tidying.worked()
            hand_over(finished)
            del finished, items  # an idle worker holds no body, and no model that was replaced

    def _is_called(self) -> bool:
        return bool(self._jobs) or self._closed

    def _take(self) -> tuple[list[Job], list[_Item]]:
        """Jobs that are too late, and the pictures of the next batch: all of one version."""
        now = time.perf_counter()
        share = -(-self._pictures // (self._workers - self._busy))
        room = min(self._max_batch, share)
        late: list[Job] = []
        items: list[_Item] = []
        version = None
        while self._jobs and room:
            job = self._jobs[0]
            left = len(job.request.pictures) - job._next
            if now > job.deadline:
                job.error, job.finished = Expired("it waited longer than it may"), now
                late.append(self._jobs.popleft())
                self._pictures -= left
                continue
            wanted = job.version or job.slot.current
            if version is not None and wanted is not version:
                break
            version = job.version = wanted
            job.taken = job.taken or now
            count = min(left, room)
            items += [(job, i) for i in range(job._next, job._next + count)]
            job._next += count
            room -= count
            self._pictures -= count
            self._jobs.popleft()
            if count < left:  # behind the others, so that a large request does not hold them up
                self._jobs.append(job)
                break
        return late, items

    def _answer(self, items: list[_Item], buffers: dict[int, PixelBatch], alone: bool) -> list[Job]:
        """Answer a batch; the jobs that are finished by it."""
        version = items[0][0].version
        assert version is not None  # noqa: S101  (set when its pictures were taken)
        taken_by, slot = version, items[0][0].slot
        results: Sequence[Answer | Exception]
        try:
            results = _compute(version, items, buffers, self._max_batch, alone)
            slot.answered(version, len(items))
        except Exception as e:  # whatever a model raises, its requests get and no other
            results = [e] * len(items)
            older = slot.stand_in(version)
            if older is not None:
                with contextlib.suppress(Exception):  # the first failure says more
                    results = _compute(older, items, buffers, self._max_batch, alone)
                    version = older
                    slot.fall_back(taken_by, e)
        finished = []
        with self._changed:  # another worker may have other pictures of the same job
            kept = self._keep_one_version(items, taken_by, version)
            for (job, index), result in zip(items, results, strict=True):
                job.batch = max(job.batch, len(items))
                if job in kept and self._record(job, index, result):
                    finished.append(job)
        for job in finished:
            encode(job)
        return finished

    def _keep_one_version(
        self, items: Sequence[_Item], taken_by: Version, version: Version
    ) -> set[Job]:
        """The jobs whose answers of a batch count: all answers of a job are of one version.

        One that has pictures in other batches begins again where this batch changed the version.
        """
        kept = set()
        for job, count in Counter(job for job, _ in items).items():
            if job.version is not taken_by:  # another batch of it changed the version
                continue
            if version is taken_by or count == len(job.request.pictures):
                job.version = version
                kept.add(job)
            elif job.error is None:
                self._begin_again(job, version)
        return kept

    def _begin_again(self, job: Job, version: Version) -> None:
        self._pictures += job._next
        job.version, job._next = version, 0
        job.answers = [None] * len(job.request.pictures)
        job._missing = len(job.request.pictures)
        if job not in self._jobs:
            self._jobs.append(job)
        self._changed.notify_all()

    def _record(self, job: Job, index: int, result: "Answer | Exception") -> bool:
        """Note what came of a picture; whether the job is finished by it."""
        if job.error is not None:
            return False
        if isinstance(result, Exception):
            job.error = BadPicture(index, result) if isinstance(result, ImageError) else result
            if job in self._jobs:  # the rest need not be computed
                self._jobs.remove(job)
                self._pictures -= len(job.request.pictures) - job._next
            return True
        job.answers[index] = result
        job._missing -= 1
        return not job._missing


def _compute(
    version: Version,
    items: Sequence[_Item],
    buffers: dict[int, PixelBatch],
    max_batch: int,
    alone: bool,
) -> "list[Answer | Exception]":
    """What a version says of each picture, or why it cannot be read."""
    predictor = version.predictor
    side = predictor.manifest.preprocessing.image_size
    if side not in buffers:
        buffers[side] = np.empty((max_batch, side, side, 3), np.uint8)
    pixels = buffers[side]
    sizes: list[Size] = []
    results: list[Answer | Exception | None] = []
    for job, index in items:
        # A picture that cannot be read leaves its place to the next.
        size = predictor.prepare(job.request.pictures[index], pixels[len(sizes)])
        if isinstance(size, ImageError):
            results.append(size)
        else:
            sizes.append(size)
            results.append(None)
    answers = iter(predictor.answer(pixels[: len(sizes)], sizes, alone=alone) if sizes else ())
    return [next(answers) if result is None else result for result in results]
