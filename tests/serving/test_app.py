import json
import re
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator, MutableMapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from html import unescape
from html.parser import HTMLParser
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from starlette.testclient import TestClient

from pixloop.config import ServingConfig
from pixloop.serving import bodies
from pixloop.serving.app import build_app
from pixloop.serving.detector import Detector
from pixloop.serving.engines import usable_cores
from pixloop.serving.observing.observation import Exchange
from pixloop.serving.predictor import Predictor, make_predictor

Make = Callable[..., bytes]
LIMITS = ServingConfig(max_body_bytes=200_000, queue=2, max_batch=1)


@pytest.fixture(scope="module")
def detecting(detector: Detector) -> TestClient:
    return TestClient(build_app(detector, "things:2", LIMITS), raise_server_exceptions=False)


@pytest.fixture(scope="module")
def client(predictor: Predictor) -> TestClient:
    # A server answers a failure; the test client would rather raise it.
    return TestClient(build_app(predictor, "colours:3", LIMITS), raise_server_exceptions=False)


def post(client: TestClient, body: bytes, content_type: str = "image/png") -> httpx.Response:
    return client.post("/invocations", content=body, headers={"Content-Type": content_type})


def shown_answers() -> list[dict[str, Any]]:
    """The answers that the README shows: a classifier's and a detector's."""
    readme = Path(__file__).parents[2] / "README.md"
    blocks = re.findall(r"^```json\n(.*?)^```", readme.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return [json.loads(block) for block in blocks]


def form_of(value: Any) -> Any:
    """JSON with the types in the place of its values; the first of a list stands for all."""
    if isinstance(value, dict):
        return {key: form_of(inner) for key, inner in value.items()}
    return [form_of(value[0])] if isinstance(value, list) else type(value).__name__


def check_problem(response: httpx.Response, status: int) -> dict[str, object]:
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    problem: dict[str, object] = response.json()
    assert problem["status"] == status
    assert problem.keys() >= {"type", "title", "detail"}
    return problem


def test_the_readme_shows_what_is_answered(
    client: TestClient, detecting: TestClient, make_picture: Make, make_scene: Make
) -> None:
    classified, detected = shown_answers()
    scene = make_scene(((255, 0, 0), (20, 40, 60, 90)))
    answers = [
        post(server, json.dumps({"image": b64encode(data).decode()}).encode(), "application/json")
        for server, data in ((client, make_picture()), (detecting, scene))
    ]

    told, found = (answer.json() for answer in answers)
    for answer in (told, classified):  # whose keys are the classes
        probabilities = answer["predictions"][0]["probabilities"]
        assert sum(probabilities.values()) == pytest.approx(1)
        assert answer["predictions"][0]["score"] == max(probabilities.values())
        answer["predictions"][0]["probabilities"] = {}
    assert form_of(classified) == form_of(told)
    assert form_of(detected) == form_of(found)


def test_ping(client: TestClient) -> None:
    assert client.get("/ping").status_code == 200


@pytest.mark.parametrize("format_", ["PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF"])
def test_a_picture_of_any_format(client: TestClient, make_picture: Make, format_: str) -> None:
    # The bytes say what they are; the header is often wrong.
    response = post(client, make_picture("lime", format_), "image/jpeg")
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    answer = response.json()
    assert answer["model"] == "colours:3"
    (prediction,) = answer["predictions"]
    assert prediction["label"] == "green"
    assert prediction["decision"] == "accept"
    assert prediction["score"] == prediction["probabilities"]["green"]
    assert list(prediction["probabilities"]) == ["red", "green", "blue"]


def test_a_detector_answers_with_boxes(detecting: TestClient, make_scene: Make) -> None:
    picture = make_scene(((255, 0, 0), (20, 10, 60, 50)), ((0, 204, 0), (70, 20, 100, 90)))
    image = b64encode(picture).decode()
    in_json = detecting.post("/invocations", json={"image": image})
    for response in (post(detecting, picture), in_json):
        assert response.status_code == 200
        assert response.json()["model"] == "things:2"
        (prediction,) = response.json()["predictions"]
        assert (prediction["width"], prediction["height"]) == (128, 96)
        red, green = prediction["boxes"]
        assert (red["label"], red["score"], red["decision"]) == ("red", 1.0, "accept")
        assert red["xyxy"] == pytest.approx([20, 10, 60, 50], abs=4)
        assert (green["label"], green["score"], green["decision"]) == ("green", 0.8, "refer")


def test_a_detector_that_finds_nothing_says_so(detecting: TestClient, make_scene: Make) -> None:
    (prediction,) = post(detecting, make_scene()).json()["predictions"]
    assert prediction == {"boxes": [], "width": 128, "height": 96}


def test_a_detector_points_at_a_bad_picture(detecting: TestClient, make_scene: Make) -> None:
    pictures = [make_scene(), b"nonsense"]
    instances = [{"b64": b64encode(picture).decode()} for picture in pictures]
    response = detecting.post("/invocations", json={"instances": instances})
    assert check_problem(response, 422)["pointer"] == "#/instances/1/b64"


def test_several_pictures(client: TestClient, make_picture: Make) -> None:
    colours = ["red", "lime", "blue"]
    instances = [{"b64": b64encode(make_picture(colour)).decode()} for colour in colours]
    response = client.post("/invocations", json={"instances": instances})
    assert [p["label"] for p in response.json()["predictions"]] == ["red", "green", "blue"]
    lines = "\n".join(json.dumps(instance) for instance in instances)
    response = post(client, lines.encode(), "application/jsonlines")
    assert response.headers["content-type"].startswith("application/jsonlines")
    answers = [json.loads(line) for line in response.text.splitlines()]
    assert [a["predictions"][0]["label"] for a in answers] == ["red", "green", "blue"]


def test_an_unreadable_picture_is_pointed_at(client: TestClient, make_picture: Make) -> None:
    problem = check_problem(post(client, make_picture()[:60]), 422)
    assert problem["type"] == "urn:pixloop:unreadable-picture"
    bad = b64encode(b"nonsense").decode()
    good = b64encode(make_picture()).decode()
    response = client.post("/invocations", json={"instances": [{"b64": good}, {"b64": bad}]})
    assert check_problem(response, 422)["pointer"] == "#/instances/1/b64"


def test_a_decompression_bomb_is_413(client: TestClient) -> None:
    buffer = BytesIO()
    Image.new("1", (20_000, 20_000)).save(buffer, "PNG")
    assert len(buffer.getvalue()) < LIMITS.max_body_bytes
    assert check_problem(post(client, buffer.getvalue()), 413)["type"] == (
        "urn:pixloop:picture-too-large"
    )


def test_a_body_may_have_the_limit_and_no_byte_more(client: TestClient, make_picture: Make) -> None:
    picture = make_picture("blue", "JPEG")
    padded = picture.ljust(LIMITS.max_body_bytes, b"\0")  # readers stop at a JPEG's end
    assert post(client, padded).status_code == 200
    assert "200,000" in str(check_problem(post(client, padded + b"\0"), 413)["detail"])


def test_a_stream_of_unknown_length_is_limited_too(client: TestClient) -> None:
    response = client.post("/invocations", content=iter([b"\0" * 150_000] * 2))
    check_problem(response, 413)


def test_what_is_endless_is_cut_off(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "_DRAINED_BYTES", 1_000_000)
    chunks = (b"\0" * 100_000 for _ in range(1000))
    check_problem(client.post("/invocations", content=chunks), 413)


def test_a_slow_body_is_408(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "BODY_TIMEOUT_S", 0.01)
    scope = {"type": "http", "method": "POST", "path": "/invocations", "headers": []}
    sent: list[MutableMapping[str, Any]] = []

    async def receive() -> MutableMapping[str, Any]:
        await anyio.sleep_forever()
        raise AssertionError

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    anyio.run(build_app(predictor, "colours", LIMITS), scope, receive, send)
    assert sent[0]["status"] == 408


def test_a_client_that_goes_away_is_no_failure(predictor: Predictor) -> None:
    scope = {"type": "http", "method": "POST", "path": "/invocations", "headers": []}
    sent: list[MutableMapping[str, Any]] = []

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    seen: list[Exchange] = []
    app = build_app(predictor, "colours", LIMITS, [seen.append])
    anyio.run(app, scope, receive, send)
    assert not sent
    assert seen[0].status == 499


def test_bad_requests(client: TestClient, make_picture: Make) -> None:
    check_problem(post(client, b""), 400)
    check_problem(post(client, b"{", "application/json"), 400)
    check_problem(post(client, b"a,b", "text/csv"), 415)
    check_problem(post(client, b"[]", "application/json"), 422)
    headers = {"Content-Encoding": "gzip", "Content-Type": "image/png"}
    response = client.post("/invocations", content=make_picture(), headers=headers)
    check_problem(response, 415)


def test_other_paths_and_methods_are_problems_too(client: TestClient) -> None:
    check_problem(client.get("/nowhere"), 404)
    response = client.get("/invocations")
    check_problem(response, 405)
    assert response.headers["allow"] == "POST"
    check_problem(client.delete("/ping"), 405)


def test_too_many_waiting_requests_are_503(predictor: Predictor, make_picture: Make) -> None:
    release, picture = threading.Event(), make_picture()
    at_work = usable_cores()
    taken = threading.Semaphore(0)

    def slow(images: object) -> object:
        taken.release()
        release.wait(30)
        return predictor._engine(images)  # type: ignore[arg-type]

    busy = make_predictor(predictor.manifest, slow)  # type: ignore[arg-type]
    with (
        TestClient(build_app(busy, "colours", LIMITS)) as client,
        ThreadPoolExecutor(at_work + LIMITS.queue + 3) as pool,
    ):
        futures = [pool.submit(post, client, picture) for _ in range(at_work)]
        # Until a worker has taken them, they stand in the queue themselves.
        assert all(taken.acquire(timeout=20) for _ in range(at_work))
        futures += [pool.submit(post, client, picture) for _ in range(LIMITS.queue + 3)]
        # Only those beyond the queue are answered before the release.
        refused = [f.result() for f in islice(as_completed(futures, timeout=20), 3)]
        release.set()
        statuses = sorted(f.result().status_code for f in futures)
    assert statuses == [200] * (at_work + LIMITS.queue) + [503] * 3
    for response in refused:
        check_problem(response, 503)
        assert response.headers["retry-after"] == "1"


def test_a_failure_is_500_and_says_nothing_of_the_inside(
    predictor: Predictor, make_picture: Make
) -> None:

    def fail(images: object) -> object:
        raise RuntimeError("secret")

    broken = make_predictor(predictor.manifest, fail)  # type: ignore[arg-type]
    client = TestClient(build_app(broken, "colours", LIMITS), raise_server_exceptions=False)
    for _ in range(3):
        response = post(client, make_picture())
        check_problem(response, 500)
        assert "secret" not in response.text
    assert client.get("/ping").status_code == 200


@given(
    body=st.recursive(
        st.none() | st.integers() | st.text(max_size=20),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["image", "instances", "b64", "s3"]), inner, max_size=3
            )
        ),
        max_leaves=6,
    )
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_json_breaks_it(client: TestClient, body: object) -> None:
    response = post(client, json.dumps(body).encode(), "application/json")
    assert 400 <= response.status_code < 500


