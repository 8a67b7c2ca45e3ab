"""What waited for an endpoint is deployed once, and what waits since then is not forgotten."""

from types import SimpleNamespace
from typing import Any

import pytest

from pixloop.aws.deployment.endpoint import WAITING, EndpointState
from pixloop.aws.functions import on_deployed


@pytest.mark.parametrize(
    ("outcome", "waits_then", "left"),
    [
        ("deploying", "first", ""),
        ("deploying", "second", "second"),  # it was approved meanwhile
        ("waiting", "first", "first"),
    ],
)
def test_only_the_version_that_was_deployed_waits_no_more(
    monkeypatch: pytest.MonkeyPatch, outcome: str, waits_then: str, left: str
) -> None:
    tags = {WAITING: "first"}
    settled = SimpleNamespace(model="colours:1", ok=True, differences=(), serves="colours:1")

    def deploy(clients: Any, target: Any, package_arn: str) -> dict[str, str]:
        tags[WAITING] = waits_then
        return {"package": package_arn, "outcome": outcome}

    monkeypatch.setenv("TARGET", "{}")
    target = SimpleNamespace(from_json=lambda text: SimpleNamespace(name="pixloop-colours"))
    monkeypatch.setattr(on_deployed, "Target", target)
    monkeypatch.setattr(on_deployed, "verify_and_settle", lambda clients, target: settled)
    monkeypatch.setattr(on_deployed, "deploy_approved", deploy)
    monkeypatch.setattr(
        on_deployed,
        "read_endpoint",
        lambda clients, name: EndpointState("arn", "InService", "config", "", dict(tags)),
    )
    monkeypatch.setattr(on_deployed, "tag_endpoint", lambda clients, state, new: tags.update(new))
    assert on_deployed.handler({}, None)["next"] == {"package": "first", "outcome": outcome}
    assert tags == {WAITING: left}
