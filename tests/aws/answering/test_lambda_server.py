"""The model served by a Lambda function, asked by the functions that ship."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from pixloop.aws.answering.asking import LIVE, PictureRefused, ask_function
from pixloop.aws.infrastructure.packages import build_package
from pixloop.aws.rehearsal.lambdas import Lambdas
from pixloop.aws.session import Session
from pixloop.files import pack

pytestmark = pytest.mark.integration


@pytest.fixture
def served(
    aws: Session, bucket: str, role: str, lambdas: Lambdas, bundle: Path, tmp_path: Path
) -> str:
    """The name of a function that serves the bundle, as deployment would leave it."""
    archive = tmp_path / "model.tar.gz"
    pack(bundle, archive)
    aws.client("s3").upload_file(str(archive), bucket, "model.tar.gz")
    functions = aws.client("lambda")
    functions.create_function(
        FunctionName="server",
        Role=role,
        PackageType="Image",
        Code={"ImageUri": "123456789012.dkr.ecr.eu-west-1.amazonaws.com/pixloop:1"},
        ImageConfig={"Command": ["lambda"]},
        Timeout=60,
        MemorySize=2048,
        Environment={
            "Variables": {
                "PIXLOOP_MODEL_URL": f"s3://{bucket}/model.tar.gz",
                "PIXLOOP_MODEL_NAME": "colours:1",
            }
        },
    )
    version = functions.publish_version(FunctionName="server")["Version"]
    functions.create_alias(FunctionName="server", Name=LIVE, FunctionVersion=version)
    return "server"


def test_it_answers_as_the_server_does(
    aws: Session, served: str, server: str, make_picture: Callable[..., bytes]
) -> None:
    client = aws.client("lambda")
    picture = make_picture("blue", "JPEG")
    asked = httpx.post(f"{server}/invocations", content=picture).json()
    assert ask_function(client, served, picture, qualifier=LIVE) == asked
    with pytest.raises(PictureRefused, match="answered 4"):
        ask_function(client, served, b"no picture", qualifier=LIVE)


def test_the_workflows_function_asks_it(
    aws: Session,
    bucket: str,
    served: str,
    make_function: Callable[..., str],
    make_picture: Callable[..., bytes],
) -> None:
    variables = {"PROJECT": "colours", "ENDPOINT_NAME": "", "FUNCTION_NAME": served}
    make_function(
        "classify",
        build_package("classify"),
        Handler="pixloop.aws.functions.classify.handler",
        Environment={"Variables": variables},
        Timeout=60,
    )
    aws.client("s3").put_object(Bucket=bucket, Key="a.png", Body=make_picture("green"))
    event: dict[str, Any] = {"picture": f"s3://{bucket}/a.png", "content_type": "image/png"}
    answer = aws.client("lambda").invoke(FunctionName="classify", Payload=json.dumps(event))
    result = json.loads(answer["Payload"].read())
    assert "FunctionError" not in answer, result
    assert result["prediction"]["label"] == "green"
    assert result["model"] == "colours:1"
