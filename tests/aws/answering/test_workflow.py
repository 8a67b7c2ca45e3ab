"""The state machine that ships, with the functions that ship, before a real server."""

import json
import re
from base64 import b64encode
from collections.abc import Callable, Iterator
from importlib.resources import files
from typing import Any

import httpx
import pytest

from pixloop.aws.infrastructure.packages import build_package
from pixloop.aws.session import Session

pytestmark = pytest.mark.integration

Picture = Callable[..., bytes]
UNSURE = (130, 110, 100)


class Workflow:
    def __init__(self, aws: Session, bucket: str, make_function: Callable[..., str]) -> None:
        self.s3, self.sqs, self.bucket = aws.client("s3"), aws.client("sqs"), bucket
        self.steps = aws.client("stepfunctions")
        self.review = self.sqs.create_queue(QueueName="review")["QueueUrl"]
        variables = {
            "PROJECT": "colours",
            "PICTURES_BUCKET": bucket,
            "ENDPOINT_NAME": "pixloop-colours",
            "FUNCTION_NAME": "",
        }
        arns = {
            module: make_function(
                module,
                build_package(module),
                Handler=f"pixloop.aws.functions.{module}.handler",
                Environment={"Variables": variables},
            )
            for module in ("serialize", "classify", "filter_sure")
        }
        values = {
            "SerializeArn": arns["serialize"],
            "ClassifyArn": arns["classify"],
            "FilterArn": arns["filter_sure"],
            "ReviewQueueUrl": self.review,
        }
        # As CloudFormation's DefinitionSubstitutions do it.
        definition = re.sub(r"\$\{(\w+)\}", lambda found: values[found[1]], read_definition())
        made = self.steps.create_state_machine(
            name="workflow",
            definition=definition,
            roleArn="arn:aws:iam::123456789012:role/workflow",
        )
        self.arn = made["stateMachineArn"]
        self.runs = 0

    def put(self, key: str, picture: bytes) -> str:
        self.s3.put_object(Bucket=self.bucket, Key=key, Body=picture)
        return f"s3://{self.bucket}/{key}"

    def start(self, document: dict[str, Any]) -> str:
        self.runs += 1
        started = self.steps.start_execution(
            stateMachineArn=self.arn, name=f"run-{self.runs}", input=json.dumps(document)
        )
        return str(started["executionArn"])

    def end(self, execution: str, until: Callable[..., Any]) -> dict[str, Any]:
        def ended() -> Any:
            found = self.steps.describe_execution(executionArn=execution)
            return found if found["status"] != "RUNNING" else None

        return dict(until(ended, patience_s=100))

    def reviews(self) -> list[dict[str, Any]]:
        answer = self.sqs.receive_message(QueueUrl=self.review, MaxNumberOfMessages=10)
        return [json.loads(message["Body"]) for message in answer.get("Messages", [])]


@pytest.fixture
def workflow(
    aws: Session,
    bucket: str,
    moto_address: str,
    make_function: Callable[..., str],
    front: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Workflow]:
    monkeypatch.setenv("MOTO_PORT", moto_address.rpartition(":")[2])
    config = f"{moto_address}/moto-api/config"
    httpx.post(config, json={"stepfunctions": {"execute_state_machine": True}})
    yield Workflow(aws, bucket, make_function)
    httpx.post(config, json={"stepfunctions": {"execute_state_machine": False}})


@pytest.fixture
def run(workflow: Workflow, until: Callable[..., Any]) -> Callable[[dict[str, Any]], Any]:
    def run(document: dict[str, Any]) -> Any:
        found = workflow.end(workflow.start(document), until)
        assert found["status"] == "SUCCEEDED", found
        return json.loads(found["output"])

    return run


def read_definition() -> str:
    return files("pixloop.aws.stacks").joinpath("workflow.asl.json").read_text()


def test_one_picture(workflow: Workflow, run: Callable[..., Any], make_picture: Picture) -> None:
    address = workflow.put("any/where ä.jpg", make_picture("red", "JPEG"))
    result = run({"picture": address})
    assert result["picture"] == address
    assert result["content_type"] == "image/jpeg"
    assert result["model"] == "colours:1"
    assert result["prediction"]["label"] == "red"
    assert result["accepted"] is True
    assert workflow.reviews() == []


