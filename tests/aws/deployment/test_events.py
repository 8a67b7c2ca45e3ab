"""From an approval to the champion: the functions' real packages, started by rules."""

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.aws.deployment.conftest import GROUP, Register

from pixloop.aws.deployment.champion import read_champion
from pixloop.aws.deployment.endpoint import VERIFIED, WAITING, WANTED, read_endpoint
from pixloop.aws.deployment.target import Target
from pixloop.aws.functions.on_approved import deploy_approved
from pixloop.aws.infrastructure.packages import build_package
from pixloop.aws.rehearsal.cloud import Cloud

pytestmark = pytest.mark.integration


def make_function(cloud: Cloud, module: str, target: Target, role: str) -> str:
    arn: str = cloud.client("lambda").create_function(
        FunctionName=module,
        Runtime="python3.12",
        Handler=f"pixloop.aws.functions.{module}.handler",
        Role=role,
        Code={"ZipFile": build_package(module)},
        Environment={"Variables": {"TARGET": target.to_json()}},
        Timeout=120,
        MemorySize=256,
    )["FunctionArn"]
    return arn


def add_rule(cloud: Cloud, name: str, pattern: dict[str, Any], function: str) -> None:
    events = cloud.client("events")
    events.put_rule(Name=name, EventPattern=json.dumps({"source": ["aws.sagemaker"], **pattern}))
    events.put_targets(Rule=name, Targets=[{"Id": "1", "Arn": function}])


@pytest.fixture
def role(cloud: Cloud) -> str:
    made = cloud.client("iam").create_role(RoleName="functions", AssumeRolePolicyDocument="{}")
    return str(made["Role"]["Arn"])


@pytest.fixture
def install(cloud: Cloud, role: str) -> Callable[[Target], None]:
    """The serving stack's two rules, with their functions."""

    def install(target: Target) -> None:
        approved = {
            "detail-type": ["SageMaker Model Package State Change"],
            "detail": {"ModelPackageGroupName": [GROUP], "ModelApprovalStatus": ["Approved"]},
        }
        deployed = {
            "detail-type": ["SageMaker Endpoint State Change"],
            "detail": {"EndpointName": [target.name], "EndpointStatus": ["IN_SERVICE"]},
        }
        for module, pattern in (("on_approved", approved), ("on_deployed", deployed)):
            function = make_function(cloud, module, target, role)
            add_rule(cloud, module, pattern, function)

    return install


def approve(cloud: Cloud, package: str) -> None:
    cloud.client("sagemaker").update_model_package(
        ModelPackageArn=package, ModelApprovalStatus="Approved"
    )


def status(cloud: Cloud, package: str) -> str:
    found = cloud.client("sagemaker").describe_model_package(ModelPackageName=package)
    return str(found["ModelApprovalStatus"])


def wait_until(what: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.2)


def champion(cloud: Cloud, target: Target) -> str | None:
    noted = read_champion(cloud, target)
    return noted["model"] if noted else None


def wanted(cloud: Cloud, target: Target) -> str | None:
    state = read_endpoint(cloud, target.name)
    return state.tags.get(WANTED) if state else None


def test_an_approved_version_is_deployed_verified_and_replaced(
    cloud: Cloud,
    endpoint_target: Target,
    register: Register,
    install: Callable[[Target], None],
    good_archives: list[Path],
    bad_archive: Path,
) -> None:
    install(endpoint_target)
    packages = [register(path) for path in (*good_archives[:3], bad_archive)]
    approve(cloud, packages[0])
    wait_until(lambda: champion(cloud, endpoint_target) == "colours:1")

    # Two at once: the second waits until the first is settled.
    first = wanted(cloud, endpoint_target)
    approve(cloud, packages[1])
    wait_until(lambda: wanted(cloud, endpoint_target) != first)  # noted for good, unlike "Updating"
    approve(cloud, packages[2])
    wait_until(lambda: champion(cloud, endpoint_target) == "colours:3", 90)

    def settled() -> bool:
        state = read_endpoint(cloud, endpoint_target.name)
        return (
            state is not None
            and state.status == "InService"
            and state.tags.get(VERIFIED) == state.config == state.tags.get(WANTED)
            and not state.tags.get(WAITING)
        )

    wait_until(settled)
    approve(cloud, packages[3])
    wait_until(lambda: status(cloud, packages[3]) == "Rejected", 90)
    wait_until(settled, 90)
    assert champion(cloud, endpoint_target) == "colours:3"
    assert [status(cloud, package) for package in packages[:3]] == ["Approved"] * 3
    print("init, ms:", dict(cloud.lambdas.cold_starts))


def test_an_approved_version_moves_the_function(
    cloud: Cloud,
    function_target: Target,
    register: Register,
    install: Callable[[Target], None],
    role: str,
    good_archives: list[Path],
) -> None:
    target = replace(function_target, role=role)
    install(target)
    approve(cloud, register(good_archives[0]))
    wait_until(lambda: champion(cloud, target) == "colours:1")
    alias = cloud.client("lambda").get_alias(FunctionName=target.name, Name="live")
    assert alias["FunctionVersion"] == "1"


def test_an_approval_that_was_taken_back_deploys_nothing(
    cloud: Cloud, endpoint_target: Target, register: Register, good_archives: list[Path]
) -> None:
    package = register(good_archives[0])
    outcome = deploy_approved(cloud, endpoint_target, package)
    assert outcome == {"package": package, "outcome": "no longer approved"}
    assert read_endpoint(cloud, endpoint_target.name) is None


def test_the_packages_are_small_and_hold_no_more_than_they_need() -> None:
    import io
    import zipfile

    for module in ("on_approved", "on_deployed"):
        package = build_package(module)
        assert len(package) < 120_000
        names = zipfile.ZipFile(io.BytesIO(package)).namelist()
        assert "pixloop/comparison.py" in names
        for foreign in ("serving", "verification/suite", "verification/run", "bundle.py", "config"):
            assert not [name for name in names if foreign in name]
