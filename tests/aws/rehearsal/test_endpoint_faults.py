"""What a deployment leaves behind that does not come to its end."""

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from pixloop.aws.rehearsal import endpoints
from pixloop.aws.rehearsal.cloud import Cloud

Wait = Callable[[Callable[[], Any], str], Any]


def test_servers_are_stopped_where_the_alarms_cannot_be_read(
    cloud: Cloud, model: Callable[..., str], wait: Wait, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[str] = []
    stopped: list[str] = []

    def start(archive: Any, folder: Any, environment: dict[str, str]) -> Any:
        name = environment["PIXLOOP_MODEL_NAME"]
        started.append(name)
        return SimpleNamespace(stop=lambda: stopped.append(name))

    def fail(**request: Any) -> Any:
        raise RuntimeError("no alarm can be read")

    monkeypatch.setattr(endpoints, "ModelServer", start)
    sagemaker = cloud.client("sagemaker")

    def status() -> str:
        return str(sagemaker.describe_endpoint(EndpointName="colours")["EndpointStatus"])

    sagemaker.create_endpoint(EndpointName="colours", EndpointConfigName=model("one"))
    wait(lambda: status() == "InService", "the endpoint")
    monkeypatch.setattr(cloud.client("cloudwatch"), "describe_alarms", fail)
    sagemaker.update_endpoint(
        EndpointName="colours",
        EndpointConfigName=model("two"),
        DeploymentConfig={
            "BlueGreenUpdatePolicy": {
                "TrafficRoutingConfiguration": {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 0}
            },
            "AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "errors"}]},
        },
    )
    wait(lambda: status() == "InService", "the way back")
    assert (started, stopped) == (["one", "two"], ["two"])


def test_an_endpoint_deleted_while_its_server_starts_keeps_no_server(
    cloud: Cloud, model: Callable[..., str], wait: Wait, monkeypatch: pytest.MonkeyPatch
) -> None:
    starting, deleted, stopped = threading.Event(), threading.Event(), threading.Event()

    def start(archive: Any, folder: Any, environment: dict[str, str]) -> Any:
        starting.set()
        deleted.wait(60)
        return SimpleNamespace(stop=stopped.set)

    monkeypatch.setattr(endpoints, "ModelServer", start)
    sagemaker = cloud.client("sagemaker")
    sagemaker.create_endpoint(EndpointName="colours", EndpointConfigName=model("one"))
    assert starting.wait(60)
    sagemaker.delete_endpoint(EndpointName="colours")
    deleted.set()
    assert stopped.wait(60)
    assert cloud.endpoints.running == {}
