"""Whatever is generated: from the server's own OpenAPI document, and by damaging pictures."""

import json
import random
from base64 import b64encode
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient
from tests.serving.bad_pictures import FORMATS, encode, gradient, mutations

from pixloop.config import ServingConfig
from pixloop.serving.app import build_app
from pixloop.serving.codec import decode_request
from pixloop.serving.predictor import Predictor
from pixloop.serving.problems import RequestProblem

LIMITS = ServingConfig(max_body_bytes=1_000_000)
WHOLE = {format_: encode(gradient(), format_) for format_ in FORMATS}
WHOLE["progressive"] = encode(gradient(), "JPEG", progressive=True)
WHOLE["palette"] = encode(gradient().convert("P"), "PNG")
WHOLE["lossless"] = encode(gradient(), "WEBP", lossless=True)
WHOLE["deflated"] = encode(gradient(), "TIFF", compression="tiff_adobe_deflate")


@pytest.fixture(scope="module")
def client(predictor: Predictor) -> TestClient:
    return TestClient(build_app(predictor, "colours", LIMITS), raise_server_exceptions=False)


def check_mutation(client: TestClient, whole: bytes, choose: Callable[[int], int]) -> None:
    body = mutations(whole, choose)
    response = client.post("/invocations", content=body, headers={"Content-Type": "image/png"})
    assert response.status_code in (200, 400, 413, 422), body
    if response.status_code != 200:
        assert response.headers["content-type"] == "application/problem+json"


@given(data=st.data(), name=st.sampled_from(sorted(WHOLE)))
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
def test_damaged_pictures(client: TestClient, data: st.DataObject, name: str) -> None:
    check_mutation(client, WHOLE[name], lambda n: data.draw(st.integers(0, n - 1)))


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(WHOLE))
def test_very_many_damaged_pictures(client: TestClient, name: str) -> None:
    choose = random.Random(1).randrange
    for _ in range(500):
        check_mutation(client, WHOLE[name], choose)


def decoded_or_status(body: bytes, content_type: str) -> int:
    try:
        request = decode_request(body, content_type)
    except RequestProblem as problem:
        return problem.status
    assert len(request.pictures) == len(request.places)
    return 200


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_damaged_json(data: st.DataObject) -> None:
    whole = json.dumps({"instances": [{"b64": b64encode(b"some bytes").decode()}] * 2}).encode()
    body = mutations(whole, lambda n: data.draw(st.integers(0, n - 1)))
    for content_type in ("application/json", "application/jsonlines"):
        assert decoded_or_status(body, content_type) in (200, 400, 413, 422)


def _conforms(client: TestClient, examples: int) -> None:
    import schemathesis  # takes a second to import
    from schemathesis.checks import CHECKS, load_all_checks

    load_all_checks()

    # No schema says which bytes are a picture; and 503 is right where X-Timeout-Ms is short.
    unjust = CHECKS.get_by_names(["positive_data_acceptance", "not_a_server_error"])
    schema = schemathesis.openapi.from_asgi("/openapi.json", client.app)

    for operation in (each.ok() for each in schema.get_all_operations()):

        @given(case=operation.as_strategy())
        @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
        def check(case: schemathesis.Case) -> None:
            response = case.call()
            case.validate_response(response, excluded_checks=unjust)
            timeout = str((case.headers or {}).get("X-Timeout-Ms", ""))
            impatient = timeout.isdigit() and int(timeout) < 10_000
            assert response.status_code < 500 or (response.status_code == 503 and impatient)

        check()


def test_answers_are_as_the_document_says(client: TestClient) -> None:
    _conforms(client, 20)


@pytest.mark.slow
def test_very_many_answers_are_as_the_document_says(client: TestClient) -> None:
    _conforms(client, 200)
