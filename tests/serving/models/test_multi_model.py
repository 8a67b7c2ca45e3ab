"""SageMaker's multi-model API, and what it does not let anyone do."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient
from tests.certified_bundles import colours, spoil, write_boxes, write_classifier
from tests.serving.test_app import check_problem

from pixloop.config import ServingConfig
from pixloop.serving.models import loaded
from pixloop.serving.models.multi_model import MultiModelApp
from pixloop.serving.observing.observation import Exchange
from pixloop.serving.predictor import open_predictor

JSON = {"Content-Type": "application/json"}
Told = list[tuple[str, str]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bundles as SageMaker unpacks them, and one outside."""
    root = tmp_path_factory.mktemp("ml")
    write_classifier(root / "outside")
    models = root / "models"
    for name in ("a1", "b2"):
        write_classifier(models / name / "model")
    write_boxes(models / "boxes" / "model")
    spoil(write_classifier(models / "spoiled" / "model"))
    (models / "link").symlink_to(root / "outside")
    (models / "inner").symlink_to(models / "a1" / "model")
    (models / "empty").mkdir()
    return models


@pytest.fixture
def told() -> Told:
    return []


@pytest.fixture
def seen() -> list[Exchange]:
    return []


@pytest.fixture
def client(folder: Path, told: Told, seen: list[Exchange]) -> Iterator[TestClient]:
    app = MultiModelApp(
        folder,
        ServingConfig(queue=8, max_batch=2),
        open_predictor,
        [seen.append],
        on_swap=lambda version, outcome: told.append((version, outcome)),
    )
    yield TestClient(app, raise_server_exceptions=False)
    app.close()


def load(client: TestClient, name: str, url: Any, **more: Any) -> httpx.Response:
    return client.post("/models", json={"model_name": name, "url": str(url), **more})


def invoke(client: TestClient, name: str) -> httpx.Response:
    headers = {"Content-Type": "application/x-image"}
    return client.post(f"/models/{name}/invoke", content=colours()[0], headers=headers)


def test_models_come_and_answer_and_go(
    client: TestClient, folder: Path, told: Told, seen: list[Exchange]
) -> None:
    assert client.get("/ping").status_code == 200
    assert client.get("/models").json() == {"models": []}
    url = str(folder / "a1/model")
    assert load(client, "a1", url).json() == {"modelName": "a1", "modelUrl": url}
    assert load(client, "boxes", folder / "boxes/model").status_code == 200
    assert client.get("/models").json()["models"][0] == {"modelName": "a1", "modelUrl": url}
    shown = client.get("/models/a1").json()
    assert shown["modelUrl"] == url
    assert shown["version"] == "a1"
    answer = invoke(client, "a1").json()
    assert (answer["model"], answer["predictions"][0]["label"]) == ("a1", "red")
    assert "boxes" in invoke(client, "boxes").json()["predictions"][0]
    assert [exchange.model for exchange in seen] == ["a1", "boxes"]
    assert client.delete("/models/a1").status_code == 200
    check_problem(client.delete("/models/a1"), 404)
    check_problem(client.get("/models/a1"), 404)
    check_problem(invoke(client, "a1"), 404)
    assert invoke(client, "boxes").status_code == 200
    assert load(client, "a1", url).status_code == 200
    assert told[0] == ("a1", "taken")
    assert ("a1", "unloaded") in told


def test_what_is_loaded_is_not_loaded_again(client: TestClient, folder: Path) -> None:
    load(client, "a1", folder / "a1/model")
    check_problem(load(client, "a1", folder / "b2/model"), 409)
    assert client.get("/models/a1").json()["modelUrl"] == str(folder / "a1/model")


