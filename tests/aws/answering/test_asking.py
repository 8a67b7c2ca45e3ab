"""Requests held against botocore's shapes; the answers are what a real server says elsewhere."""

import io
import json
from base64 import b64decode, b64encode
from collections.abc import Iterator
from typing import Any

import botocore.session
import pytest
from botocore.exceptions import ClientError
from botocore.response import StreamingBody
from botocore.stub import ANY, Stubber

from pixloop.aws.answering.asking import (
    LIVE,
    MAX_FUNCTION_PICTURE_BYTES,
    MAX_PAYLOAD_BYTES,
    NotAnswered,
    PictureRefused,
    ask_endpoint,
    ask_function,
    ask_served,
)
from pixloop.aws.session import Session

ANSWER = {"model": "colours:1", "predictions": [{"label": "red"}]}


def stream(document: Any) -> StreamingBody:
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    return StreamingBody(io.BytesIO(data), len(data))


@pytest.fixture
def endpoint(aws: Session) -> Iterator[Stubber]:
    with Stubber(aws.client("sagemaker-runtime")) as stubber:
        yield stubber
        stubber.assert_no_pending_responses()


@pytest.fixture
def function(aws: Session) -> Iterator[Stubber]:
    with Stubber(aws.client("lambda")) as stubber:
        yield stubber
        stubber.assert_no_pending_responses()


def test_an_endpoint_is_asked_with_the_picture_itself(endpoint: Stubber) -> None:
    expected = {
        "EndpointName": "colours",
        "Body": b"picture",
        "ContentType": "image/png",
        "Accept": "application/json",
        "TargetVariant": "blue",
    }
    endpoint.add_response("invoke_endpoint", {"Body": stream(ANSWER)}, expected)
    assert ask_endpoint(endpoint.client, "colours", b"picture", "image/png", "blue") == ANSWER


def model_error(stubber: Stubber, status: int, message: str) -> None:
    stubber.add_client_error(
        "invoke_endpoint",
        "ModelError",
        http_status_code=424,
        modeled_fields={
            "Message": "from the model",
            "OriginalStatusCode": status,
            "OriginalMessage": message,
            "LogStreamArn": "arn:aws:logs:::x",
        },
    )


@pytest.mark.parametrize("status", [400, 413, 415, 422])
def test_a_status_in_the_400s_refuses_the_picture(endpoint: Stubber, status: int) -> None:
    model_error(endpoint, status, json.dumps({"detail": "This is no picture."}))
    with pytest.raises(PictureRefused, match=f"{status}: This is no picture"):
        ask_endpoint(endpoint.client, "colours", b"picture")


@pytest.mark.parametrize("status", [408, 429, 500, 503, 507])
def test_other_statuses_are_worth_another_try(endpoint: Stubber, status: int) -> None:
    model_error(endpoint, status, "<html>busy</html>")
    with pytest.raises(NotAnswered, match="busy"):
        ask_endpoint(endpoint.client, "colours", b"picture")


@pytest.mark.parametrize("code", ["ThrottlingException", "ServiceUnavailable", "ValidationError"])
def test_sagemakers_own_errors_stay_what_they_are(endpoint: Stubber, code: str) -> None:
    endpoint.add_client_error("invoke_endpoint", code)
    with pytest.raises(ClientError, match=code):
        ask_endpoint(endpoint.client, "colours", b"picture")


def test_too_large_pictures_are_not_sent(endpoint: Stubber, function: Stubber) -> None:
    with pytest.raises(PictureRefused, match="6,291,456"):
        ask_endpoint(endpoint.client, "colours", bytes(MAX_PAYLOAD_BYTES + 1))
    with pytest.raises(PictureRefused, match="function colours"):
        ask_function(function.client, "colours", bytes(MAX_FUNCTION_PICTURE_BYTES + 1))


def test_the_largest_event_of_a_function_stays_within_lambdas_limit(function: Stubber) -> None:
    seen: list[int] = []
    function.client.meta.events.register(
        "before-parameter-build.lambda.Invoke",
        lambda params, **_: seen.append(len(params["Payload"])),
    )
    function.add_response("invoke", {"Payload": stream({"statusCode": 200, "body": "{}"})})
    with pytest.raises(NotAnswered):
        ask_function(function.client, "colours", bytes(MAX_FUNCTION_PICTURE_BYTES))
    assert MAX_PAYLOAD_BYTES - 8192 < seen[0] <= MAX_PAYLOAD_BYTES


@pytest.mark.parametrize("encoded", [True, False])
def test_a_function_is_asked_as_its_url_would(function: Stubber, encoded: bool) -> None:
    text = json.dumps(ANSWER)
    body = b64encode(text.encode()).decode() if encoded else text
    response = {"statusCode": 200, "body": body, "isBase64Encoded": encoded}
    expected = {"FunctionName": "colours:live", "Payload": ANY}
    function.add_response("invoke", {"Payload": stream(response)}, expected)
    sent: list[Any] = []
    function.client.meta.events.register(
        "before-parameter-build.lambda.Invoke",
        lambda params, **_: sent.append(json.loads(params["Payload"])),
    )
    answer = ask_function(function.client, "colours", b"picture", "image/png", "live")
    assert answer == ANSWER
    (event,) = sent
    assert event["version"] == "2.0"
    assert event["requestContext"]["http"]["method"] == "POST"
    assert event["rawPath"] == event["requestContext"]["http"]["path"] == "/invocations"
    assert event["headers"]["content-type"] == "image/png"
    assert event["isBase64Encoded"] is True
    assert b64decode(event["body"]) == b"picture"