def test_what_the_model_is_not_sure_of_goes_to_people(
    workflow: Workflow, run: Callable[..., Any], make_picture: Picture
) -> None:
    address = workflow.put("in/a.png", make_picture(UNSURE))
    result = run({"picture": address})
    assert result["accepted"] is False
    assert result["prediction"]["decision"] == "refer"
    assert workflow.reviews() == [
        {
            "picture": address,
            "model": "colours:1",
            "prediction": result["prediction"],
            "reason": "ThresholdNotMet",
        }
    ]


def test_of_many_pictures_a_bad_one_fails_alone(
    workflow: Workflow, run: Callable[..., Any], make_picture: Picture
) -> None:
    addresses = [
        workflow.put("a.png", make_picture("red")),
        f"s3://{workflow.bucket}/nothing.png",
        workflow.put("b.png", make_picture("blue")),
        workflow.put("text.png", b"no picture at all"),
        workflow.put("broken.png", make_picture("green")[:40]),
    ]
    results = run({"pictures": addresses})["results"]
    assert [result["picture"] for result in results] == addresses
    assert [result["accepted"] for result in results] == [True, False, True, False, False]
    errors = [result.get("error") for result in results]
    assert errors == [None, "PictureNotFound", None, "NotAPicture", "PictureRefused"]
    assert "nothing.png" in results[1]["cause"]


def test_no_pictures_give_no_results(run: Callable[..., Any]) -> None:
    assert run({"pictures": []}) == {"results": []}


def test_base64_is_put_into_the_bucket_first(
    workflow: Workflow, run: Callable[..., Any], make_picture: Picture
) -> None:
    picture = make_picture("blue")
    result = run({"image": b64encode(picture).decode()})
    assert result["prediction"]["label"] == "blue"
    bucket, _, key = result["picture"].removeprefix("s3://").partition("/")
    assert key.startswith("inline/")
    assert workflow.s3.get_object(Bucket=bucket, Key=key)["Body"].read() == picture
    assert run({"image": "%%%"})["error"] == "NotAPicture"


def test_a_picture_that_is_too_large_is_refused_in_words(
    workflow: Workflow, run: Callable[..., Any], make_picture: Picture
) -> None:
    address = workflow.put("large.png", make_picture() + bytes(7_000_000))
    result = run({"picture": address})
    assert (result["error"], result["accepted"]) == ("PictureTooLarge", False)
    assert "6,291,456" in result["cause"]


def test_a_busy_endpoint_is_asked_again(
    workflow: Workflow,
    run: Callable[..., Any],
    make_picture: Picture,
    front: Any,
) -> None:
    # More often than boto asks by itself, so that the state machine has to try again, too.
    front.trouble = lambda: (429, "ThrottlingException") if front.refused < 6 else None
    result = run({"picture": workflow.put("a.png", make_picture("green"))})
    assert result["prediction"]["label"] == "green"
    assert result["accepted"] is True
    assert front.refused == 6


def test_an_input_without_a_picture_is_told(workflow: Workflow, until: Callable[..., Any]) -> None:
    found = workflow.end(workflow.start({"pixture": "s3://a/b"}), until)
    assert (found["status"], found["error"]) == ("FAILED", "NoPicture")


def test_the_definition_is_small_and_limits_every_task() -> None:
    text = read_definition()
    assert len(text) < 256 * 1024
    tasks = [state for state in find_states(json.loads(text)) if state["Type"] == "Task"]
    assert len(tasks) == 4
    for task in tasks:
        assert task["TimeoutSeconds"] > 0
        assert task["Catch"][-1]["ErrorEquals"] == ["States.ALL"]
        assert task["Retry"][-1]["JitterStrategy"] == "FULL"


def find_states(machine: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for state in machine["States"].values():
        yield state
        if "ItemProcessor" in state:
            yield from find_states(state["ItemProcessor"])