def test_a_model_for_which_memory_does_not_suffice(
    client: TestClient, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = client.app.models  # type: ignore[attr-defined]
    size = (folder / "a1/model/graphs/model.onnx").stat().st_size
    monkeypatch.setattr(model, "_room", lambda: 5 * size - 1)
    problem = check_problem(load(client, "a1", folder / "a1/model"), 507)
    assert "Unload another first" in str(problem["detail"])
    assert client.get("/models").json() == {"models": []}
    monkeypatch.setattr(model, "_room", lambda: 5 * size)
    assert load(client, "a1", folder / "a1/model").status_code == 200


def test_many_models_are_listed_in_pages(
    client: TestClient, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pixloop.serving.models.multi_model._PAGE", 2)
    names = ["a", "b", "c", "d", "e"]
    for name in names:
        load(client, name, "a1/model")
    found, token, pages = [], "", 0
    while True:
        page = client.get("/models", params={"next_page_token": token} if token else {}).json()
        found += [each["modelName"] for each in page["models"]]
        pages += 1
        if "nextPageToken" not in page:
            break
        token = page["nextPageToken"]
    assert (found, pages) == (names, 3)


# ---- Swaps


def test_a_model_is_swapped_while_it_serves(client: TestClient, folder: Path, told: Told) -> None:
    load(client, "a", "a1/model", version="1")
    swapped = client.put("/models/a", json={"url": "b2/model", "version": "2"})
    assert swapped.status_code == 200
    assert swapped.json() == {
        "modelName": "a",
        "modelUrl": "b2/model",
        "version": "a:2",
        "onTrial": True,
        "lastSwap": {"version": "a:2", "outcome": "taken", "reason": ""},
    }
    assert invoke(client, "a").json()["model"] == "a:2"
    assert told == [("a:1", "taken"), ("a:2", "taken")]


@pytest.mark.parametrize(
    ("url", "status", "reason"),
    [
        ("spoiled/model", 422, "does not answer here as it was certified"),
        ("boxes/model", 409, "its task is detection"),
        ("empty", 422, "no model bundle"),
        ("../outside", 403, "does not lie in"),
    ],
)
def test_a_swap_that_is_refused_leaves_the_old(
    client: TestClient, url: str, status: int, reason: str
) -> None:
    load(client, "a", "a1/model")
    problem = check_problem(client.put("/models/a", json={"url": url}), status)
    assert reason in str(problem["detail"])
    assert client.get("/models/a").json()["modelUrl"] == "a1/model"
    assert invoke(client, "a").json()["model"] == "a"


def test_what_is_not_loaded_is_not_swapped(client: TestClient) -> None:
    check_problem(client.put("/models/a", json={"url": "a1/model"}), 404)


# ---- What nobody may do


@pytest.mark.parametrize(
    ("url", "status"),
    [
        ("/", 403),
        ("..", 403),
        ("../outside", 403),
        ("link", 403),
        ("a1/../../outside", 403),
        ("a1/model\0", 403),
        ("a1/model/graphs/model.onnx", 422),
        ("nowhere", 422),
        ("empty", 422),
    ],
)
def test_nothing_is_loaded_from_elsewhere(client: TestClient, url: str, status: int) -> None:
    check_problem(load(client, "a", url), status)
    assert client.get("/models").json() == {"models": []}


def test_a_link_within_the_folder_is_followed(client: TestClient) -> None:
    assert load(client, "a", "inner").status_code == 200


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a b", "a" * 129, "-a", "ä", "a\n"])
def test_names_are_simple(client: TestClient, name: str) -> None:
    check_problem(load(client, name, "a1/model"), 422)


@pytest.mark.parametrize("method", ["POST", "PUT"])
@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        # What a web page may send to another address without being asked.
        ("text/plain", b'{"model_name": "a", "url": "a1/model"}', 415),
        ("application/x-www-form-urlencoded", b"model_name=a&url=a1/model", 415),
        ("", b'{"model_name": "a", "url": "a1/model"}', 415),
        ("application/json", b"", 400),
        ("application/json", b"[" * 60_000, 400),
        ("application/json", b"[]", 422),
        ("application/json", b'{"model_name": 1, "url": 2}', 422),
        ("application/json", b'{"model_name": "b", "url": "a1/model", "version": 1}', 422),
        ("application/json", b" " * 70_000, 413),
    ],
)
def test_a_body_of_another_form_changes_nothing(
    client: TestClient, method: str, content_type: str, body: bytes, status: int
) -> None:
    load(client, "a", "a1/model")
    path = "/models" if method == "POST" else "/models/a"
    headers = {"Content-Type": content_type} if content_type else {}
    check_problem(client.request(method, path, content=body, headers=headers), status)
    assert [each["modelName"] for each in client.get("/models").json()["models"]] == ["a"]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    body=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(st.sampled_from(["model_name", "url", "version"]) | st.text(), inner)
        ),
        max_leaves=6,
    )
)
def test_whatever_the_json_is_it_loads_nothing_and_is_told_why(
    client: TestClient, body: Any
) -> None:
    for method, path in (("POST", "/models"), ("PUT", "/models/a")):
        response = client.request(method, path, json=body)
        assert 400 <= response.status_code < 500
        check_problem(response, response.status_code)


def test_a_server_for_one_model_lets_nobody_change_it(classifier_bundle: Any) -> None:
    from pixloop.serving.app import build_app

    app = build_app(open_predictor(classifier_bundle), "m", ServingConfig())
    client = TestClient(app)
    for method, path in (("POST", "/models"), ("PUT", "/models/m"), ("DELETE", "/models/m")):
        check_problem(client.request(method, path, json={"url": "."}), 404)
    app.close()


# ---- Pages


def test_every_model_has_the_pages_of_a_server_for_one(client: TestClient) -> None:
    load(client, "a", "a1/model")
    assert client.get("/docs").text.count('href="models/a/docs"') == 1
    assert 'id="' in client.get("/models/a/docs").text
    assert client.get("/models/a/openapi.json").json()["info"]["title"] == "a"
    assert client.get("/models/a/ping").json() == {"status": "ready", "model": "a"}
    check_problem(client.get("/models/a/nothing"), 404)
    check_problem(client.get("/models/b/docs"), 404)
    check_problem(client.get("/models/a/invoke"), 404)


def test_models_are_freed_when_they_are_unloaded(client: TestClient) -> None:
    import gc
    import weakref

    load(client, "a", "a1/model")
    invoke(client, "a")
    models: loaded.LoadedModels = client.app.models  # type: ignore[attr-defined]
    predictor = weakref.ref(models.get("a").served.current.predictor)
    client.delete("/models/a")
    gc.collect()
    assert predictor() is None
