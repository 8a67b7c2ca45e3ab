"""Makes a project's monitoring as large as months of traffic make it.

::

    python benchmarks/web/make_monitoring.py PROJECT --pictures 100000

Of a version that the project has registered, so many pictures are made up from what its reference
has: values are drawn from it, from the latest part on with a shift, answers and scores with them.
They go through the same steps as captured ones do, all but measuring: rows, tests, alarms, state.
What was there of the version before is replaced.
"""

import argparse
import hashlib
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pixloop.bundle import Bundle
from pixloop.monitoring.monitor import Monitor
from pixloop.monitoring.observations import ROWS, Observation
from pixloop.project import Project
from pixloop.records import Decision

#: A picture comes so often on average; days are busier than nights.
_EVERY_S = 40.0
#: From this share of the stream on, pictures are darker and answers less sure.
_SHIFTED_FROM = 0.97
_SHIFT = 1.5  # standard deviations


class _Made(Monitor):
    """A monitor whose pictures come measured."""

    def fill(self, rows: Sequence[Observation]) -> None:
        """Take rows as a look takes pictures, a step at a time."""
        for start in range(0, len(rows), ROWS):
            self._take(rows[start : start + ROWS])  # type: ignore[arg-type]
        self._look_at_quality()
        self._estimate_costs()
        self._publish_alarms()

    def _measure(self, step: Sequence[Observation]) -> list[Observation]:  # type: ignore[override]
        return list(step)


def make_monitoring(project: Project, pictures: int, version: str | None = None) -> Path:
    """Replace what is known of a version's pictures.

    Args:
        project: with a registered version.
        pictures: how many there are to be.
        version: whose; without one the champion's.

    Returns:
        The folder of the version's monitoring.
    """
    number, bundle = project.bundle(version)
    state = project.state / "monitoring"
    shutil.rmtree(state / number, ignore_errors=True)
    monitor = _Made(
        state, project.config, number, bundle, project.state / "none", project.state / "annotations"
    )
    monitor.fill(_make_rows(monitor, bundle, pictures))
    return monitor.folder


def _make_rows(monitor: Monitor, bundle: Bundle, pictures: int) -> list[Observation]:
    random = np.random.default_rng(0)
    reference = monitor.reference
    drawn = random.integers(0, len(reference.values), pictures)
    values = _values(reference.values, drawn)
    threshold = bundle.manifest.threshold.score
    shifted = np.arange(pictures) >= pictures * _SHIFTED_FROM
    scores = np.clip(reference.scores[drawn] - 0.3 * shifted, 0, 1)
    names = bundle.manifest.classes
    embedding = reference.embeddings[0] if len(reference.embeddings) else np.empty(0, np.float32)
    model = Observation(
        id="",
        at=datetime.now(UTC),
        model=monitor.model,
        sha256="",
        answer={},
        score=0.0,
        decision="",
        values=values[0],
        embedding=embedding,
    )
    return [
        replace(
            model,
            id=f"made-{i}:0",
            at=at,
            sha256=hashlib.sha256(str(i).encode()).hexdigest(),
            answer={"label": names[int(drawn[i]) % len(names)], "score": float(scores[i])},
            score=float(scores[i]),
            decision=str(
                Decision.REFER if threshold is None or scores[i] < threshold else Decision.ACCEPT
            ),
            values=values[i],
        )
        for i, at in enumerate(_times(pictures, random))
    ]


def _values(known: NDArray[np.float32], drawn: NDArray[np.int64]) -> NDArray[np.float32]:
    """Values of the reference, the last of them moved; float32 (m, S)."""
    values = known[drawn].copy()
    moved = np.flatnonzero((known != np.round(known)).any(axis=0))[::3]  # counts stay counts
    first = int(len(drawn) * _SHIFTED_FROM)
    values[first:, moved] -= np.float32(_SHIFT) * np.nanstd(known, axis=0)[moved]
    return values


def _times(pictures: int, random: np.random.Generator) -> list[datetime]:
    """When they came, up to now."""
    gaps = random.exponential(_EVERY_S, pictures)
    seconds = np.cumsum(gaps * (1.2 + np.sin(np.cumsum(gaps) / 86400 * 2 * np.pi)))
    now = datetime.now(UTC)
    return [now - timedelta(seconds=float(seconds[-1] - each)) for each in seconds]


def main() -> None:
    """Fill the monitoring of the project that is named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("project", type=Path)
    parser.add_argument("--pictures", type=int, default=100_000)
    parser.add_argument("--version", default=None, help="without it, the champion")
    chosen = parser.parse_args()
    began = time.perf_counter()
    folder = make_monitoring(Project.open(chosen.project), chosen.pictures, chosen.version)
    print(f"{chosen.pictures:,} pictures are in {folder}, {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