@given(data=st.data(), format_=st.sampled_from(["PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP"]))
@settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_damaged_picture_breaks_it(
    client: TestClient, make_picture: Make, data: st.DataObject, format_: str
) -> None:
    picture = bytearray(make_picture((10, 200, 30), format_))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(picture) - 1))
        picture[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(picture)))
    for body in (bytes(picture), bytes(picture[:cut])):
        assert post(client, body).status_code in (200, 400, 413, 422)


@pytest.fixture(params=["classification", "detection"])
def either(request: pytest.FixtureRequest, client: TestClient, detecting: TestClient) -> TestClient:
    """The server of a classifier, and that of a detector."""
    return client if request.param == "classification" else detecting


def test_the_openapi_document_describes_what_is_there(either: TestClient) -> None:
    client = either
    document = client.get("/openapi.json").json()
    assert document["info"]["title"] == client.get("/ping").json()["model"]
    for path, methods in document["paths"].items():
        for method in methods:
            assert client.request(method, path).status_code != 404
    operation = document["paths"]["/invocations"]["post"]
    for content_type in operation["requestBody"]["content"]:
        assert post(client, b"x", content_type).status_code != 415
    references = set(_references(document))
    assert references == {f"#/components/schemas/{n}" for n in document["components"]["schemas"]}


