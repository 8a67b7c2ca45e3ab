import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pixloop.config import Config
from pixloop.data.annotations import Annotation, AnnotationStore
from pixloop.errors import MonitoringError, RegistryError
from pixloop.pipeline.lock import exclusive
from pixloop.watching.assembly import ProjectParts
from pixloop.watching.parts import Mark

SHA = "0" * 64


@dataclass(frozen=True)
class Version:
    version: str
    status: str = "pending"
    champion: bool = False


@dataclass
class Registry:
    """As ``registry.Registry``, in memory."""

    versions: dict[str, Version] = field(default_factory=dict)
    past: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)

    def list(self) -> list[Version]:
        return list(self.versions.values())

    def show(self, version: str) -> Version:
        return self.versions[self.past[-1] if version == "champion" else version]

    def approve(self, version: str) -> None:
        self.past.append(version)
        self._set(version, status="approved")

    def reject(self, version: str, reason: str) -> None:
        assert not self.versions[version].champion
        self.reasons.append(reason)
        self._set(version, status="rejected")

    def rollback(self) -> None:
        if len(self.past) < 2:
            raise RegistryError("There was no champion before version 1.")
        self.past.pop()
        self._set(self.past[-1])

    def _set(self, version: str, **fields: str) -> None:
        self.versions[version] = replace(self.versions[version], **fields)
        for name, each in self.versions.items():
            self.versions[name] = replace(each, champion=name == self.past[-1])


