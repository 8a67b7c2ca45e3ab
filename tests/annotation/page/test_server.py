import json

import pytest
from starlette.testclient import TestClient
from tests.annotation.waiting import CLASSES, candidate

from pixloop.annotation.answering import Answering
from pixloop.annotation.page.server import MAX_BODY_BYTES, make_app
from pixloop.annotation.queue import ReviewQueue
from pixloop.data.annotations import AnnotationStore

ORIGIN = "http://127.0.0.1:9000"
JSON = {"Origin": ORIGIN, "Content-Type": "application/json"}


@pytest.fixture
def answering(tmp_path):
    queue = ReviewQueue(tmp_path / "review")
    queue.offer(candidate(n) for n in range(3))
    queue.choose(3, 0.0)
    store = AnnotationStore(tmp_path / "annotations")
    return Answering(queue, store, "classification", CLASSES)


@pytest.fixture
def client(answering):
    return TestClient(make_app(answering, "secret", "pets"), base_url=ORIGIN)


def say(client, headers=JSON, **said):
    return client.post("/secret/answers", content=json.dumps(said), headers=headers)


def test_the_page_and_what_it_loads_come_from_here_alone(client):
    for name, kind in (("", "text/html"), ("page.js", "text/javascript"), ("page.css", "text/css")):
        answer = client.get(f"/secret/{name}")
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith(kind)
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "http://" not in answer.text.replace("http://www.w3.org/2000/svg", "")
        assert "innerHTML" not in answer.text


@pytest.mark.parametrize("path", ["/", "/wrong/", "/wrong/items", "/secret/server.py", "/secret/x"])
def test_without_the_token_there_is_nothing(client, path):
    assert client.get(path).status_code == 404


def test_an_answer_is_kept_and_taken_back(client, answering):
    items = client.get("/secret/items").json()["items"]
    first = items[0]["sha256"]
    assert client.get(f"/secret/pictures/{first}").headers["content-type"] == "image/png"
    assert say(client, sha256=first, label="dog").json()["answered"] == 1
    assert say(client, sha256=items[1]["sha256"], skip=True).json()["skipped"] == 1
    assert [i["sha256"] for i in client.get("/secret/items").json()["items"]] == [
        items[2]["sha256"]
    ]
    assert say(client, sha256=first, undo=True).json()["asked"] == 2
    assert len(answering.open_items()) == 2


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Type": "application/json"}, 403),
        ({**JSON, "Origin": "https://evil.example"}, 403),
        ({**JSON, "Origin": "null"}, 403),
        ({"Origin": ORIGIN, "Content-Type": "text/plain"}, 415),
        ({**JSON, "Host": "evil.example:9000", "Origin": "http://evil.example:9000"}, 403),
    ],
)
def test_other_pages_cannot_answer(client, answering, headers, status):
    sha256 = answering.open_items()[0].sha256
    assert say(client, headers, sha256=sha256, label="dog").status_code == status
    assert len(answering.open_items()) == 3


def test_a_name_that_is_not_ours_is_not_served(client):
    assert client.get("/secret/items", headers={"Host": "evil.example"}).status_code == 403


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ({"label": "wolf"}, 409),
        ({"boxes": []}, 409),
        ({}, 409),
        ({"label": "cat", "more": 1}, 400),
        ({"boxes": [{"label": "cat", "xyxy": ["a"]}]}, 400),
    ],
)
def test_what_is_no_answer_is_said_to_be(client, answering, said, status):
    sha256 = answering.open_items()[0].sha256
    answer = say(client, sha256=sha256, **said)
    assert (answer.status_code, bool(answer.json()["detail"])) == (status, True)


def test_bodies_have_a_bound(client):
    body = b" " * (MAX_BODY_BYTES + 1)
    assert client.post("/secret/answers", content=body, headers=JSON).status_code == 413


def test_pictures_are_reached_by_their_hash_only(client):
    for name in ("0" * 64, "..%2freview.db", "..%2f..%2fetc%2fpasswd"):
        assert client.get(f"/secret/pictures/{name}").status_code == 404
