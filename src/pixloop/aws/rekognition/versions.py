"""Rekognition Custom Labels as a managed trainer: train, start, ask, stop.

A version is named after the data it was trained on, so that training again, or after a kill, goes
on with the version that is there. A running version costs by the hour whether it is asked or not:
``start`` schedules the stop before it starts anything.

Each request was checked against botocore's model of the service; none has been tried against the
real service.
"""

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pixloop.aws.names import Names
from pixloop.aws.rekognition.data import Written, write_rekognition_data
from pixloop.aws.session import Session, error_code, translated
from pixloop.aws.uploads import upload_folder
from pixloop.data.dataset import Dataset
from pixloop.errors import AwsError

OnStatus = Callable[[str], None]
_FAILED = ("TRAINING_FAILED", "FAILED", "DEPRECATED", "EXPIRED", "DELETING")
_AGAIN = (
    " To train on the same data again: aws rekognition delete-project-version "
    "--project-version-arn {}"
)
#: In these states a version costs, and can be stopped.
RUNS = ("RUNNING", "STARTING")
_STOPPED = ("TRAINING_COMPLETED", "STOPPED")
_EXISTS = ("ResourceInUseException", "ResourceAlreadyExistsException", "ConflictException")
_HASH_DIGITS = 16


@dataclass(frozen=True)
class RekognitionVersion:
    """One trained, or training, version of a project."""

    name: str
    arn: str
    status: str  #: Rekognition's word, such as TRAINING_COMPLETED or RUNNING
    message: str = ""
    f1: float | None = None
    summary: tuple[str, str] | None = None  #: bucket and key of its training summary


