"""Batch transform: every picture below an S3 address gets its answer beside it, in ``<key>.out``.

The instances are there for the job alone. An answer is the server's JSON for one picture.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pixloop.aws.answering.asking import PICTURE
from pixloop.aws.deployment.endpoint import make_model
from pixloop.aws.deployment.endpoint_requests import has_own_disks
from pixloop.aws.deployment.target import Clients, ModelSource, Target
from pixloop.errors import AwsError

_POLL_S = 15.0
_MAX_PICTURE_MB = 25
_PICTURE_TIMEOUT_S = 60
#: Each instance has some cores, and the server a queue.
_AT_ONCE = 4


@dataclass(frozen=True)
class TransformResult:
    """A job that has ended well."""

    job: str
    model: str
    output_uri: str
    seconds: float


def start_transform(
    clients: Clients, target: Target, source: ModelSource, input_uri: str, output_uri: str
) -> str:
    """Start a job; its name.

    Args:
        clients: of AWS.
        target: its ``instance_type``, as many as ``instances`` has at most, role, key and VPC.
        source: the model.
        input_uri: pictures below this ``s3://`` address; a folder ends in ``/``.
        output_uri: where answers go.
    """
    job = f"{target.name[:40].rstrip('-')}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}"
    clients.client("sagemaker").create_transform_job(
        **transform_request(job, make_model(clients, target, source), target, input_uri, output_uri)
    )
    return job


def wait_for_transform(
    clients: Clients, job: str, on_progress: Callable[[str], None], poll_s: float = _POLL_S
) -> TransformResult:
    """Wait until a job has ended; ``on_progress`` gets each new status.

    Raises:
        AwsError: it failed or was stopped; the message has SageMaker's reason.
    """
    sagemaker, last = clients.client("sagemaker"), ""
    while True:
        found = sagemaker.describe_transform_job(TransformJobName=job)
        status = found["TransformJobStatus"]
        if status != last:
            on_progress(f"transform job {job}: {status}")
            last = status
        if status in ("Failed", "Stopped"):
            reason = found.get("FailureReason", "somebody stopped it")
            raise AwsError(f"transform job {job} {status.lower()}: {reason}")
        if status == "Completed":
            return TransformResult(
                job=job,
                model=found["ModelName"],
                output_uri=found["TransformOutput"]["S3OutputPath"],
                seconds=_seconds(found),
            )
        time.sleep(poll_s)


def transform_request(
    job: str, model: str, target: Target, input_uri: str, output_uri: str
) -> dict[str, Any]:
    """Of ``create_transform_job``: one picture a request, as it lies there."""
    own_key = target.key_arn and not has_own_disks(target.instance_type)
    return {
        "TransformJobName": job,
        "ModelName": model,
        "MaxConcurrentTransforms": _AT_ONCE,
        "MaxPayloadInMB": _MAX_PICTURE_MB,
        "BatchStrategy": "SingleRecord",
        "ModelClientConfig": {
            "InvocationsTimeoutInSeconds": _PICTURE_TIMEOUT_S,
            "InvocationsMaxRetries": 3,
        },
        "TransformInput": {
            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": input_uri}},
            "ContentType": PICTURE,
            "CompressionType": "None",
            "SplitType": "None",
        },
        "TransformOutput": {
            "S3OutputPath": output_uri,
            "Accept": "application/json",
            "AssembleWith": "None",
            **({"KmsKeyId": target.key_arn} if target.key_arn else {}),
        },
        "TransformResources": {
            "InstanceType": target.instance_type,
            "InstanceCount": target.instances[1],
            **({"VolumeKmsKeyId": target.key_arn} if own_key else {}),
        },
        "Tags": [{"Key": "pixloop:project", "Value": target.project}],
    }


def _seconds(job: dict[str, Any]) -> float:
    if "TransformStartTime" not in job or "TransformEndTime" not in job:
        return 0.0
    return float((job["TransformEndTime"] - job["TransformStartTime"]).total_seconds())