def test_an_answer_has_the_form_that_the_openapi_document_says(
    client: TestClient, detecting: TestClient, make_picture: Make, make_scene: Make
) -> None:
    scene = make_scene(((255, 0, 0), (20, 10, 60, 50)))
    for served, picture in ((client, make_picture("red")), (detecting, scene)):
        schemas = served.get("/openapi.json").json()["components"]["schemas"]
        answer = post(served, picture).json()
        assert _misfits(answer, schemas["Answer"], schemas) == []
        assert _misfits({"model": 3}, schemas["Answer"], schemas) != []


def test_the_page_is_whole_in_itself(either: TestClient) -> None:
    response = either.get("/", follow_redirects=True)
    assert response.url.path == "/docs"
    assert response.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in response.headers["content-security-policy"]
    page = _Page()
    page.feed(response.text)
    assert page.open == []
    assert page.addresses == ["openapi.json"]
    assert "curl" in response.text
    assert "$" not in response.text.replace("$(base64", "")


def test_names_of_classes_are_text_on_the_page(predictor: Predictor, detector: Detector) -> None:
    hostile = ("<script>alert(1)</script>", "</pre>", '"&')
    for each in (predictor, detector):
        manifest = each.manifest.model_copy(update={"classes": hostile})
        client = TestClient(build_app(make_predictor(manifest, each._engine), "<b>", LIMITS))
        page = client.get("/docs").text
        assert page.count("<script>") == 1
        assert "<title>&lt;b&gt;</title>" in page