class Rekognition:
    """The versions of one project, and what can be done with them."""

    def __init__(self, session: Session, project: str, bucket: str, poll_s: float = 30.0) -> None:
        """``project`` is ``Config.name``; ``bucket`` is the learning stack's."""
        self._session, self._bucket, self._poll_s = session, bucket, poll_s
        self.project_name = Names(project).rekognition
        self._schedule = Names(project).schedule

    # ---- training

    def train(self, dataset: Path, on_status: OnStatus) -> tuple[RekognitionVersion, Written]:
        """Train a version on a prepared data set and wait for it; hours, and it costs.

        Args:
            dataset: a folder that ``prepare`` wrote.
            on_status: is told what happens, in words.

        Returns:
            The version, and what became of the data.

        Raises:
            AwsError: Rekognition refuses the data or fails.
        """
        version = f"data-{Dataset.open(dataset).info.sha256[:_HASH_DIGITS]}"
        prefix = f"rekognition/{version}"
        with tempfile.TemporaryDirectory(prefix="pixloop-") as temporary:
            folder = Path(temporary)
            written = write_rekognition_data(dataset, folder, f"s3://{self._bucket}/{prefix}")
            on_status(f"sending {sum(written.lines.values())} pictures")
            upload_folder(self._session, folder, f"s3://{self._bucket}/{prefix}")
        project = self._make_project()
        self._make_version(project, version, prefix)
        on_status(f"training {version}")
        trained = self._wait(version, ("TRAINING_IN_PROGRESS",), on_status)
        return trained, written

    def _make_project(self) -> str:
        with translated(f"Rekognition project {self.project_name}"):
            try:
                made = self._client.create_project(ProjectName=self.project_name)
                return str(made["ProjectArn"])
            except self._client.exceptions.ClientError as e:
                if error_code(e) not in _EXISTS:
                    raise
        return self._project_arn() or ""

    def _make_version(self, project: str, version: str, prefix: str) -> None:
        with translated(f"Rekognition version {version}"):
            try:
                self._client.create_project_version(
                    ProjectArn=project,
                    VersionName=version,
                    OutputConfig={
                        "S3Bucket": self._bucket,
                        "S3KeyPrefix": f"{prefix}/output",
                    },
                    # Manifests of its own for each version: what it learned stays known.
                    TrainingData={"Assets": [self._asset(f"{prefix}/train.manifest")]},
                    TestingData={"Assets": [self._asset(f"{prefix}/test.manifest")]},
                )
            except self._client.exceptions.ClientError as e:
                if error_code(e) not in _EXISTS:
                    raise

    def _asset(self, key: str) -> dict[str, Any]:
        return {"GroundTruthManifest": {"S3Object": {"Bucket": self._bucket, "Name": key}}}

    # ---- running

    def start(
        self, name: str, hours: float, scheduler_role: str, on_status: OnStatus
    ) -> RekognitionVersion:
        """Start a version for some hours and wait until it answers.

        Args:
            name: the version's name, or ``"latest"``.
            hours: after which EventBridge Scheduler stops it, whatever becomes of this process.
            scheduler_role: the ARN of a role that EventBridge Scheduler may assume to stop it.
            on_status: as for ``train``.

        Raises:
            AwsError: there is no such version, it cannot be started, or another one runs, whose
                stop would no longer be scheduled.
        """
        versions = self.list()
        version = self._pick(versions, name)
        for other in versions:
            if other.status in RUNS and other != version:
                raise AwsError(
                    f"{other.name} runs, and one version at a time has its stop scheduled. "
                    f"'pixloop aws rekognition stop {other.name}' stops it."
                )
        stop_at = datetime.now(UTC) + timedelta(hours=hours)
        self._schedule_stop(version, stop_at, scheduler_role)
        on_status(f"it will be stopped at {stop_at:%Y-%m-%d %H:%M} UTC")
        if version.status in _STOPPED:
            with translated(f"starting {version.name}"):
                self._client.start_project_version(
                    ProjectVersionArn=version.arn, MinInferenceUnits=1
                )
        started = self._wait(version.name, ("STARTING", *_STOPPED), on_status)
        if started.status != "RUNNING":
            raise AwsError(f"{started.name} cannot be started: it is {started.status}.")
        return started

    def stop(self, name: str = "latest") -> RekognitionVersion:
        """Stop a version; one that does not run stays as it is."""
        version = self.show(name)
        if version.status in RUNS:
            with translated(f"stopping {version.name}"):
                self._client.stop_project_version(ProjectVersionArn=version.arn)
        return self.show(version.name)

    def _schedule_stop(self, version: RekognitionVersion, at: datetime, role: str) -> None:
        """One schedule a project; starting again moves it."""
        scheduler = self._session.client("scheduler")
        request = {
            "Name": self._schedule,
            "ScheduleExpression": f"at({at:%Y-%m-%dT%H:%M:%S})",
            "FlexibleTimeWindow": {"Mode": "OFF"},
            "Target": {
                "Arn": "arn:aws:scheduler:::aws-sdk:rekognition:stopProjectVersion",
                "RoleArn": role,
                "Input": f'{{"ProjectVersionArn": "{version.arn}"}}',
            },
        }
        with translated("scheduling the stop"):
            try:
                scheduler.create_schedule(**request)
            except scheduler.exceptions.ClientError as e:
                if error_code(e) not in _EXISTS:
                    raise
                scheduler.update_schedule(**request)

    # ---- looking

    def list(self) -> Sequence[RekognitionVersion]:
        """Every version, the newest first; empty where there is no project."""
        project = self._project_arn()
        if project is None:
            return []
        with translated("Rekognition versions"):
            pages = self._client.get_paginator("describe_project_versions").paginate(
                ProjectArn=project
            )
            found = [each for page in pages for each in page["ProjectVersionDescriptions"]]
        found.sort(key=lambda each: each["CreationTimestamp"], reverse=True)
        return [_read(each) for each in found]

    def show(self, name: str) -> RekognitionVersion:
        """A version by its name, or ``"latest"``.

        Raises:
            AwsError: there is no such version.
        """
        return self._pick(self.list(), name)

    def _pick(self, versions: Sequence[RekognitionVersion], name: str) -> RekognitionVersion:
        for version in versions:
            if name in ("latest", version.name):
                return version
        has = ", ".join(version.name for version in versions) or "none"
        raise AwsError(
            f"Rekognition project {self.project_name} has no version {name!r}; it has {has}. "
            "'pixloop aws rekognition train' makes one."
        )

    @property
    def _client(self) -> Any:
        return self._session.client("rekognition")

    def _project_arn(self) -> str | None:
        with translated("Rekognition projects"):
            try:
                answer = self._client.describe_projects(ProjectNames=[self.project_name])
            except self._client.exceptions.ClientError as e:
                if error_code(e) != "ResourceNotFoundException":
                    raise
                return None
        found = answer["ProjectDescriptions"]
        return str(found[0]["ProjectArn"]) if found else None

    def _wait(self, name: str, while_: Sequence[str], on_status: OnStatus) -> RekognitionVersion:
        told = ""
        while True:
            version = self.show(name)
            if version.status != told:
                told = version.status
                on_status(told.lower().replace("_", " "))
            if version.status in _FAILED:
                hint = _AGAIN.format(version.arn) if version.status == "TRAINING_FAILED" else ""
                raise AwsError(
                    f"Rekognition version {name}: {version.status}. {version.message}{hint}"
                )
            if version.status not in while_:
                return version
            time.sleep(self._poll_s)


def _read(found: dict[str, Any]) -> RekognitionVersion:
    result = found.get("EvaluationResult", {})
    place = result.get("Summary", {}).get("S3Object")
    return RekognitionVersion(
        name=found["ProjectVersionArn"].split("/version/")[1].split("/")[0],
        arn=found["ProjectVersionArn"],
        status=found["Status"],
        message=found.get("StatusMessage", ""),
        f1=result.get("F1Score"),
        summary=(place["Bucket"], place["Name"]) if place else None,
    )
