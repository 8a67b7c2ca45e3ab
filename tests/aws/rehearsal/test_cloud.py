"""Entering and leaving the stand-in cloud."""

from pathlib import Path

import httpx
import pytest

from pixloop.aws.rehearsal.cloud import Cloud
from pixloop.aws.rehearsal.queues import Queues


def test_a_cloud_that_cannot_be_entered_leaves_nothing_at_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(queues: Queues) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Queues, "install", fail)
    cloud = Cloud(tmp_path)
    with pytest.raises(KeyboardInterrupt), cloud:
        pass
    with pytest.raises(httpx.ConnectError):
        httpx.get(cloud.front.url, trust_env=False)
    assert cloud.lambdas._closed.is_set()
