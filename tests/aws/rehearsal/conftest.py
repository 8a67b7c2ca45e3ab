"""One stand-in cloud for the tests of this folder, empty before each of them."""

from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tests.small_bundles import write_colours

from pixloop.aws.rehearsal.cloud import Cloud
from pixloop.files import pack


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    with Cloud(tmp_path / "cloud") as cloud:
        yield cloud


@pytest.fixture
def bucket(cloud: Cloud) -> str:
    cloud.client("s3").create_bucket(
        Bucket="pixloop-test", CreateBucketConfiguration={"LocationConstraint": cloud.region}
    )
    return "pixloop-test"


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model.tar.gz of a bundle that tells red, green and blue apart."""
    folder = tmp_path_factory.mktemp("bundle")
    write_colours(folder)
    target = tmp_path_factory.mktemp("archive") / "model.tar.gz"
    pack(folder, target)
    return target


@pytest.fixture
def model(cloud: Cloud, bucket: str, archive: Path) -> Callable[[str], str]:
    """Makes a model with the bundle's archive and an endpoint configuration of the same name."""
    cloud.client("s3").upload_file(str(archive), bucket, "model.tar.gz")

    def make(name: str, key: str = "model.tar.gz", **container: Any) -> str:
        sagemaker = cloud.client("sagemaker")
        sagemaker.create_model(
            ModelName=name,
            ExecutionRoleArn="arn:aws:iam::123456789012:role/any",
            PrimaryContainer={
                "Image": "pixloop",
                "ModelDataUrl": f"s3://{bucket}/{key}",
                "Environment": {"PIXLOOP_MODEL_NAME": name},
                **container,
            },
        )
        variant = {
            "VariantName": "all",
            "ModelName": name,
            "InstanceType": "ml.m5.large",
            "InitialInstanceCount": 1,
        }
        sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
        return name

    return make


def picture(colour: tuple[int, int, int], media: str = "PNG") -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (16, 12), colour).save(buffer, media)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def red() -> bytes:
    return picture((255, 0, 0))


def wait_until(condition: Callable[[], Any], what: str) -> Any:
    """The first true answer; a test fails, instead of hanging, where none comes."""
    import time

    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if answer := condition():
            return answer
        time.sleep(0.05)
    raise AssertionError(f"waited in vain for {what}")


@pytest.fixture(scope="session")
def wait() -> Callable[[Callable[[], Any], str], Any]:
    return wait_until
