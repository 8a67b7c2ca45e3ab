"""A version watched: what is new in its captures is measured, tested and kept.

A look goes in steps of a few hundred pictures. A step writes its observations, and then one file
with everything else: how far the captures were read, the tests, the alarms. A kill before that file
leaves rows that do not count, and the next look writes them again.
"""

import hashlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path

import numpy as np

from pixloop.bundle import Bundle
from pixloop.config import Config
from pixloop.errors import MonitoringError
from pixloop.files import write_text
from pixloop.monitoring import alarms
from pixloop.monitoring.accuracy import AccuracyEstimate
from pixloop.monitoring.alarms import Alarm
from pixloop.monitoring.captures import CapturedPicture, list_files, read_new, read_picture
from pixloop.monitoring.checked_answers import CheckedAnswers
from pixloop.monitoring.drift import DriftTest
from pixloop.monitoring.evidence import Evidence, gather
from pixloop.monitoring.extractor import Extractor
from pixloop.monitoring.look import Look
from pixloop.monitoring.observations import Observation, Observations
from pixloop.monitoring.observing import (
    accuracy_of,
    new_normal,
    observe,
    referral_rate,
    without_repetitions,
)
from pixloop.monitoring.quality import Quality, expected_value, summarise
from pixloop.monitoring.reference import Reference, load_reference, read_reference, save_reference
from pixloop.monitoring.server_rates import ServerRates
from pixloop.monitoring.state import locked, read_state, write_state
from pixloop.monitoring.unlike import find_unlike, keep_pictures
from pixloop.records import Decision

#: A step of a look: so many pictures, or so many bytes of them.
_STEP_PICTURES, _STEP_BYTES = 256, 32_000_000
#: Accuracy is estimated on at most so many pictures, the latest.
RECENT = 2000
#: On so many it is, though the test began anew after some of them.
_LEAST_ESTIMATED = 100
#: With fewer pictures there is no new normal.
LEAST_NORMAL = 100
#: Pictures that a new normal is made of at most, the latest.
MOST_NORMAL = 5000


