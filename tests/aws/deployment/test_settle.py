"""Going back on an endpoint, where others or a kill come in between; SageMaker is a few lines."""

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError
from tests.aws.deployment.conftest import TARGET

from pixloop.aws.deployment import settle
from pixloop.aws.deployment.endpoint import PREVIOUS, VERIFIED, WANTED
from pixloop.aws.deployment.settle import roll_back, verify_and_settle
from pixloop.aws.deployment.target import ModelSource, Target
from pixloop.certificate import Certificate
from pixloop.errors import AwsError

OLD, NEW = "pixloop-colours-000000000001", "pixloop-colours-000000000002"


class SageMaker:
    """One endpoint, whose configurations and models share their names; and the other services."""

    def __init__(self, config: str, **tags: str) -> None:
        self.config, self.status, self.tags = config, "InService", tags
        self.updates: list[dict[str, Any]] = []
        self.rejected: list[str] = []
        self.configs = [config]
        #: What happens in the middle of an update.
        self.meanwhile: Callable[[], None] = lambda: None

    def client(self, _: str) -> "SageMaker":
        return self

    def describe_endpoint(self, **_: str) -> dict[str, str]:
        config = {"EndpointConfigName": self.config, "EndpointStatus": self.status}
        return {"EndpointArn": "arn:endpoint", **config}

    def list_tags(self, **_: str) -> dict[str, Any]:
        return {"Tags": [{"Key": key, "Value": value} for key, value in self.tags.items()]}

    def add_tags(self, ResourceArn: str, Tags: list[dict[str, str]]) -> None:  # noqa: N803
        self.tags |= {tag["Key"]: tag["Value"] for tag in Tags}

    def update_endpoint(self, **request: Any) -> None:
        self.updates.append(request)
        self.config = request["EndpointConfigName"]
        self.meanwhile()

    def describe_endpoint_config(self, EndpointConfigName: str) -> Any:  # noqa: N803
        return {"ProductionVariants": [{"ModelName": EndpointConfigName}]}

    def describe_model(self, ModelName: str) -> Any:  # noqa: N803
        environment = {"PIXLOOP_MODEL_NAME": ModelName, "PIXLOOP_MODEL_PACKAGE": f"arn:{ModelName}"}
        archive = {"Image": "i", "ModelDataUrl": "s3://b/m.tar.gz"}
        return {"PrimaryContainer": {**archive, "Environment": environment}}

    def update_model_package(self, ModelPackageArn: str, **_: str) -> None:  # noqa: N803
        self.rejected.append(ModelPackageArn)

    def get_paginator(self, _: str) -> Any:
        return self

    def paginate(self, **_: str) -> list[Any]:
        return [{"EndpointConfigs": [{"EndpointConfigName": name} for name in self.configs]}]

    def delete_endpoint_config(self, EndpointConfigName: str) -> None:  # noqa: N803
        self.configs.remove(EndpointConfigName)

    def delete_model(self, **_: str) -> None:
        pass


@pytest.fixture(autouse=True)
def crowned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The models that became the champion."""
    crowned: list[str] = []

    def crown(_: SageMaker, target: Target, source: ModelSource) -> None:
        crowned.append(source.name)

    monkeypatch.setattr(settle, "crown", crown)
    return crowned


def answers(
    monkeypatch: pytest.MonkeyPatch, *differences: str, meanwhile: Callable[[], None] | None = None
) -> None:
    """What differs from the certificate, and what happens while the endpoint is asked."""

    def verify(*_: Any) -> tuple[Certificate | None, list[str]]:
        if meanwhile:
            meanwhile()
        return None, list(differences)

    monkeypatch.setattr(settle, "_verify", verify)


def go_back(sagemaker: SageMaker) -> str:
    return roll_back(sagemaker, TARGET, "it is slow", lambda _: None, poll_s=0)


def test_going_back_keeps_what_scaling_has_made_of_the_endpoint() -> None:
    sagemaker = SageMaker(NEW, **{VERIFIED: NEW, PREVIOUS: OLD})
    assert go_back(sagemaker) == OLD
    (update,) = sagemaker.updates
    assert update["RetainAllVariantProperties"] is True
    assert "DeploymentConfig" not in update


def test_two_that_find_the_same_undo_it_once(monkeypatch: pytest.MonkeyPatch) -> None:
    sagemaker = SageMaker(NEW, **{VERIFIED: OLD, WANTED: NEW})
    answers(monkeypatch, "the label is wrong")

    def too_late() -> None:
        sagemaker.status = "Updating"
        problem = {"Code": "ValidationException", "Message": "Cannot update in-progress endpoint"}
        raise ClientError({"Error": problem}, "UpdateEndpoint")

    sagemaker.meanwhile = too_late
    settled = verify_and_settle(sagemaker, TARGET)
    assert settled is not None
    assert (settled.ok, settled.serves) == (False, OLD)
    assert sagemaker.rejected == [f"arn:{NEW}"]


def test_a_kill_while_going_back_does_not_bring_back_what_was_left() -> None:
    sagemaker = SageMaker(NEW, **{VERIFIED: NEW, PREVIOUS: OLD})

    def kill() -> None:
        raise KeyboardInterrupt

    sagemaker.meanwhile = kill
    with pytest.raises(KeyboardInterrupt):
        go_back(sagemaker)
    assert sagemaker.config == OLD
    sagemaker.meanwhile = lambda: None
    with pytest.raises(AwsError, match="has no earlier version"):
        go_back(sagemaker)
    assert sagemaker.config == OLD
    assert sagemaker.rejected == [f"arn:{NEW}"]


@pytest.mark.parametrize("difference", [(), ("the answers are of model 'colours:3'.",)])
def test_an_endpoint_that_changes_while_it_is_asked_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, crowned: list[str], difference: tuple[str, ...]
) -> None:
    sagemaker = SageMaker(NEW, **{VERIFIED: OLD, WANTED: NEW})

    def another_is_approved() -> None:
        sagemaker.status = "Updating"

    answers(monkeypatch, *difference, meanwhile=another_is_approved)
    assert verify_and_settle(sagemaker, TARGET) is None
    assert (sagemaker.tags[VERIFIED], sagemaker.rejected, crowned) == (OLD, [], [])


def test_what_has_served_before_goes_and_another_endpoints_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sagemaker = SageMaker(NEW, **{VERIFIED: OLD, WANTED: NEW})
    oldest, others = "pixloop-colours-000000000000", "pixloop-colours-cars-000000000000"
    sagemaker.configs += [OLD, oldest, others]
    answers(monkeypatch)
    assert verify_and_settle(sagemaker, TARGET) is not None
    assert sagemaker.configs == [NEW, OLD, others]
    assert (sagemaker.tags[VERIFIED], sagemaker.tags[PREVIOUS]) == (NEW, OLD)
