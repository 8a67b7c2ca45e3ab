"""What SageMaker is asked for: models, endpoint configurations, and how an endpoint is updated.

Names end in a hash of the content, so that asking for the same again makes nothing new. Shapes are
those of botocore's model of the API. Not tried against the real service.
"""

import hashlib
import json
import re
from typing import Any

from pixloop.aws.deployment.target import ModelSource, Target

VARIANT = "AllTraffic"
#: An archive of a gigabyte and a slow first start fit well.
_START_TIMEOUT_S = 600
#: How long the alarms watch a new fleet before the rest of the traffic moves, and the old one waits
#: to be needed again.
_WATCH_S = 180
_MOST_UPDATE_S = 3600
_ASYNC_AT_ONCE = 4

#: Instance types with disks of their own, which encrypt themselves: a KMS key is of no use there
#: (CreateEndpointConfig, KmsKeyId), and SageMaker has refused one. By AWS's naming: a "d" after the
#: generation, and families with GPUs or Trainium.
_OWN_DISKS = re.compile(r"ml\.([a-z]+\d+[a-z]*d[a-z]*|g[4-9].*|gr\d.*|p[4-9].*|trn\d.*|dl\d.*)\.")


def model_request(target: Target, source: ModelSource) -> dict[str, Any]:
    """Of ``create_model``."""
    request: dict[str, Any] = {
        "PrimaryContainer": {
            "Image": source.image,
            "ModelDataUrl": source.data_url,
            "Environment": source.environment,
        },
        "ExecutionRoleArn": target.role,
        # The server needs nothing from the network.
        "EnableNetworkIsolation": True,
        **_vpc(target),
    }
    return {"ModelName": _name(target, request), **request, "Tags": _tags(target)}


def config_request(target: Target, model_name: str) -> dict[str, Any]:
    """Of ``create_endpoint_config``."""
    variant: dict[str, Any] = {"VariantName": VARIANT, "ModelName": model_name}
    request: dict[str, Any] = {"ProductionVariants": [variant]}
    if target.to == "serverless":
        variant["ServerlessConfig"] = {
            "MemorySizeInMB": target.memory_mb,
            "MaxConcurrency": target.max_concurrency,
        }
    else:
        variant |= {
            "InstanceType": target.instance_type,
            "InitialInstanceCount": target.instances[0],
            "InitialVariantWeight": 1.0,
            "ModelDataDownloadTimeoutInSeconds": _START_TIMEOUT_S,
            "ContainerStartupHealthCheckTimeoutInSeconds": _START_TIMEOUT_S,
        }
        if target.key_arn and not has_own_disks(target.instance_type):
            request["KmsKeyId"] = target.key_arn
    if target.to == "endpoint" and target.capture_percent:
        request["DataCaptureConfig"] = _capture(target)
    if target.to == "async":
        request["AsyncInferenceConfig"] = _async(target)
    return {"EndpointConfigName": _name(target, request), **request, "Tags": _tags(target)}


def update_request(target: Target, config_name: str, alarms: list[str]) -> dict[str, Any]:
    """Of ``update_endpoint``: a new fleet beside the old one, which takes over bit by bit.

    Args:
        target: what is updated.
        config_name: the configuration that it gets.
        alarms: those that exist; each undoes the update while it is under way.
    """
    request = restore_request(target, config_name)
    if target.to == "serverless":
        return request
    deployment: dict[str, Any] = {
        "BlueGreenUpdatePolicy": {
            "TrafficRoutingConfiguration": _routing(target.instances[0]),
            "TerminationWaitInSeconds": _WATCH_S,
            "MaximumExecutionTimeoutInSeconds": _MOST_UPDATE_S,
        }
    }
    if alarms:
        named = [{"AlarmName": name} for name in alarms]
        deployment["AutoRollbackConfiguration"] = {"Alarms": named}
    return {**request, "DeploymentConfig": deployment}


def restore_request(target: Target, config_name: str) -> dict[str, Any]:
    """Of ``update_endpoint``, all at once: what the endpoint serves now is wrong."""
    request: dict[str, Any] = {"EndpointName": target.name, "EndpointConfigName": config_name}
    if target.to == "serverless":
        return request
    # What scaling has made of the number of instances stays; what is captured may change.
    capture = [{"VariantPropertyType": "DataCaptureConfig"}]
    keep = {"RetainAllVariantProperties": True, "ExcludeRetainedVariantProperties": capture}
    return {**request, **keep}


def has_own_disks(instance_type: str) -> bool:
    """Whether its disks are encrypted by the instance itself, so that no key may be named.

    >>> [has_own_disks(f"ml.{t}.xlarge") for t in ("c6i", "c6id", "m5dn", "g5", "m7g", "p4de")]
    [False, True, True, True, False, True]
    """
    return _OWN_DISKS.match(instance_type) is not None


def _routing(instances: int) -> dict[str, Any]:
    if instances == 1:
        return {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": _WATCH_S}
    # A tenth of the fleet, but at least one instance; with two, that is the half that is allowed.
    percent = max(10, -(-100 // instances))
    return {
        "Type": "CANARY",
        "WaitIntervalInSeconds": _WATCH_S,
        "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": percent},
    }


def _capture(target: Target) -> dict[str, Any]:
    return {
        "EnableCapture": True,
        "InitialSamplingPercentage": target.capture_percent,
        "DestinationS3Uri": target.capture_uri,
        **({"KmsKeyId": target.key_arn} if target.key_arn else {}),
        "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
        # Answers are kept as text; pictures, of any other type, as base64.
        "CaptureContentTypeHeader": {"JsonContentTypes": ["application/json"]},
    }


def _async(target: Target) -> dict[str, Any]:
    base = target.async_uri.rstrip("/")
    return {
        "ClientConfig": {"MaxConcurrentInvocationsPerInstance": _ASYNC_AT_ONCE},
        "OutputConfig": {
            "S3OutputPath": f"{base}/out",
            "S3FailurePath": f"{base}/failed",
            **({"KmsKeyId": target.key_arn} if target.key_arn else {}),
        },
    }


def _vpc(target: Target) -> dict[str, Any]:
    if not target.subnets:
        return {}
    groups = list(target.security_groups)
    return {"VpcConfig": {"Subnets": list(target.subnets), "SecurityGroupIds": groups}}


def _tags(target: Target) -> list[dict[str, str]]:
    return [{"Key": "pixloop:project", "Value": target.project}]


def _name(target: Target, request: dict[str, Any]) -> str:
    content = json.dumps(request, sort_keys=True).encode()
    return f"{target.name}-{hashlib.sha256(content).hexdigest()[:12]}"