@pytest.mark.parametrize(
    ("response", "error"),
    [
        ({"statusCode": 422, "body": '{"detail": "bad"}'}, PictureRefused),
        ({"statusCode": 503, "body": "busy"}, NotAnswered),
        ({"statusCode": 200, "body": "[]"}, NotAnswered),
        ({"statusCode": 200, "body": '{"model": "m", "predictions": []}'}, NotAnswered),
        ({"statusCode": 200, "body": "?", "isBase64Encoded": True}, NotAnswered),
        ({"statusCode": 200, "body": None}, NotAnswered),
        ({"message": "another function"}, NotAnswered),
        ("done", NotAnswered),
        (None, NotAnswered),
        (b"", NotAnswered),
    ],
)
def test_a_functions_errors(function: Stubber, response: Any, error: type[Exception]) -> None:
    function.add_response("invoke", {"Payload": stream(response)})
    with pytest.raises(error):
        ask_function(function.client, "colours", b"picture")


def test_a_function_that_crashed_is_worth_another_try(function: Stubber) -> None:
    crash = {"Payload": stream({"errorType": "Runtime.ExitError"}), "FunctionError": "Unhandled"}
    function.add_response("invoke", crash)
    with pytest.raises(NotAnswered, match=r"Runtime\.ExitError"):
        ask_function(function.client, "colours", b"picture")


def test_who_is_asked_is_said_by_the_environment(
    endpoint: Stubber, function: Stubber, monkeypatch: pytest.MonkeyPatch
) -> None:
    clients = {"sagemaker-runtime": endpoint.client, "lambda": function.client}
    monkeypatch.setenv("ENDPOINT_NAME", "colours")
    monkeypatch.setenv("FUNCTION_NAME", "")
    endpoint.add_response("invoke_endpoint", {"Body": stream(ANSWER)})
    assert ask_served(clients.__getitem__, b"picture") == ANSWER
    monkeypatch.setenv("ENDPOINT_NAME", "")
    monkeypatch.setenv("FUNCTION_NAME", "colours")
    response = {"statusCode": 200, "body": json.dumps(ANSWER)}
    expected = {"FunctionName": f"colours:{LIVE}", "Payload": ANY}
    function.add_response("invoke", {"Payload": stream(response)}, expected)
    assert ask_served(clients.__getitem__, b"picture") == ANSWER


REKOGNITION = "arn:aws:rekognition:eu-west-1:123456789012:project/pixloop-cats/version/data-1/1600"


def rekognition(monkeypatch: pytest.MonkeyPatch, threshold: str) -> tuple[Any, Stubber]:
    monkeypatch.setenv("REKOGNITION_VERSION", REKOGNITION)
    monkeypatch.setenv("REKOGNITION_THRESHOLD", threshold)
    monkeypatch.setenv("ENDPOINT_NAME", "endpoint")
    client = botocore.session.get_session().create_client("rekognition", region_name="eu-west-1")
    return client, Stubber(client)


@pytest.mark.parametrize(
    ("threshold", "decision"),
    [
        ("0.9", "accept"),
        ("", "refer"),
        ('{"score": null, "classes": {"cat": 0.94, "dog": 0.99}}', "accept"),
        ('{"score": null, "classes": {"cat": 0.96, "dog": 0.1}}', "refer"),
    ],
)
def test_rekognition_answers_instead_where_the_environment_says_so(
    monkeypatch: pytest.MonkeyPatch, threshold: str, decision: str
) -> None:
    client, stub = rekognition(monkeypatch, threshold)
    request = {"ProjectVersionArn": REKOGNITION, "Image": {"Bytes": b"p"}, "MinConfidence": 0}
    found = {"CustomLabels": [{"Name": "cat", "Confidence": 95.0}]}
    stub.add_response("detect_custom_labels", found, request)
    with stub:
        answer = ask_served(lambda service: client, b"p")
    assert answer["model"] == "data-1"
    assert answer["predictions"][0]["decision"] == decision


def test_what_rekognition_cannot_read_is_refused_and_the_rest_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client, stub = rekognition(monkeypatch, "")
    stub.add_client_error("detect_custom_labels", "InvalidImageFormatException", "no picture")
    stub.add_client_error("detect_custom_labels", "ResourceNotReadyException", "stopped")
    with stub:
        with pytest.raises(PictureRefused, match="no picture"):
            ask_served(lambda service: client, b"p")
        with pytest.raises(client.exceptions.ResourceNotReadyException):
            ask_served(lambda service: client, b"p")
    with pytest.raises(PictureRefused, match="at most 4,194,304"):
        ask_served(lambda service: client, b"p" * (4 * 1024 * 1024 + 1))
