"""Endpoints in the stand-in cloud, where the real server answers."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber
from tests.aws.deployment.conftest import BUCKET, Register

from pixloop.aws.deployment.champion import read_champion
from pixloop.aws.deployment.endpoint import (
    PREVIOUS,
    VERIFIED,
    WANTED,
    EndpointBusy,
    read_endpoint,
    start_endpoint,
)
from pixloop.aws.deployment.settle import ask_target, deploy, roll_back, verify_and_settle
from pixloop.aws.deployment.target import Deployed, Settled, Target, read_package
from pixloop.aws.rehearsal.cloud import Cloud
from pixloop.errors import AwsError

pytestmark = pytest.mark.integration


def bring(cloud: Cloud, target: Target, package: str) -> tuple[Deployed, Settled | None]:
    source = read_package(cloud, target, package)
    deployed = deploy(cloud, target, source, lambda _: None, poll_s=0.1)
    return deployed, verify_and_settle(cloud, target, deployed.version)


def wait(cloud: Cloud, name: str) -> Any:
    for _ in range(200):
        state = read_endpoint(cloud, name)
        if state is None or state.status == "InService":
            return state
        time.sleep(0.1)
    raise AssertionError(f"{name} is {state}")


def registry(cloud: Cloud, package: str) -> tuple[str, str]:
    found = cloud.client("sagemaker").describe_model_package(ModelPackageName=package)
    return found["ModelApprovalStatus"], found.get("ApprovalDescription", "")


def configs(cloud: Cloud) -> set[str]:
    listed = cloud.client("sagemaker").list_endpoint_configs()["EndpointConfigs"]
    return {config["EndpointConfigName"] for config in listed}


def test_versions_follow_one_another(
    cloud: Cloud, endpoint_target: Target, register: Register, good_archives: list[Path]
) -> None:
    packages = [register(path) for path in good_archives]
    first, settled = bring(cloud, endpoint_target, packages[0])
    assert (first.model, first.changed) == ("colours:1", True)
    assert settled == Settled("pixloop-colours", "colours:1", (), "colours:1")
    noted = read_champion(cloud, endpoint_target)
    assert noted is not None
    assert noted["model"] == "colours:1"
    champion = cloud.client("s3").get_object(Bucket=BUCKET, Key="champion/model.tar.gz")
    assert champion["Body"].read() == good_archives[0].read_bytes()

    again, settled = bring(cloud, endpoint_target, packages[0])
    assert (again.version, again.changed) == (first.version, False)
    assert settled is not None
    assert settled.ok
    head = cloud.client("s3").head_object(Bucket=BUCKET, Key="champion/model.tar.gz")
    assert head["LastModified"] == champion["LastModified"]
    assert configs(cloud) == {first.version}

    second, settled = bring(cloud, endpoint_target, packages[1])
    assert settled is not None
    assert settled.serves == "colours:2"
    assert configs(cloud) == {first.version, second.version}
    third, _ = bring(cloud, endpoint_target, packages[2])
    assert configs(cloud) == {second.version, third.version}
    assert len(cloud.client("sagemaker").list_models()["Models"]) == 2

    said: list[str] = []
    back = roll_back(cloud, endpoint_target, "it is slow", said.append, poll_s=0.1)
    assert back == "colours:2"
    assert said[-1] == "pixloop-colours serves colours:2 again, no longer colours:3"
    assert registry(cloud, packages[2]) == ("Rejected", "it is slow")
    champion_now = read_champion(cloud, endpoint_target)
    assert champion_now is not None
    assert champion_now["model"] == "colours:2"
    settled = verify_and_settle(cloud, endpoint_target)
    assert settled is not None
    assert settled.serves == "colours:2"
    assert configs(cloud) == {second.version}
    with pytest.raises(AwsError, match="has no earlier version to go back to"):
        roll_back(cloud, endpoint_target, "again", said.append)


def test_a_version_that_answers_wrongly_is_undone(
    cloud: Cloud,
    endpoint_target: Target,
    register: Register,
    good_archives: list[Path],
    bad_archive: Path,
) -> None:
    good, bad = register(good_archives[0]), register(bad_archive)
    first, _ = bring(cloud, endpoint_target, good)
    _, settled = bring(cloud, endpoint_target, bad)
    assert settled is not None
    assert (settled.ok, settled.model, settled.serves) == (False, "colours:2", "colours:1")
    assert "probability of 'red' is" in settled.differences[0]
    status, reason = registry(cloud, bad)
    assert status == "Rejected"
    assert reason.startswith("Deployed to pixloop-colours, it does not answer as its certificate")
    assert len(reason) <= 1024

    state = wait(cloud, endpoint_target.name)
    assert state.config == first.version
    # As on_deployed does, as often as SageMaker tells of it.
    for _ in range(2):
        settled = verify_and_settle(cloud, endpoint_target)
        assert settled == Settled("pixloop-colours", "colours:1", (), "colours:1")
    assert configs(cloud) == {first.version}
    assert registry(cloud, good)[0] == "PendingManualApproval"
    champion = read_champion(cloud, endpoint_target)
    assert champion is not None
    assert champion["model"] == "colours:1"


def test_a_first_version_that_answers_wrongly_leaves_nothing(
    cloud: Cloud, endpoint_target: Target, register: Register, bad_archive: Path
) -> None:
    package = register(bad_archive)
    _, settled = bring(cloud, endpoint_target, package)
    assert settled is not None
    assert (settled.ok, settled.serves) == (False, None)
    assert read_endpoint(cloud, endpoint_target.name) is None
    assert read_champion(cloud, endpoint_target) is None
    assert registry(cloud, package)[0] == "Rejected"
    assert verify_and_settle(cloud, endpoint_target) is None


def test_what_was_right_once_is_not_undone(
    cloud: Cloud, endpoint_target: Target, register: Register, good_archives: list[Path]
) -> None:
    package = register(good_archives[0])
    bring(cloud, endpoint_target, package)
    # The archive is damaged afterwards; the endpoint is well.
    cloud.client("s3").put_object(Bucket=BUCKET, Key="colours/1/model.tar.gz", Body=b"nonsense")
    with pytest.raises(AwsError, match="answered as certified once and does not now"):
        verify_and_settle(cloud, endpoint_target)
    assert wait(cloud, endpoint_target.name).status == "InService"
    assert registry(cloud, package)[0] == "PendingManualApproval"


def test_an_update_that_sagemaker_undoes_is_rejected(
    cloud: Cloud, endpoint_target: Target, register: Register, good_archives: list[Path]
) -> None:
    cloud.client("cloudwatch").put_metric_alarm(
        AlarmName="errors",
        Namespace="pixloop",
        MetricName="Errors",
        Statistic="Sum",
        Period=60,
        EvaluationPeriods=1,
        Threshold=1,
        ComparisonOperator="GreaterThanOrEqualToThreshold",
    )
    watched = replace(endpoint_target, alarms=("errors", "no-such-alarm"))
    packages = [register(path) for path in good_archives[:2]]
    first, _ = bring(cloud, watched, packages[0])
    cloud.client("cloudwatch").set_alarm_state(
        AlarmName="errors", StateValue="ALARM", StateReason="test"
    )
    with pytest.raises(AwsError, match=r"SageMaker undid the update .*alarms tripped: errors"):
        bring(cloud, watched, packages[1])
    settled = verify_and_settle(cloud, watched)
    assert settled is not None
    assert settled.serves == "colours:1"
    status, reason = registry(cloud, packages[1])
    assert status == "Rejected"
    assert "SageMaker undid the update of endpoint pixloop-colours" in reason
    state = wait(cloud, watched.name)
    assert (state.tags[WANTED], state.tags[VERIFIED]) == (first.version, first.version)
    assert state.tags.get(PREVIOUS, "") == ""


def test_a_busy_endpoint_is_left_alone(
    cloud: Cloud, endpoint_target: Target, register: Register, good_archives: list[Path]
) -> None:
    sources = [read_package(cloud, endpoint_target, register(p)) for p in good_archives[:2]]
    start_endpoint(cloud, endpoint_target, sources[0])
    assert not start_endpoint(cloud, endpoint_target, sources[0]).changed
    with pytest.raises(EndpointBusy, match="is Creating"):
        start_endpoint(cloud, endpoint_target, sources[1])
    assert verify_and_settle(cloud, endpoint_target) is None


def test_an_endpoint_that_cannot_start_says_why_and_is_replaced(
    cloud: Cloud, endpoint_target: Target, register: Register, good_archives: list[Path]
) -> None:
    package = register(good_archives[0])
    cloud.client("s3").delete_object(Bucket=BUCKET, Key="colours/1/model.tar.gz")
    with pytest.raises(AwsError, match=r"is Failed: Could not find model data at s3://"):
        bring(cloud, endpoint_target, package)
    again = register(good_archives[1])
    _, settled = bring(cloud, endpoint_target, again)
    assert settled is not None
    assert settled.ok


def test_the_endpoint_answers_pictures(
    cloud: Cloud, endpoint_target: Target, register: Register, good_archives: list[Path]
) -> None:
    from tests.certified_bundles import colours

    bring(cloud, endpoint_target, register(good_archives[0]))
    answer = ask_target(cloud, endpoint_target)(colours()[0])
    assert answer["model"] == "colours:1"
    assert answer["predictions"][0]["label"] == "red"


def test_a_throttled_verification_decides_nothing(
    cloud: Cloud, endpoint_target: Target, register: Register, good_archives: list[Path]
) -> None:
    package = register(good_archives[0])
    source = read_package(cloud, endpoint_target, package)
    deploy(cloud, endpoint_target, source, lambda _: None, poll_s=0.1)
    cloud.front.fail_next("ThrottlingException", 1)
    with pytest.raises(ClientError, match="Rate exceeded"):
        verify_and_settle(cloud, endpoint_target)
    assert wait(cloud, endpoint_target.name).tags.get(VERIFIED, "") == ""
    assert registry(cloud, package)[0] == "PendingManualApproval"
    settled = verify_and_settle(cloud, endpoint_target)
    assert settled is not None
    assert settled.ok


class CrashingModel:
    """The stand-in cloud with a model that fails on every picture."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._runtime = boto3.client("sagemaker-runtime")
        self._stub = Stubber(self._runtime)
        for _ in range(10):
            self._stub.add_client_error(
                "invoke_endpoint",
                "ModelError",
                "it failed",
                http_status_code=424,
                modeled_fields={"OriginalStatusCode": 500, "OriginalMessage": "out of memory"},
            )
        self._stub.activate()

    def client(self, service: str) -> Any:
        return self._runtime if service == "sagemaker-runtime" else self._cloud.client(service)


def test_a_version_that_fails_on_pictures_is_undone(
    cloud: Cloud, endpoint_target: Target, register: Register, good_archives: list[Path]
) -> None:
    package = register(good_archives[0])
    source = read_package(cloud, endpoint_target, package)
    deploy(cloud, endpoint_target, source, lambda _: None, poll_s=0.1)
    settled = verify_and_settle(CrashingModel(cloud), endpoint_target)
    assert settled is not None
    assert (settled.ok, settled.serves) == (False, None)
    assert "got no answer: endpoint pixloop-colours answered 500" in settled.differences[0]
    assert registry(cloud, package)[0] == "Rejected"
