"""The server in a Lambda function: the same routes, behind a function URL or API Gateway.

Environment: ``PIXLOOP_MODEL_URL``, the ``s3://`` address of a ``model.tar.gz``;
``PIXLOOP_MODEL_NAME``, what answers give as ``model``. The archive is fetched once, when the
function starts.
"""

import os
from functools import cache
from pathlib import Path
from typing import Any

import boto3
from mangum import Mangum
from mangum.adapter import DEFAULT_TEXT_MIME_TYPES

from pixloop.aws.champion import split_address
from pixloop.aws.target import MODEL_NAME, MODEL_URL
from pixloop.bundle import ARCHIVE, Bundle
from pixloop.config import ServingConfig
from pixloop.errors import AwsError
from pixloop.serving.app import build_app
from pixloop.serving.predictor import open_predictor
from pixloop.serving.problems import PROBLEM_MEDIA_TYPE

#: The only place that a function may write to.
_FOLDER = Path("/tmp/pixloop")  # noqa: S108


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
    bundle = fetch_bundle(url, Path(os.environ.get("PIXLOOP_FOLDER", _FOLDER)))
    name = os.environ.get(MODEL_NAME) or bundle.manifest.name
    app = build_app(open_predictor(bundle), name, ServingConfig())
    texts = [*DEFAULT_TEXT_MIME_TYPES, PROBLEM_MEDIA_TYPE]
    return Mangum(app, lifespan="off", text_mime_types=texts)


def fetch_bundle(url: str, folder: Path) -> Bundle:
    """Download an archive and unpack it; the archive itself is removed, as room is scarce."""
    bucket, key = split_address(url)
    archive = folder / ARCHIVE
    folder.mkdir(parents=True, exist_ok=True)
    boto3.client("s3").download_file(bucket, key, str(archive))
    try:
        return Bundle.open(archive, folder / "bundle")
    finally:
        archive.unlink(missing_ok=True)


if os.environ.get("AWS_LAMBDA_RUNTIME_API"):
    # While a function starts it has more of the processor than later.
    server()