def test_the_example_on_a_detectors_page_is_an_answer(detecting: TestClient) -> None:
    text = unescape(detecting.get("/docs").text)
    start = text.index('{\n  "model"')
    example = json.loads(text[start : text.index("</pre>", start)])
    schemas = detecting.get("/openapi.json").json()["components"]["schemas"]
    assert _misfits(example, schemas["Answer"], schemas) == []


def _misfits(value: Any, schema: dict[str, Any], schemas: dict[str, Any]) -> list[str]:
    """What a value has against a schema, as far as these documents use JSON Schema."""
    if "$ref" in schema:
        return _misfits(value, schemas[schema["$ref"].rpartition("/")[2]], schemas)
    types = {"object": dict, "array": list, "string": str, "integer": int, "number": (int, float)}
    if not isinstance(value, types[schema["type"]]):
        return [f"{value!r} is no {schema['type']}"]
    found = []
    if "enum" in schema and value not in schema["enum"]:
        found.append(f"{value!r} is none of {schema['enum']}")
    if isinstance(value, dict):
        if value.keys() != set(schema["required"]):
            found.append(f"{value.keys()} are not {schema['required']}")
        for key in value.keys() & schema["properties"].keys():
            found += _misfits(value[key], schema["properties"][key], schemas)
    if isinstance(value, list):
        if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", 1000):
            found.append(f"{len(value)} entries")
        for each in value:
            found += _misfits(each, schema["items"], schemas)
    return found


def _references(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"]
        for inner in value.values():
            yield from _references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _references(inner)


class _Page(HTMLParser):
    """Whether tags are balanced, and what the page would load or link."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for key, value in attrs if key in ("src", "href")]
        if tag not in ("meta", "input", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
