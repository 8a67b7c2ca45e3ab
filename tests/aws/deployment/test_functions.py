"""The server in a Lambda function of the stand-in cloud, under AWS's runtime client."""

import json
from base64 import b64encode
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.aws.deployment.conftest import Register
from tests.certified_bundles import colours

from pixloop.aws.deployment.champion import read_champion
from pixloop.aws.deployment.function import read_live, read_url
from pixloop.aws.deployment.settle import ask_target, deploy, roll_back, verify_and_settle
from pixloop.aws.deployment.target import Deployed, Settled, Target, read_package
from pixloop.aws.rehearsal.cloud import Cloud
from pixloop.errors import AwsError

pytestmark = pytest.mark.integration


def bring(cloud: Cloud, target: Target, package: str) -> tuple[Deployed, Settled]:
    deployed = deploy(cloud, target, read_package(cloud, target, package), lambda _: None)
    settled = verify_and_settle(cloud, target, deployed.version)
    assert settled is not None
    return deployed, settled


@pytest.fixture
def target(cloud: Cloud, function_target: Target) -> Target:
    made = cloud.client("iam").create_role(RoleName="server", AssumeRolePolicyDocument="{}")
    return replace(function_target, role=made["Role"]["Arn"])


def test_versions_follow_one_another(
    cloud: Cloud, target: Target, register: Register, good_archives: list[Path], bad_archive: Path
) -> None:
    packages = [register(path) for path in (*good_archives[:3], bad_archive)]
    first, settled = bring(cloud, target, packages[0])
    assert settled == Settled(target.name, "colours:1", (), "colours:1")
    live = read_live(cloud, target.name)
    assert live is not None
    assert (live.version, live.before) == (first.version, None)
    assert read_url(cloud, target)
    again, settled = bring(cloud, target, packages[0])
    assert (again.version, again.changed, settled.ok) == (first.version, False, True)

    second, settled = bring(cloud, target, packages[1])
    third, settled = bring(cloud, target, packages[2])
    assert settled.serves == "colours:3"
    live = read_live(cloud, target.name)
    assert live is not None
    assert (live.version, live.before) == (third.version, second.version)
    assert ask_target(cloud, target)(colours()[0])["model"] == "colours:3"

    _, settled = bring(cloud, target, packages[3])
    assert (settled.ok, settled.model, settled.serves) == (False, "colours:4", "colours:3")
    assert ask_target(cloud, target)(colours()[0])["model"] == "colours:3"
    bad = cloud.client("sagemaker").describe_model_package(ModelPackageName=packages[3])
    assert bad["ModelApprovalStatus"] == "Rejected"

    assert roll_back(cloud, target, "slow", lambda _: None) == "colours:2"
    assert ask_target(cloud, target)(colours()[0])["model"] == "colours:2"
    champion = read_champion(cloud, target)
    assert champion is not None
    assert champion["model"] == "colours:2"
    with pytest.raises(AwsError, match="no earlier version"):
        roll_back(cloud, target, "slow", lambda _: None)


def test_a_first_version_that_answers_wrongly_serves_nobody(
    cloud: Cloud, target: Target, register: Register, bad_archive: Path
) -> None:
    _, settled = bring(cloud, target, register(bad_archive))
    assert (settled.ok, settled.serves) == (False, None)
    assert read_live(cloud, target.name) is None


def request(path: str, method: str = "GET", body: bytes = b"", **headers: str) -> dict[str, Any]:
    """As a function URL and API Gateway send it (payload format 2.0)."""
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "",
        "headers": {"host": "x.lambda-url.eu-west-1.on.aws", **headers},
        "requestContext": {
            "http": {"method": method, "path": path, "sourceIp": "203.0.113.1"},
            "stage": "$default",
        },
        **({"body": b64encode(body).decode(), "isBase64Encoded": True} if body else {}),
    }


def test_the_server_answers_what_a_function_url_sends(
    cloud: Cloud, target: Target, register: Register, good_archives: list[Path]
) -> None:
    bring(cloud, target, register(good_archives[0]))

    def ask(event: dict[str, Any]) -> dict[str, Any]:
        answer = cloud.client("lambda").invoke(
            FunctionName=f"{target.name}:live", Payload=json.dumps(event)
        )
        content: dict[str, Any] = json.loads(answer["Payload"].read())
        return content

    ping = ask(request("/ping"))
    assert (ping["statusCode"], json.loads(ping["body"])["model"]) == (200, "colours:1")
    picture = {"content-type": "application/x-image"}
    for colour, name in zip(colours()[:3], ("red", "green", "blue"), strict=True):
        answer = ask(request("/invocations", "POST", colour, **picture))
        assert answer["isBase64Encoded"] is False
        assert json.loads(answer["body"])["predictions"][0]["label"] == name
    refused = ask(request("/invocations", "POST", b"nonsense", **picture))
    assert (refused["statusCode"], refused["isBase64Encoded"]) == (422, False)
    assert json.loads(refused["body"])["type"] == "urn:pixloop:unreadable-picture"
    assert ask(request("/docs"))["body"].startswith("<!doctype html>")
    print("init, ms:", dict(cloud.lambdas.cold_starts))
