"""Batch transform jobs, which the stand-in cloud only takes a note of."""

from pathlib import Path

import pytest
from tests.aws.deployment.conftest import Register

from pixloop.aws.deployment.target import Target, read_package
from pixloop.aws.deployment.transform import start_transform, wait_for_transform
from pixloop.aws.rehearsal.cloud import Cloud
from pixloop.errors import AwsError

pytestmark = pytest.mark.integration


class Answers:
    """A client that describes one job, a status after the other."""

    def __init__(self, *statuses: str) -> None:
        self._statuses = list(statuses)

    def client(self, service: str) -> "Answers":
        return self

    def describe_transform_job(self, **_: str) -> dict[str, object]:
        return {
            "TransformJobStatus": self._statuses.pop(0),
            "FailureReason": "no pictures",
            "ModelName": "m",
            "TransformOutput": {"S3OutputPath": "s3://out/"},
        }


def test_a_job_is_started_over_pictures(
    cloud: Cloud, endpoint_target: Target, register: Register, good_archives: list[Path]
) -> None:
    source = read_package(cloud, endpoint_target, register(good_archives[0]))
    job = start_transform(cloud, endpoint_target, source, "s3://a/in/", "s3://b/out/")
    found = cloud.client("sagemaker").describe_transform_job(TransformJobName=job)
    assert found["TransformInput"]["ContentType"] == "application/x-image"
    assert found["TransformInput"]["SplitType"] == "None"
    assert found["TransformOutput"]["Accept"] == "application/json"
    model = cloud.client("sagemaker").describe_model(ModelName=found["ModelName"])
    assert model["PrimaryContainer"]["ModelDataUrl"] == source.data_url


def test_progress_is_told_until_the_end() -> None:
    said: list[str] = []
    states = Answers("InProgress", "InProgress", "Completed")
    result = wait_for_transform(states, "j", said.append, poll_s=0)
    assert said == ["transform job j: InProgress", "transform job j: Completed"]
    assert (result.output_uri, result.model) == ("s3://out/", "m")
    with pytest.raises(AwsError, match="transform job j failed: no pictures"):
        wait_for_transform(Answers("Failed"), "j", said.append, poll_s=0)
