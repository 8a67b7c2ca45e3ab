"""How links wait."""

from types import SimpleNamespace
from typing import Any

import pytest

from pixloop.aws.rehearsal.events import Delivery
from pixloop.aws.rehearsal.stage import LinkBroken, Stage


@pytest.fixture
def failures() -> list[Delivery]:
    return [Delivery("old", "arn:queue", {}, failure="known before")]


@pytest.fixture
def stage(failures: list[Delivery]) -> Stage:
    cloud: Any = SimpleNamespace(events=SimpleNamespace(failures=failures))
    others: dict[str, Any] = dict.fromkeys(("session", "config", "folder", "pictures", "listener"))
    return Stage(cloud, **others)


def test_what_comes_is_given_at_once_whatever_failed_before(stage: Stage) -> None:
    answers = iter([None, "found"])
    assert stage.wait(lambda: next(answers), "it") == "found"


def test_an_event_that_is_not_delivered_ends_the_waiting(
    stage: Stage, failures: list[Delivery]
) -> None:
    def look() -> None:
        failures.append(Delivery("rule", "arn:function", {}, failure="it is gone"))

    with pytest.raises(LinkBroken, match=r"the answer will not come[\s\S]*function: it is gone"):
        stage.wait(look, "the answer", most_s=5)


def test_what_never_comes_is_named(stage: Stage) -> None:
    with pytest.raises(LinkBroken, match="the answer did not come"):
        stage.wait(lambda: None, "the answer", most_s=0)
