"""The server in a Lambda function: the same routes, behind a function URL or API Gateway.

Environment: ``PIXLOOP_MODEL_URL``, the ``s3://`` address of a ``model.tar.gz``;
``PIXLOOP_MODEL_NAME``, what answers give as ``model``. The archive is fetched once, when the
function starts.
"""

import os
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import boto3
from mangum import Mangum
from mangum.adapter import DEFAULT_TEXT_MIME_TYPES

from pixloop.aws.addresses import split_address
from pixloop.aws.deployment.target import MODEL_NAME, MODEL_URL
from pixloop.bundle import ARCHIVE, Bundle
from pixloop.config import ServingConfig
from pixloop.errors import AwsError
from pixloop.serving.app import build_app
from pixloop.serving.predictor import open_predictor
from pixloop.serving.problems import PROBLEM_MEDIA_TYPE


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answer one request of API Gateway's payload format 2.0; bodies may be base64."""
    answer: dict[str, Any] = server()(event, context)
    return answer


@cache
def server() -> Mangum:
    """The server for the model of the environment.

    Raises:
        AwsError: the environment names no model.
        BundleError: what it names is no bundle.
    """
    url = os.environ.get(MODEL_URL, "")
    if not url.startswith("s3://"):
        raise AwsError(f"{MODEL_URL} is {url!r}; expected the s3:// address of a {ARCHIVE}.")
    # Once its graph is loaded, the bundle's files are of no more use.
    with tempfile.TemporaryDirectory(prefix="pixloop-") as folder:
        bundle = _fetch_bundle(url, Path(folder))
        predictor = open_predictor(bundle)
    name = os.environ.get(MODEL_NAME) or bundle.manifest.name
    app = build_app(predictor, name, ServingConfig())
    texts = [*DEFAULT_TEXT_MIME_TYPES, PROBLEM_MEDIA_TYPE]
    return Mangum(app, lifespan="off", text_mime_types=texts)


def _fetch_bundle(url: str, folder: Path) -> Bundle:
    bucket, key = split_address(url)
    archive = folder / ARCHIVE
    boto3.client("s3").download_file(bucket, key, str(archive))
    return Bundle.open(archive, folder / "bundle")


if os.environ.get("AWS_LAMBDA_RUNTIME_API"):
    # While a function starts it has more of the processor than later.
    server()