class Fixture:
    """A project's parts and what is behind them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "pictures" / "cat").mkdir(parents=True)
        (folder / "pixloop.yaml").write_text("task: classification")
        self.store = AnnotationStore(folder / ".pixloop" / "annotations")
        self.registry = Registry({str(n): Version(str(n)) for n in range(1, 5)})
        self.alarms: list[Any] = []
        self.opened: list[str | None] = []
        self.taken: list[Any] = []
        self.enough = True
        self.digested = 0
        evaluation = folder / "evaluation.json"
        evaluation.write_text(json.dumps({"pixloop": {"promotion": {"promote": True}}}))
        self.summary = SimpleNamespace(
            version="2", report=str(folder / "report.html"), seconds=3.0, steps={"Train": "cached"}
        )
        self.parts = ProjectParts(
            Config.model_validate(
                {"task": "classification", "data": "pictures", "registry": {"url": "http://x"}}
            ),
            folder,
            folder / ".pixloop",
            run=lambda _: self.summary,  # type: ignore[arg-type, return-value]
            registry=lambda: self.registry,  # type: ignore[arg-type, return-value]
            champion=lambda: self.registry.past[-1] if self.registry.past else None,
            monitor=self.open_monitor,
            sync=lambda: 0,
            collect=lambda: 0,
            annotations=self.digest,
            commit=lambda: "abc",
        )

    def digest(self) -> str:
        self.digested += 1
        return self.store.digest()

    def open_monitor(self, version: str | None) -> Any:
        self.opened.append(version)

        def take_as_normal(since: datetime | None) -> None:
            if not self.enough:
                raise MonitoringError("12 pictures, 100 are needed")
            self.taken.append((version, since))

        return SimpleNamespace(
            look=lambda: SimpleNamespace(open_alarms=self.alarms), take_as_normal=take_as_normal
        )


@pytest.fixture
def project(tmp_path: Path) -> Fixture:
    return Fixture(tmp_path / "cats")


def annotate(project: Fixture, identity: str, label: str = "cat") -> None:
    project.store.add(Annotation(id=identity, sha256=SHA, label=label), None)


# ---- Marks


def test_pictures_commit_and_settings_have_marks(project: Fixture) -> None:
    before = project.parts.mark("raw_data", 0)
    (project.folder / "pictures" / "cat" / "1.jpg").write_bytes(b"picture")
    assert project.parts.mark("raw_data", 0) != before
    assert project.parts.mark("commit", 0) == Mark("abc")
    settings = project.parts.mark("settings", 0)
    (project.folder / "pixloop.yaml").write_text("task: detection")
    assert project.parts.mark("settings", 0) != settings


def test_annotations_are_marked_by_content_and_counted_by_time(project: Fixture) -> None:
    assert project.parts.mark("annotations", 0) == Mark("")
    for name in ("a", "b", "c"):
        annotate(project, name)
        os.utime(project.store.folder / f"{name}.json", (100, 100))
    mark = project.parts.mark("annotations", 0)
    assert mark.number == 3
    assert project.parts.mark("annotations", 200) == Mark(mark.signature, 0)
    assert project.digested == 1  # nothing is read again where no file has changed
    annotate(project, "a", "dog")
    changed = project.parts.mark("annotations", 200)
    assert changed.number == 1
    assert changed.signature != mark.signature
    # The same once more is no change.
    annotate(project, "a", "dog")
    os.utime(project.store.folder / "a.json", (300, 300))
    assert project.parts.mark("annotations", 200).signature == changed.signature


def test_a_run_at_work_is_seen(project: Fixture) -> None:
    assert project.parts.busy() == ""
    with exclusive(project.folder / ".pixloop" / "run.lock", ""):
        assert project.parts.busy() == str(os.getpid())
    assert project.parts.busy() == ""


# ---- Alarms


def alarm(**fields: Any) -> SimpleNamespace:
    values = {
        "id": "drift-17", "kind": "drift", "model": "cats:1", "matters": True,
        "words": "brightness", "since": datetime(2026, 1, 1, tzinfo=UTC),
    }  # fmt: skip
    return SimpleNamespace(**(values | fields))


def test_open_alarms_are_told(project: Fixture) -> None:
    project.alarms = [alarm(), alarm(id="quality-18", kind="quality", since=None)]
    first, second = project.parts.look()
    assert (first.id, second.id, second.since) == ("1-drift-17", "1-quality-18", "")
    assert (first.kind, first.version, second.kind) == ("drift", "1", "quality")
    assert datetime.fromisoformat(first.since) == datetime(2026, 1, 1, tzinfo=UTC)


def test_the_monitor_is_that_of_what_serves(project: Fixture) -> None:
    project.parts.look()
    project.parts.look()
    assert project.opened == [None]
    project.parts.promote("1")
    project.parts.look()
    assert project.opened == [None, "1"]


def test_before_there_is_a_version_nothing_is_looked_at(project: Fixture) -> None:
    def none(version: str | None) -> Any:
        raise RegistryError("There is no model version to serve.")

    project.parts._open_monitor = none
    assert project.parts.look() == []


def test_before_there_is_a_version_there_is_no_champion(project: Fixture) -> None:
    def none() -> str | None:
        raise RegistryError("There is no model version to serve.")

    project.parts._find_champion = none
    assert project.parts.champion() is None
    project.parts.promote("2")
    assert project.parts.champion() == "2"


def test_the_champion_is_asked_once_until_the_registry_changes(project: Fixture) -> None:
    project.parts._config = Config.model_validate({"task": "classification", "data": "pictures"})
    asked = []

    def find() -> str | None:
        asked.append(1)
        raise RegistryError("There is no model version to serve.")

    project.parts._find_champion = find
    assert project.parts.champion() is None
    assert project.parts.look() == []
    assert (asked, project.opened) == ([], [])  # there is no registry yet
    file = project.folder / ".pixloop" / "registry" / "registry.db"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"all rejected")
    assert [project.parts.champion() for _ in range(3)] == [None] * 3
    assert len(asked) == 1
    project.parts._find_champion = lambda: "2"
    file.write_bytes(b"version 2 was approved")
    assert project.parts.champion() == "2"


def test_a_new_normal_is_taken_from_the_alarm_on(project: Fixture) -> None:
    project.parts.promote("2")
    project.enough = False
    assert not project.parts.take_as_normal("2", "2026-01-01T00:00:00+00:00")
    project.enough = True
    assert project.parts.take_as_normal("2", "2026-01-01T00:00:00+00:00")
    assert project.parts.take_as_normal("2", "")
    assert project.taken == [("2", datetime(2026, 1, 1, tzinfo=UTC)), ("2", None)]


# ---- What a run gives


def test_the_first_version_needs_no_comparison(project: Fixture) -> None:
    ran = project.parts.run(())
    assert (ran.version, ran.promotable, ran.work, ran.seconds) == ("2", True, False, 3.0)
    assert "no champion" in ran.reason


@pytest.mark.parametrize(
    ("found", "promotable"),
    [
        ({"promote": True, "reason": "better on 40 of 50"}, True),
        ({"promote": False, "reason": "worse"}, False),
        (None, False),
    ],
)
def test_the_evaluation_decides(project: Fixture, found: Any, promotable: bool) -> None:
    project.parts.promote("1")
    document = {"pixloop": {"promotion": found} if found else {}}
    (project.folder / "evaluation.json").write_text(json.dumps(document))
    ran = project.parts.run(())
    assert ran.promotable is promotable
    assert ran.reason == (found or {}).get(
        "reason", "The evaluation does not compare it with the champion."
    )


@pytest.mark.parametrize(
    "before", [lambda r: r.approve("2"), lambda r: r.reject("2", "wrong on snow")]
)
def test_what_was_decided_before_is_not_decided_again(
    project: Fixture, before: Callable[[Registry], None]
) -> None:
    project.parts.promote("1")
    before(project.registry)
    assert not project.parts.run(()).promotable
    project.parts.promote("3")
    assert not project.parts.run(()).promotable


def test_promoting_twice_is_promoting_once(project: Fixture) -> None:
    for _ in range(2):
        project.parts.promote("1")
    assert project.registry.past == ["1"]


@pytest.mark.parametrize("done", [lambda r: None, lambda r: r.rollback()])
def test_a_rollback_goes_one_back_however_far_it_had_come(
    project: Fixture, done: Callable[[Registry], None]
) -> None:
    for version in ("1", "2", "3"):
        project.parts.promote(version)
    done(project.registry)  # by a watch that was killed then
    for _ in range(2):
        assert project.parts.roll_back("3", "accuracy fell") == "2"
    assert project.registry.past == ["1", "2"]
    assert project.registry.versions["3"].status == "rejected"
    assert project.registry.reasons == ["accuracy fell"]


def test_without_a_champion_before_nothing_is_rejected(project: Fixture) -> None:
    project.parts.promote("1")
    assert project.parts.roll_back("1", "accuracy fell") is None
    assert project.registry.versions["1"].champion
