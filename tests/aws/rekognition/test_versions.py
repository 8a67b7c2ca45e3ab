"""Each request to Rekognition, held against botocore's model of the service by its Stubber."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from botocore.stub import ANY, Stubber

from pixloop.aws.rekognition.evaluation import read_evaluation
from pixloop.aws.rekognition.versions import Rekognition
from pixloop.aws.session import Session
from pixloop.errors import AwsError

ARN = "arn:aws:rekognition:eu-west-1:123456789012:project/pixloop-cats/1"
ROLE = "arn:aws:iam::123456789012:role/stop"


def version(status: str, name: str = "data-1", age: int = 0, **more: Any) -> dict[str, Any]:
    return {
        "ProjectVersionArn": f"{ARN.removesuffix('/1')}/version/{name}/1600",
        "Status": status,
        "CreationTimestamp": datetime(2026, 1, 10 - age, tzinfo=UTC),
        **more,
    }


class Service:
    """A scripted Rekognition: every answer is checked, and every request."""

    def __init__(self, client: Any) -> None:
        self.stub = Stubber(client)
        self.stub.activate()

    def project(self, there: bool = True) -> None:
        found = [{"ProjectArn": ARN}] if there else []
        self.stub.add_response(
            "describe_projects",
            {"ProjectDescriptions": found},
            {"ProjectNames": ["pixloop-cats"]},
        )

    def versions(self, *found: dict[str, Any]) -> None:
        self.project()
        self.stub.add_response(
            "describe_project_versions",
            {"ProjectVersionDescriptions": list(found)},
            {"ProjectArn": ARN},
        )

    def answer(self, operation: str, answer: dict[str, Any], request: dict[str, Any]) -> None:
        self.stub.add_response(operation, answer, request)

    def refuse(self, operation: str, code: str) -> None:
        self.stub.add_client_error(operation, code)


@pytest.fixture
def service(aws: Session) -> Iterator[Service]:
    scripted = Service(aws.client("rekognition"))
    yield scripted
    scripted.stub.assert_no_pending_responses()


@pytest.fixture
def rekognition(aws: Session, bucket: str) -> Rekognition:
    return Rekognition(aws, "cats", bucket, poll_s=0.0)


@pytest.fixture
def said() -> list[str]:
    return []


def train_requests(service: Service, name: str, exists: bool) -> None:
    if exists:
        service.refuse("create_project", "ResourceInUseException")
        service.project()
        service.refuse("create_project_version", "ResourceInUseException")
        return
    service.answer("create_project", {"ProjectArn": ARN}, {"ProjectName": "pixloop-cats"})

    def manifest(key: str) -> dict[str, Any]:
        place = {"Bucket": "pixloop-test", "Name": f"rekognition/{name}/{key}.manifest"}
        return {"Assets": [{"GroundTruthManifest": {"S3Object": place}}]}

    service.answer(
        "create_project_version",
        {"ProjectVersionArn": f"{ARN}/version/{name}/1"},
        {
            "ProjectArn": ARN,
            "VersionName": name,
            "OutputConfig": {
                "S3Bucket": "pixloop-test",
                "S3KeyPrefix": f"rekognition/{name}/output",
            },
            "TrainingData": manifest("train"),
            "TestingData": manifest("test"),
        },
    )


@pytest.mark.parametrize("exists", [False, True])
def test_training_sends_the_data_and_follows_the_version_that_there_is(
    exists: bool,
    service: Service,
    rekognition: Rekognition,
    dataset: Path,
    aws: Session,
    said: list[str],
) -> None:
    sha256 = json.loads((dataset / "dataset.json").read_text())["sha256"]
    name = f"data-{sha256[:16]}"
    train_requests(service, name, exists)
    service.versions(version("TRAINING_IN_PROGRESS", name))
    service.versions(version("TRAINING_COMPLETED", name, EvaluationResult={"F1Score": 0.9}))
    trained, written = rekognition.train(dataset, said.append)
    assert (trained.status, trained.name) == ("TRAINING_COMPLETED", name)
    assert trained.f1 == pytest.approx(0.9)
    listed = aws.client("s3").list_objects_v2(Bucket="pixloop-test")["Contents"]
    assert len(listed) == sum(written.lines.values()) + 2
    assert said[-2:] == ["training in progress", "training completed"]


def test_a_failed_training_says_why(
    service: Service, rekognition: Rekognition, dataset: Path
) -> None:
    sha256 = json.loads((dataset / "dataset.json").read_text())["sha256"]
    name = f"data-{sha256[:16]}"
    train_requests(service, name, exists=False)
    service.versions(version("TRAINING_FAILED", name, StatusMessage="Too few labels."))
    with pytest.raises(AwsError, match=r"TRAINING_FAILED. Too few labels. .* delete-project-ver"):
        rekognition.train(dataset, lambda _: None)


def test_starting_schedules_the_stop_first(
    service: Service, rekognition: Rekognition, aws: Session, said: list[str]
) -> None:
    found = version("TRAINING_COMPLETED")
    service.versions(found)
    service.answer(
        "start_project_version",
        {"Status": "STARTING"},
        {"ProjectVersionArn": found["ProjectVersionArn"], "MinInferenceUnits": 1},
    )
    service.versions(version("STARTING"))
    service.versions(version("RUNNING"))
    started = rekognition.start("latest", 2.0, ROLE, said.append)
    assert started.status == "RUNNING"
    schedule = aws.client("scheduler").get_schedule(Name="pixloop-cats-stop")
    at = datetime.strptime(schedule["ScheduleExpression"], "at(%Y-%m-%dT%H:%M:%S)")
    left = at.replace(tzinfo=UTC) - datetime.now(UTC)
    assert 7100 < left.total_seconds() <= 7200
    assert json.loads(schedule["Target"]["Input"]) == {
        "ProjectVersionArn": found["ProjectVersionArn"]
    }
    assert schedule["Target"]["Arn"].endswith("aws-sdk:rekognition:stopProjectVersion")
    assert said[0].startswith("it will be stopped at")


def test_starting_again_moves_the_stop(
    service: Service, rekognition: Rekognition, aws: Session
) -> None:
    for _ in range(2):
        service.versions(version("RUNNING"))
        service.versions(version("RUNNING"))
    rekognition.start("data-1", 1.0, ROLE, lambda _: None)
    first = aws.client("scheduler").get_schedule(Name="pixloop-cats-stop")["ScheduleExpression"]
    rekognition.start("data-1", 5.0, ROLE, lambda _: None)
    second = aws.client("scheduler").get_schedule(Name="pixloop-cats-stop")["ScheduleExpression"]
    assert second > first


def test_nothing_is_started_where_no_stop_can_be_scheduled(
    service: Service, rekognition: Rekognition, aws: Session
) -> None:
    service.versions(version("TRAINING_COMPLETED"))
    with Stubber(aws.client("scheduler")) as scheduler:
        scheduler.add_client_error("create_schedule", "AccessDeniedException", "no")
        with pytest.raises(AwsError, match="scheduling the stop"):
            rekognition.start("latest", 2.0, ROLE, lambda _: None)


def test_a_version_whose_stop_is_scheduled_keeps_its_schedule(
    service: Service, rekognition: Rekognition, aws: Session
) -> None:
    service.versions(version("RUNNING"))
    service.versions(version("RUNNING"))
    rekognition.start("data-1", 1.0, ROLE, lambda _: None)
    before = aws.client("scheduler").get_schedule(Name="pixloop-cats-stop")["Target"]["Input"]
    service.versions(version("TRAINING_COMPLETED", "data-2"), version("RUNNING", age=1))
    with pytest.raises(AwsError, match="data-1 runs, and one version at a time"):
        rekognition.start("latest", 9.0, ROLE, lambda _: None)
    after = aws.client("scheduler").get_schedule(Name="pixloop-cats-stop")["Target"]["Input"]
    assert after == before


@pytest.mark.parametrize("status", ["TRAINING_IN_PROGRESS", "STOPPING"])
def test_what_does_not_run_is_not_taken_for_started(
    service: Service, rekognition: Rekognition, status: str
) -> None:
    service.versions(version(status))
    service.versions(version(status))
    with pytest.raises(AwsError, match=f"data-1 cannot be started: it is {status}"):
        rekognition.start("data-1", 1.0, ROLE, lambda _: None)


def test_stopping(service: Service, rekognition: Rekognition) -> None:
    service.versions(version("RUNNING"))
    service.answer("stop_project_version", {"Status": "STOPPING"}, {"ProjectVersionArn": ANY})
    service.versions(version("STOPPING"))
    assert rekognition.stop().status == "STOPPING"
    service.versions(version("STOPPED"))
    service.versions(version("STOPPED"))
    assert rekognition.stop().status == "STOPPED"


def test_versions_are_listed_newest_first_and_unknown_ones_named(
    service: Service, rekognition: Rekognition
) -> None:
    old_and_new = version("STOPPED", "data-0", age=3), version("RUNNING", "data-1")
    service.versions(*old_and_new)
    assert [each.name for each in rekognition.list()] == ["data-1", "data-0"]
    service.versions(*old_and_new)
    with pytest.raises(AwsError, match="no version 'data-9'; it has data-1, data-0"):
        rekognition.show("data-9")


def test_without_a_project_there_is_nothing(service: Service, rekognition: Rekognition) -> None:
    service.project(there=False)
    assert rekognition.list() == []


def test_the_evaluation_is_read_from_where_the_service_left_it(
    service: Service, rekognition: Rekognition, aws: Session, bucket: str, summary: dict[str, Any]
) -> None:
    place = {"S3Object": {"Bucket": bucket, "Name": "out/summary.json"}}
    service.versions(
        version("TRAINING_COMPLETED", EvaluationResult={"F1Score": 0.9, "Summary": place})
    )
    found = rekognition.show("latest")
    aws.client("s3").put_object(Bucket=bucket, Key="out/summary.json", Body=json.dumps(summary))
    assert read_evaluation(aws, found)["pixloop"]["pictures"] == 30
    aws.client("s3").put_object(Bucket=bucket, Key="out/summary.json", Body=b"{}")
    with pytest.raises(AwsError, match="no training summary"):
        read_evaluation(aws, found)


def test_a_version_in_training_has_no_evaluation_yet(
    service: Service, rekognition: Rekognition, aws: Session
) -> None:
    service.versions(version("TRAINING_IN_PROGRESS"))
    with pytest.raises(AwsError, match="no metrics yet"):
        read_evaluation(aws, rekognition.show("latest"))