class Monitor:
    """Watches one version of a model.

    Args:
        state: the folder in which monitors keep what they know; the version has one in it.
        config: pixloop.yaml.
        version: the registry's.
        bundle: the version's.
        captures: the folder of captured exchanges.
        annotations: the folder of what people said.
        metrics: of the version's evaluation, for what quality is held against; without them it is
            the reference's.

    Attributes:
        patience_s: how long whatever changes something waits for a look that is under way; for
            ever, where it is negative.

    Raises:
        MonitoringError: the bundle has no reference, or the state is not what pixloop writes.
    """

    patience_s = -1.0

    def __init__(
        self,
        state: Path,
        config: Config,
        version: str,
        bundle: Bundle,
        captures: Path,
        annotations: Path,
        metrics: dict[str, float] | None = None,
    ) -> None:
        self.model = f"{config.model_name}:{version}"
        self.folder, self.captures, self.bundle = state / version, captures, bundle
        self.config = config
        self._metrics = metrics or {}
        self._of_bundle = read_reference(bundle)
        self._extractor: Extractor | None = None
        self._checked = CheckedAnswers(self.folder / "checked.json", annotations, config.annotation)
        self._load()

    # ---- looking

    def look(self) -> Look:
        """Look at what is new.

        It can be killed at any time: nothing is lost, and nothing counts twice.
        """
        with self._locked():
            self._load()
            before = self._record.count
            self._read_captures()
            self._look_at_quality()
            self._estimate_costs()
            self._publish_alarms()
        return self._describe(self._record.count - before)

    def last_look(self) -> Look:
        """What the last look found, without looking."""
        return self._describe(0)

    def observations(self, since: datetime | None = None) -> Iterator[Observation]:
        """What was kept of each picture, the oldest first."""
        return self._rows.read(since)

    def picture(self, observation: Observation) -> bytes | None:
        """The encoded picture, while the captures hold it."""
        index = int(observation.id.rpartition(":")[2])
        picture = read_picture(self.captures, observation.file, observation.offset, index)
        same = picture and hashlib.sha256(picture).hexdigest() == observation.sha256
        return picture if same else None

    @property
    def reference(self) -> Reference:
        """What pictures are held against: the bundle's, or a new normal."""
        return self._reference

    def acknowledge(self, seen: Collection[str] | None = None) -> None:
        """Close the open alarms; the tests begin anew with the next picture.

        Args:
            seen: the ids of the alarms that are meant: if none is open any more, nothing happens.

        Raises:
            MonitoringError: another alarm is open.
        """
        with self._locked():
            self._load()
            if alarms.are_open(self._record.alarms, seen):
                self._begin_anew(self._record.reference)

    def take_as_normal(
        self, since: datetime | None = None, seen: Collection[str] | None = None
    ) -> None:
        """Test against pictures of now instead of the bundle's; closes the open alarms.

        Args:
            since: pictures from then on; else those since the open drift alarm began, else the
                latest.
            seen: as ``acknowledge`` has it.

        Raises:
            MonitoringError: there are fewer than ``LEAST_NORMAL``, or another alarm is open.
        """
        with self._locked():
            self._load()
            if not alarms.are_open(self._record.alarms, seen):
                return
            first = max(self._normal_from(since), self._record.count - MOST_NORMAL)
            rows = list(self._rows.read(since, first))
            if len(rows) < LEAST_NORMAL:
                raise MonitoringError(
                    f"{len(rows)} pictures are too few for a new normal of {self.model}; "
                    f"expected {LEAST_NORMAL}. Wait for more, or take an earlier start."
                )
            name = f"reference/{self._record.count:012d}"
            save_reference(self.folder / name, new_normal(rows, self._of_bundle))
            self._begin_anew(name)

    def report(self, to: Path, server: ServerRates | None = None) -> Path:
        """Write what a look would tell as one HTML file, which needs nothing else.

        Args:
            to: the file.
            server: what the server says of itself, if it was asked.

        Returns:
            ``to``.
        """
        # Its template engine is no part of looking.
        from pixloop.monitoring.report import render_report

        look = self.last_look().model_copy(update={"server": server})
        drifts = [alarm for alarm in look.open_alarms if alarm.kind == "drift"]
        unlike = self.thumbnails(drifts[-1]) if drifts else []
        typical = self._reference.thumbnails
        write_text(to, render_report(look, self.config.name, unlike, typical))
        return to

    # ---- what reports show

    def thumbnails(self, alarm: Alarm) -> list[bytes]:
        """The pictures that were most unlike the reference when an alarm was raised, JPEG."""
        return [file.read_bytes() for file in sorted((self._pictures(alarm)).glob("*.jpg"))]

    # ---- steps of a look

    def _read_captures(self) -> None:
        step: list[CapturedPicture] = []
        size = 0
        offsets = self._record.offsets
        if self.captures.is_dir():
            present = set(list_files(self.captures))
            for gone in offsets.keys() - present:
                del offsets[gone]
        sample = self.config.monitoring.sample
        for line in read_new(self.captures, dict(offsets), self.model, sample):
            offsets[line.file] = line.end
            self._record.damaged += line.damaged
            step += line.pictures
            size += sum(len(each.picture) for each in line.pictures)
            if len(step) >= _STEP_PICTURES or size >= _STEP_BYTES:
                self._take(step)
                step, size = [], 0
        self._take(step)

    def _take(self, step: Sequence[CapturedPicture]) -> None:
        """Measure, test, keep; in this order the last write makes it all count."""
        rows = self._measure(step)
        if rows:
            self._rows.append(rows)
            self._rows.count += len(rows)
            self._record.count = self._rows.count
            self._record.referred += sum(row.decision == Decision.REFER for row in rows)
            self._drift.update(without_repetitions(rows, self._record.recent))
            self._raise_drift()
        self._save()

    def _measure(self, step: Sequence[CapturedPicture]) -> list[Observation]:
        if not step:
            return []
        if self._extractor is None:
            self._extractor = Extractor.open(self.bundle)
        pictures, answers = [each.picture for each in step], [each.answer for each in step]
        measured = self._extractor.measure(pictures, answers)
        return [
            observe(each, self.model, values, embedding)
            for each, values, embedding in zip(
                step, measured.values, measured.embeddings, strict=True
            )
        ]

    def _raise_drift(self) -> None:
        name = f"drift-{self._record.tests}"
        if self._drift.alarm is None or any(alarm.id == name for alarm in self._record.alarms):
            return
        signals, first = self._reference.signals, self._record.first
        alarm = alarms.drift_alarm(
            name, self.model, self._drift.moved, signals, first, self._rows.at
        )
        self._record.alarms.append(alarm)

    def _look_at_quality(self) -> None:
        self._checked.update(self._rows)
        quality = self._quality()
        if quality is None or quality.alarm is None:
            return
        name = f"quality-{self._record.quality_from}"
        if any(alarm.id == name for alarm in self._record.alarms):
            return
        checked = self._checked.answers[self._record.quality_from :]
        alarm = alarms.quality_alarm(name, self.model, quality, checked)
        self._record.alarms.append(alarm)
        self._save()

    def _estimate_costs(self) -> None:
        """What open drift alarms cost grows surer with every picture."""
        for i, alarm in enumerate(self._record.alarms):
            if alarm.kind == "drift" and not alarm.acknowledged:
                self._keep_pictures(alarm)
                cost = accuracy_of(
                    self._rows, max(alarm.first, self._record.count - RECENT), self._of_bundle
                )
                matters = cost is None or cost.matters
                self._record.alarms[i] = alarm.model_copy(
                    update={"accuracy": cost, "matters": matters}
                )
        self._record.accuracy = self._accuracy()
        self._save()

    def _keep_pictures(self, alarm: Alarm) -> None:
        """Captures go; what an alarm was about stays, small."""
        target = self._pictures(alarm)
        if not target.is_dir():
            columns = {signal.name: s for s, signal in enumerate(self._reference.signals)}
            moved = [(columns[each.signal], each.direction) for each in self._drift.moved]
            numbers = find_unlike(self._rows, alarm.first, self._reference.values, moved)
            keep_pictures(self._rows.rows(numbers), self.picture, target)

    def _pictures(self, alarm: Alarm) -> Path:
        return self.folder / "pictures" / alarm.id

    def _publish_alarms(self) -> None:
        """``alarms.json`` for other programs; the state is what counts."""
        alarms.publish(self.folder / "alarms.json", self._record.alarms)

    # ---- what it knows

    def _describe(self, new: int) -> Look:
        latest = max(self._record.count - RECENT, 0)
        return Look(
            model=self.model,
            new=new,
            seen=self._record.count,
            damaged=self._record.damaged,
            tested=self._drift.seen,
            alarms=list(self._record.alarms),
            accuracy=self._accuracy(),
            quality=self._quality(),
            referral_rate=referral_rate(self._rows, latest),
            evidence=self._evidence(latest),
        )

    def _accuracy(self) -> AccuracyEstimate | None:
        """Of the latest pictures: what went wrong before the test began anew may be mended."""
        count = self._record.count
        anew = min(self._record.first, count - _LEAST_ESTIMATED)
        return accuracy_of(self._rows, max(anew, count - RECENT, 0), self._of_bundle)

    def _evidence(self, latest: int) -> Evidence:
        signals, chance = self._reference.signals, self.config.monitoring.false_alarm
        parts = [np.empty((0, len(signals)), np.float32), *self._rows.values(latest)]
        return gather(self._drift, signals, chance, self._reference.values, np.concatenate(parts))

    def _quality(self) -> Quality | None:
        settings = self.config.monitoring
        return summarise(
            self._checked.answers,
            expected_value(self.bundle.manifest.task, self._metrics, self._of_bundle.correct),
            settings.quality_drop,
            settings.false_alarm,
            self._record.quality_from,
        )

    def _normal_from(self, since: datetime | None) -> int:
        opened = [a.first for a in self._record.alarms if a.kind == "drift" and not a.acknowledged]
        return 0 if since is not None or not opened else opened[-1]

    # ---- the state

    def _begin_anew(self, reference: str) -> None:
        closed = [a.model_copy(update={"acknowledged": True}) for a in self._record.alarms]
        self._record.alarms = closed
        self._record.tests += 1
        self._record.first = self._record.count
        self._record.quality_from = len(self._checked.answers)
        self._record.reference = reference
        self._open_reference()
        self._drift = self._fresh_test()
        self._record.accuracy = self._accuracy()
        self._save()
        self._publish_alarms()

    def _fresh_test(self) -> DriftTest:
        chance = self.config.monitoring.false_alarm
        return DriftTest(self._reference.signals, self._reference.values, chance, self._seed())

    def _seed(self) -> int:
        """Every test breaks ties by numbers of its own."""
        return self._of_bundle.false_alarm_seed + self._record.tests

    def _load(self) -> None:
        self._record, arrays = read_state(self._state_file)
        self._rows = Observations(self.folder / "observations", self._record.count)
        self._open_reference()
        self._drift = (
            DriftTest.restore(
                self._reference.signals, self.config.monitoring.false_alarm, self._seed(), arrays
            )
            if arrays
            else self._fresh_test()
        )
        self._checked.load()

    def _open_reference(self) -> None:
        name = self._record.reference
        self._reference = load_reference(self.folder / name) if name else self._of_bundle

    def _save(self) -> None:
        write_state(self._state_file, self._record, self._drift.state())

    @property
    def _state_file(self) -> Path:
        return self.folder / "state.npz"

    def _locked(self) -> AbstractContextManager[None]:
        """One look at a time, of this process or another."""
        return locked(self.folder, self.patience_s)
