import base64
import hashlib

import httpx
import pytest
from tests.annotation.label_studio.real import free_port, scene
from tests.serving.in_thread import serving

from pixloop.annotation.label_studio.backend import SECRET_HEADER, BackendSettings, make_app

SECRET = "a secret"


@pytest.fixture
def settings(tmp_path) -> BackendSettings:
    """Nothing answers at the server's address, nor at Label Studio's."""
    return BackendSettings(
        port=free_port(),
        server=f"http://127.0.0.1:{free_port()}",
        label_studio=f"http://127.0.0.1:{free_port()}",
        token="token",
        secret=SECRET,
        classes=("red", "green", "blue"),
        pictures=tmp_path / "pictures",
        bell=tmp_path / "watch" / "annotated",
    )


@pytest.fixture
def backend(settings):
    with (
        serving(make_app(settings)) as url,
        httpx.Client(base_url=url, auth=("pixloop", SECRET), timeout=60) as client,
    ):
        yield client


def test_without_a_server_health_says_so_and_no_empty_answer_is_given(backend, settings):
    health = backend.get("/health")
    assert health.status_code == 200
    assert health.json()["model"] is None
    assert settings.server in health.json()["detail"]
    settings.pictures.mkdir()
    picture = scene(1)
    sha256 = hashlib.sha256(picture).hexdigest()
    (settings.pictures / sha256).write_bytes(picture)
    task = {"id": 1, "meta": {"sha256": sha256, "width": 128, "height": 96}}
    answer = backend.post("/predict", json={"tasks": [task]})
    assert answer.status_code == 503  # Label Studio would keep an empty one


def test_a_hook_rings_the_bell_only_with_the_secret(backend, settings):
    assert backend.post("/webhook", auth=httpx.BasicAuth("", ""), json={}).status_code == 401
    assert not settings.bell.exists()
    hook = {SECRET_HEADER: SECRET}
    assert backend.post("/webhook", headers=hook, content=b"not JSON").status_code == 200
    assert settings.bell.exists()


@pytest.mark.parametrize(
    "given",
    ["", "Basic", "Basic !!", "Bearer " + SECRET, "Basic " + base64.b64encode(b"x:y").decode()],
)
def test_predictions_are_for_who_has_the_secret(backend, given):
    bare = httpx.post(f"{backend.base_url}/predict", headers={"Authorization": given}, json={})
    assert bare.status_code == 401


def test_a_name_that_is_not_ours_is_refused(backend):
    assert backend.get("/health", headers={"Host": "evil.example"}).status_code == 400


@pytest.mark.parametrize("address", ["http://127.0.0.1:1/x", "file:///etc/passwd", "", "//x/data/"])
def test_pictures_are_fetched_from_label_studio_alone(backend, address):
    answer = backend.post("/predict", json={"tasks": [{"id": 1, "data": {"image": address}}]})
    assert answer.json()["results"][0]["result"] == []


def test_what_is_no_question_is_told(backend):
    assert backend.post("/predict", json=[1]).status_code == 400
    assert backend.post("/setup", json={}).json() == {"model_version": "pixloop"}
    assert backend.get("/versions").json() == {"versions": ["pixloop"]}
