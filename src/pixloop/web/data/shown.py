"""The data set that the pages show: that of the last run that prepared one."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pixloop.data.dataset import MANIFEST, Dataset
from pixloop.data.findings import REPORT
from pixloop.pipeline.runs import RunRecord
from pixloop.run_summary import output_of
from pixloop.web.cached import stamp
from pixloop.web.data.catalogue import Catalogue
from pixloop.web.site import Site


@dataclass(frozen=True, eq=False)
class Shown:
    """A data set, and where it comes from.

    Attributes:
        data: the data set.
        report: its data report; empty where there is none that can be read.
        run: the run that prepared it.
        prepared: when, ISO 8601.
        users: how many runs used it.
        before: the folder of the last other data set before it, where one is left.
    """

    data: Dataset
    report: Mapping[str, Any]
    run: RunRecord
    prepared: str
    users: int
    before: Path | None

    @property
    def version(self) -> str:
        """The first digits of its SHA-256, by which it is called."""
        return self.data.info.sha256[:12]

    @property
    def boxes(self) -> int:
        """How many boxes it has, crowds left out; in detection."""
        return sum(sum(counts.values()) for counts in self.data.info.counts.values())

    @cached_property
    def catalogue(self) -> Catalogue:
        """What its rows are, without their pictures."""
        return Catalogue(self.data)


def find_shown(site: Site) -> Shown | None:
    """The data set that is shown; None where no run has prepared one that is still there.

    Raises:
        DataError: it is damaged, or of a newer pixloop.
    """
    runs = site.runs()
    folders = list(_prepared(runs))
    if not folders:
        return None
    newest = folders[0][1]
    seen = stamp(newest / MANIFEST, newest / REPORT), tuple(run.id for run, _ in folders)
    return site.cached.get("data", seen, lambda: _read(site, folders))


def lost_run(site: Site) -> RunRecord | None:
    """The last run whose data set was prepared and is there no more, if it is the last of all."""
    for run in site.runs():
        step = run.steps.get("Prepare")
        if step is not None and step.status in ("done", "cached"):
            there = (output_of(run, "Prepare", "dataset") / MANIFEST).is_file()
            return None if there else run
    return None


def _prepared(runs: Sequence[RunRecord]) -> Iterator[tuple[RunRecord, Path]]:
    for run in runs:
        folder = output_of(run, "Prepare", "dataset")
        if (folder / MANIFEST).is_file():
            # Runs that reuse a step link to the same folder.
            yield run, folder.resolve()


def _read(site: Site, folders: Sequence[tuple[RunRecord, Path]]) -> Shown:
    newest = folders[0][1]
    users = [run for run, folder in folders if folder == newest]
    makers = [run for run in users if run.steps["Prepare"].status == "done"]
    run = (makers or users)[-1]
    data = site.project.dataset()
    return Shown(
        data=Dataset.open(newest) if data is None else data,
        report=_read_report(newest / REPORT),
        run=run,
        prepared=run.steps["Prepare"].started or run.started,
        users=len(users),
        before=next((folder for _, folder in folders if folder != newest), None),
    )


def _read_report(file: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
