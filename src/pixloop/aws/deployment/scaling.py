"""How many instances an endpoint has: as many as its traffic needs, within the target's limits."""

from typing import Any

from pixloop.aws.deployment.endpoint_requests import VARIANT
from pixloop.aws.deployment.target import Clients, Target

_POLICY = "pixloop-traffic"
_SCALE_OUT_S, _SCALE_IN_S = 60, 300
#: Without a measurement: what a small classifier answers with ease.
_REQUESTS_PER_MINUTE = 600.0
_WAITING_PER_INSTANCE = 5.0


def scale(clients: Clients, target: Target, latency_ms: float | None) -> None:
    """Let Application Auto Scaling set the number of instances. Doing it again changes nothing.

    Args:
        clients: of AWS.
        target: an endpoint that exists. With one number of instances there is nothing to scale.
        latency_ms: of a lone picture, from the certificate. An instance is given half of the
            requests that it could answer one after another. (SageMaker Developer Guide, "Load
            testing your auto scaling configuration": a safety factor of 0.5 to begin with.)
    """
    if target.to not in ("endpoint", "async") or target.instances[0] == target.instances[1]:
        return
    client = clients.client("application-autoscaling")
    what = {
        "ServiceNamespace": "sagemaker",
        "ResourceId": f"endpoint/{target.name}/variant/{VARIANT}",
        "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
    }
    least, most = target.instances
    client.register_scalable_target(**what, MinCapacity=least, MaxCapacity=most)
    client.put_scaling_policy(
        **what,
        PolicyName=_POLICY,
        PolicyType="TargetTrackingScaling",
        TargetTrackingScalingPolicyConfiguration={
            **_aim(target, latency_ms),
            "ScaleOutCooldown": _SCALE_OUT_S,
            "ScaleInCooldown": _SCALE_IN_S,
        },
    )


def _aim(target: Target, latency_ms: float | None) -> dict[str, Any]:
    if target.to == "async":  # what waits says more than what comes
        backlog = {
            "MetricName": "ApproximateBacklogSizePerInstance",
            "Namespace": "AWS/SageMaker",
            "Dimensions": [{"Name": "EndpointName", "Value": target.name}],
            "Statistic": "Average",
        }
        return {"TargetValue": _WAITING_PER_INSTANCE, "CustomizedMetricSpecification": backlog}
    requests = 0.5 * 60_000 / latency_ms if latency_ms else _REQUESTS_PER_MINUTE
    predefined = {"PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"}
    return {
        "TargetValue": max(1.0, float(round(requests))),
        "PredefinedMetricSpecification": predefined,
    }
