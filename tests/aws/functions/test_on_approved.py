"""A version approved while its endpoint is changing waits there."""

from typing import Any

import pytest

from pixloop.aws.deployment.endpoint import WAITING, EndpointBusy, EndpointState
from pixloop.aws.functions import on_approved
from pixloop.aws.functions.on_approved import deploy_approved

CLIENTS: Any = None
TARGET: Any = type("Target", (), {"name": "pixloop-colours"})()


@pytest.fixture
def tagged(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The endpoint's tags; it takes nothing now."""

    def start(clients: Any, target: Any, source: Any) -> Any:
        raise EndpointBusy("busy")

    tags: dict[str, str] = {}
    monkeypatch.setattr(on_approved, "is_approved", lambda clients, arn: True)
    monkeypatch.setattr(on_approved, "read_package", lambda clients, target, arn: arn)
    monkeypatch.setattr(on_approved, "start", start)
    monkeypatch.setattr(on_approved, "tag_endpoint", lambda clients, state, new: tags.update(new))
    return tags


def look(monkeypatch: pytest.MonkeyPatch, *statuses: str | None) -> None:
    """Let the endpoint have another status each time that it is looked at."""
    states = iter([s and EndpointState("arn", s, "config", "", {}) for s in statuses])
    monkeypatch.setattr(on_approved, "read_endpoint", lambda clients, name: next(states))


def test_it_is_noted_on_an_endpoint_that_goes_on_changing(
    tagged: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    look(monkeypatch, "Updating", "Updating")
    assert deploy_approved(CLIENTS, TARGET, "package")["outcome"] == "waiting"
    assert tagged == {WAITING: "package"}


@pytest.mark.parametrize("statuses", [("Updating", "InService"), ("Updating", None), (None,)])
def test_it_is_tried_again_where_on_deployed_may_have_looked_too_early(
    tagged: dict[str, str], monkeypatch: pytest.MonkeyPatch, statuses: tuple[str | None, ...]
) -> None:
    look(monkeypatch, *statuses)
    with pytest.raises(EndpointBusy, match="once more"):
        deploy_approved(CLIENTS, TARGET, "package")
