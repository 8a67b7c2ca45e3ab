"""Our drift test over the benchmark's streams."""

from concurrent.futures import ProcessPoolExecutor

import numpy as np
from numpy.typing import NDArray
from pictures import CORRUPTED, SEVERITY

from pixloop.data.corruptions import CORRUPTIONS
from pixloop.monitoring.drift import DriftTest
from pixloop.monitoring.signals import Signal

FALSE_ALARMS = (0.01, 0.05)
REFERENCE, LENGTH, CLEAN_STREAMS = 540, 2000, 200
STREAMS, CLEAN_BEFORE = 21, 500


def clean_order(pool: int, number: int) -> NDArray:
    """Which pictures are the reference of a clean stream, and then which it shows."""
    return np.random.default_rng([1, number]).permutation(pool)[: REFERENCE + LENGTH]


def corrupted_order(pool: int, number: int) -> tuple[NDArray, NDArray]:
    """Reference and clean pictures of a corrupted stream, and the order of corrupted ones."""
    random = np.random.default_rng([2, number])
    clean = random.permutation(pool - CORRUPTED)[: REFERENCE + CLEAN_BEFORE]
    return clean, random.permutation(CORRUPTED)


def run_clean(arrays: dict[str, NDArray], workers: int) -> list[float]:
    """The highest evidence of each clean stream at the first of ``FALSE_ALARMS``."""
    with ProcessPoolExecutor(workers) as processes:
        return list(
            processes.map(
                _clean, [(arrays["signals"], arrays["clean"], n) for n in range(CLEAN_STREAMS)]
            )
        )


def run_corrupted(arrays: dict[str, NDArray], before: int, workers: int) -> dict[str, list]:
    """Of each corruption and stream: corrupted pictures until the alarm, and which signal moved.

    ``None`` where there was no alarm within the corrupted pictures, ``-1`` before them. The last
    are pictures that were only encoded again.
    """
    names = (*CORRUPTIONS, "encoded")
    cases = [(arrays, name, before, n) for name in names for n in range(STREAMS)]
    with ProcessPoolExecutor(workers) as processes:
        found = list(processes.map(_corrupted, [(_part(a, c), c, b, n) for a, c, b, n in cases]))
    return {name: found[i * STREAMS : (i + 1) * STREAMS] for i, name in enumerate(names)}


def _part(arrays: dict[str, NDArray], name: str) -> dict[str, NDArray]:
    return {key: arrays[key] for key in ("signals", "clean", f"{name}:{SEVERITY}")}


def _signals(rows: NDArray) -> list[Signal]:
    return [Signal(*map(str, row)) for row in rows]


def _clean(case: tuple) -> float:
    rows, clean, number = case
    order = clean_order(len(clean), number)
    test = DriftTest(_signals(rows), clean[order[:REFERENCE]], FALSE_ALARMS[0], number)
    return float(test.update(clean[order[REFERENCE:]]).max())


def _corrupted(case: tuple) -> tuple[int | None, str | None]:
    arrays, name, before, number = case
    order, shown = corrupted_order(len(arrays["clean"]), number)
    clean = arrays["clean"][order]
    test = DriftTest(_signals(arrays["signals"]), clean[:REFERENCE], FALSE_ALARMS[0], number)
    test.update(clean[REFERENCE : REFERENCE + before])
    if test.alarm:
        return -1, test.alarm.signal
    test.update(arrays[f"{name}:{SEVERITY}"][shown])
    return (test.alarm.at - before, test.alarm.signal) if test.alarm else (None, None)
