"""A stand-in cloud with buckets and a model registry, and versions to deploy there."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.certified_bundles import archive, spoil, write_classifier

from pixloop.aws.deployment import settle as deployment
from pixloop.aws.deployment.target import Target
from pixloop.aws.rehearsal.cloud import Cloud

IMAGE = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/pixloop:1"
ROLE = "arn:aws:iam::123456789012:role/pixloop-colours"
BUCKET = "pixloop-learning"
GROUP = "pixloop-colours"
TARGET = Target(
    project="colours",
    to="endpoint",
    name="pixloop-colours",
    role=ROLE,
    bucket=BUCKET,
    image=IMAGE,
    instance_type="ml.c5.xlarge",  # moto knows older ones only
    capture_percent=100,
    capture_uri="s3://pixloop-pictures/capture",
    async_uri="s3://pixloop-pictures/async",
)

Register = Callable[[Path], str]


@pytest.fixture
def cloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    monkeypatch.setattr(deployment, "PAUSES_S", (0.1,))
    with Cloud(tmp_path / "cloud") as cloud:
        for bucket in (BUCKET, "pixloop-pictures"):
            place = {"LocationConstraint": cloud.region}
            cloud.client("s3").create_bucket(Bucket=bucket, CreateBucketConfiguration=place)
        cloud.client("sagemaker").create_model_package_group(ModelPackageGroupName=GROUP)
        yield cloud


@pytest.fixture
def endpoint_target() -> Target:
    return TARGET


@pytest.fixture
def function_target() -> Target:
    return replace(TARGET, to="function", name="pixloop-colours-server")


@pytest.fixture(scope="session")
def good_archives(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Of four versions that answer as certified; a seed tells them apart."""
    folder = tmp_path_factory.mktemp("good")
    bundles = [write_classifier(folder / str(i), lineage={"seed": i}) for i in range(4)]
    return [archive(bundle) for bundle in bundles]


@pytest.fixture(scope="session")
def bad_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a version whose graph is not the one that was certified."""
    bundle = write_classifier(tmp_path_factory.mktemp("bad") / "bundle")
    return archive(spoil(bundle))


@pytest.fixture
def register(cloud: Cloud) -> Register:
    """Puts an archive on S3 and into the registry; the version's ARN."""

    def register(path: Path) -> str:
        sagemaker = cloud.client("sagemaker")
        known = sagemaker.list_model_packages(ModelPackageGroupName=GROUP)
        key = f"colours/{len(known['ModelPackageSummaryList']) + 1}/model.tar.gz"
        cloud.client("s3").put_object(Bucket=BUCKET, Key=key, Body=path.read_bytes())
        arn: str = sagemaker.create_model_package(
            ModelPackageGroupName=GROUP,
            ModelApprovalStatus="PendingManualApproval",
            InferenceSpecification={
                "Containers": [{"Image": IMAGE, "ModelDataUrl": f"s3://{BUCKET}/{key}"}],
                "SupportedContentTypes": ["application/x-image"],
                "SupportedResponseMIMETypes": ["application/json"],
            },
        )["ModelPackageArn"]
        return arn

    return register
