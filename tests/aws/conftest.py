"""AWS as moto's server has it: one for all tests, empty before each."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx
import pytest
from moto.core.responses import ActionResult
from moto.sagemaker.responses import SageMakerResponse
from moto.server import ThreadedMotoServer

from pixloop.aws.session import Session

REGION = "eu-west-1"


@pytest.fixture(scope="session")
def moto_address() -> Iterator[str]:
    """Where moto's server listens, such as ``http://127.0.0.1:40123``."""
    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # a line a request hides the failure
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def aws(moto_address: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    """A session with an AWS that holds nothing; child processes find the same one."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_CONFIG_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto_address)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    monkeypatch.setenv("AWS_REGION", REGION)
    yield Session(REGION)
    httpx.post(f"{moto_address}/moto-api/reset").raise_for_status()


@pytest.fixture
def bucket(aws: Session) -> str:
    """An empty bucket."""
    aws.client("s3").create_bucket(
        Bucket="pixloop-test", CreateBucketConfiguration={"LocationConstraint": REGION}
    )
    return "pixloop-test"


@dataclass
class Scene:
    """What one look at an execution shows."""

    status: str
    steps: list[dict[str, Any]]
    failure: str | None = None


class ScriptedExecutions:
    """Answers that moto lacks or fakes: an execution's status and its steps, look after look.

    ``scenes`` are those of every execution unless ``of`` has some for its ARN; the last one stays.
    """

    def __init__(self) -> None:
        self.scenes: list[Scene] = []
        self.of: dict[str, list[Scene]] = {}
        self.stopped: list[str] = []
        self._looks: dict[str, int] = {}

    @staticmethod
    def scene(status: str, *steps: dict[str, Any], failure: str | None = None) -> Scene:
        """For tests, which cannot import this module."""
        return Scene(status, list(steps), failure)

    def look(self, arn: str) -> Scene:
        """The scene of this look; ``describe`` is what makes one."""
        scenes = self.of.get(arn, self.scenes)
        return scenes[min(max(self._looks.get(arn, 0) - 1, 0), len(scenes) - 1)]

    def describe(self, response: Any) -> Any:
        arn = response._get_param("PipelineExecutionArn")
        self._looks[arn] = self._looks.get(arn, 0) + 1
        scene = self.look(arn)
        shown = response.sagemaker_backend.describe_pipeline_execution(arn)
        ended = shown["CreationTime"] + timedelta(seconds=90)
        shown |= {"PipelineExecutionStatus": scene.status, "LastModifiedTime": ended}
        shown |= {"FailureReason": scene.failure} if scene.failure else {}
        return ActionResult(shown)

    def list_steps(self, response: Any) -> Any:
        steps = self.look(response._get_param("PipelineExecutionArn")).steps
        # Two a page, so that paging is tried.
        start = int(response._get_param("NextToken") or 0)
        answer: dict[str, Any] = {"PipelineExecutionSteps": steps[start : start + 2]}
        if start + 2 < len(steps):
            answer["NextToken"] = str(start + 2)
        return ActionResult(answer)

    def stop(self, response: Any) -> Any:
        arn = response._get_param("PipelineExecutionArn")
        self.stopped.append(arn)
        return ActionResult({"PipelineExecutionArn": arn})


@pytest.fixture
def executions(monkeypatch: pytest.MonkeyPatch) -> ScriptedExecutions:
    """Executions of pipelines as a test writes them."""
    scripted = ScriptedExecutions()
    for name, answer in (
        ("describe_pipeline_execution", scripted.describe),
        ("list_pipeline_execution_steps", scripted.list_steps),
        ("stop_pipeline_execution", scripted.stop),
    ):
        monkeypatch.setattr(
            SageMakerResponse, name, lambda self, answer=answer: answer(self), raising=False
        )
    return scripted
