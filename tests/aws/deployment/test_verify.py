"""``pixloop verify`` for an endpoint and a function, and asking an asynchronous endpoint."""

import json
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.aws.deployment.conftest import Register

from pixloop.aws.answering.asking import NotAnswered, PictureRefused
from pixloop.aws.deployment.async_asking import ask_async
from pixloop.aws.deployment.settle import deploy, verify_and_settle
from pixloop.aws.deployment.target import Target, read_package
from pixloop.aws.deployment.verify import verify
from pixloop.aws.rehearsal.cloud import Cloud
from pixloop.errors import AwsError

pytestmark = pytest.mark.integration


def test_an_endpoint_is_verified_with_the_projects_own_tests(
    cloud: Cloud,
    endpoint_target: Target,
    register: Register,
    good_archives: list[Path],
    bad_archive: Path,
    tmp_path: Path,
) -> None:
    with pytest.raises(AwsError, match="there is no endpoint pixloop-colours"):
        verify(cloud, endpoint_target)
    own = tmp_path / "verify"
    own.mkdir()
    (own / "test_own.py").write_text("def test_own(deployment): assert deployment.model\n")
    source = read_package(cloud, endpoint_target, register(good_archives[0]))
    deploy(cloud, endpoint_target, source, lambda _: None, poll_s=0.1)
    result = verify(cloud, endpoint_target, own)
    assert (result.ok, result.passed) == (True, 10), str(result)

    bad = read_package(cloud, endpoint_target, register(bad_archive))
    deploy(cloud, endpoint_target, bad, lambda _: None, poll_s=0.1)
    assert "picture 4 (test/0003.png): probability of" in str(verify(cloud, endpoint_target))


def test_a_function_is_verified(
    cloud: Cloud, function_target: Target, register: Register, good_archives: list[Path]
) -> None:
    made = cloud.client("iam").create_role(RoleName="server", AssumeRolePolicyDocument="{}")
    target = replace(function_target, role=made["Role"]["Arn"])
    with pytest.raises(AwsError, match="there is no function pixloop-colours-server"):
        verify(cloud, target)
    source = read_package(cloud, target, register(good_archives[0]))
    deployed = deploy(cloud, target, source, lambda _: None)
    verify_and_settle(cloud, target, deployed.version)
    result = verify(cloud, target)
    assert (result.ok, result.passed) == (True, 9), str(result)


class AsyncAnswers:
    """The stand-in cloud's S3, and an asynchronous endpoint that answers a while later."""

    def __init__(self, cloud: Cloud, answer: bytes | None, failure: bytes | None) -> None:
        self._s3, self._answer, self._failure = cloud.client("s3"), answer, failure

    def client(self, service: str) -> Any:
        return self._s3 if service == "s3" else self

    def invoke_endpoint_async(self, **request: str) -> dict[str, str]:
        assert request["InputLocation"].startswith("s3://pixloop-pictures/async/asked/")
        for key, content in (("out/1", self._answer), ("failed/1", self._failure)):
            if content is not None:
                put = threading.Timer(
                    0.3,
                    self._s3.put_object,
                    (),
                    {"Bucket": "pixloop-pictures", "Key": key, "Body": content},
                )
                put.start()
        return {
            "OutputLocation": "s3://pixloop-pictures/out/1",
            "FailureLocation": "s3://pixloop-pictures/failed/1",
        }


def test_an_asynchronous_endpoint_is_asked_through_s3(
    cloud: Cloud, endpoint_target: Target
) -> None:
    answer = {"model": "colours:1", "predictions": [{}]}
    right = AsyncAnswers(cloud, json.dumps(answer).encode(), None)
    assert ask_async(right, endpoint_target, b"picture", poll_s=0.1) == answer
    kept = cloud.client("s3").list_objects_v2(Bucket="pixloop-pictures", Prefix="async/asked/")
    assert kept["KeyCount"] == 1


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (b'Received client error (422) from model: {"type": "x", "status": 422}', PictureRefused),
        (b"the container was killed", NotAnswered),
    ],
)
def test_an_asynchronous_failure_is_told(
    cloud: Cloud, endpoint_target: Target, failure: bytes, kind: type[Exception]
) -> None:
    with pytest.raises(kind):
        ask_async(AsyncAnswers(cloud, None, failure), endpoint_target, b"picture", poll_s=0.1)


def test_an_asynchronous_endpoint_that_says_nothing_is_not_waited_for_for_ever(
    cloud: Cloud, endpoint_target: Target
) -> None:
    silent = AsyncAnswers(cloud, None, None)
    with pytest.raises(NotAnswered, match="gave no answer"):
        ask_async(silent, endpoint_target, b"picture", poll_s=0.1, timeout_s=0.3)
