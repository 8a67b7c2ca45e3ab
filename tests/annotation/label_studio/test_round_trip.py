"""The whole way, with a real Label Studio, a real browser and a real server, and kills between."""

import io
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer
from PIL import Image
from tests.annotation.label_studio.real import World, candidate, make_studio, scene, start_sync

from pixloop.annotation.label_studio.credentials import TOKEN_VARIABLE, credentials
from pixloop.annotation.label_studio.processes import read_running
from pixloop.serving.client import Client

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

EDGES = {"red": (20, 40, 60, 90), "green": (70, 40, 100, 90)}


@pytest.fixture(scope="module")
def world(tmp_path_factory, boxes_bundle) -> Iterator[World]:
    """A Label Studio that starts with an empty data folder."""
    made = World(tmp_path_factory.mktemp("annotated"))
    try:
        made.serve(boxes_bundle)
        made.up()
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("no chromium")
    with playwright.sync_playwright() as running:
        opened = running.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield opened
        opened.close()


def region(label: str, x: float = 10.0) -> dict:
    corner = {"x": x, "y": 10, "width": 20, "height": 20, "rotation": 0}
    return {
        "from_name": "label",
        "to_name": "image",
        "type": "rectanglelabels",
        "original_width": 128,
        "original_height": 96,
        "value": {**corner, "rectanglelabels": [label]},
    }


def kill(world: World, name: str) -> None:
    running = read_running(world.studio.folder / f"{name}.json")
    os.kill(running.pid, signal.SIGKILL)
    while read_running(world.studio.folder / f"{name}.json"):
        time.sleep(0.05)


def model_answer(world: World, picture: bytes):
    with Client(world.server_url) as client:
        return client.predict([picture])[0]


def test_a_person_sees_the_models_boxes_submits_and_they_come_home(world, browser, tmp_path):
    picture = scene(1, orientation=6)
    (sha256,) = world.ask([candidate(picture)])
    assert world.sync().pushed == 1
    assert world.sync().pushed == 0

    bell = world.state / "watch" / "annotated"
    task = world.tasks()[sha256]
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    page.set_default_timeout(120_000)
    known = credentials(world.studio.folder / "credentials.json")
    url = world.studio.status().url
    page.goto(f"{url}/user/login/")
    page.fill("input[name=email]", known.email)
    page.fill("input[name=password]", known.password)
    page.press("input[name=password]", "Enter")
    page.wait_for_url(lambda address: "/user/login" not in address, wait_until="commit")
    page.goto(f"{url}/projects/{world.project()}/data?task={task['id']}")
    submit = page.get_by_role("button", name="Submit")
    submit.wait_for()
    # Both boxes are in the list of regions, with the model's scores, before anybody has drawn one.
    page.get_by_text("Regions", exact=True).first.wait_for()
    page.locator(".lsf-outliner-item, [class*=outliner-item]").nth(1).wait_for()
    page.screenshot(path=str(tmp_path / "prefilled.png"))
    if kept := os.environ.get("PIXLOOP_TEST_SCREENSHOTS"):
        shutil.copy(tmp_path / "prefilled.png", Path(kept))
    assert not bell.exists()
    with page.expect_response(
        lambda answer: answer.request.method == "POST" and "/annotations" in answer.url
    ) as submitted:
        submit.click()
    assert submitted.value.status == 201
    for _ in range(100):
        if bell.exists():
            break
        time.sleep(0.1)
    assert bell.exists(), "no hook came"
    page.close()

    summary = world.sync()
    assert (summary.new, summary.findings) == (1, ())
    assert world.sync().came == 0
    (annotation,) = world.store.read()
    assert annotation.sha256 == sha256
    assert annotation.annotator == known.email
    assert world.store.picture(sha256).read_bytes() == picture
    answered = model_answer(world, picture)
    assert (answered.width, answered.height) == (128, 96)
    said = {box.label: box.xyxy for box in annotation.boxes}
    assert said.keys() == EDGES.keys()
    for box in answered.boxes:
        assert said[box.label] == pytest.approx(box.xyxy, abs=0.01)
    assert world.queue.get(sha256).status == "answered"


def test_a_task_opens_though_the_backend_was_killed_and_is_filled_once_it_is_back(world):
    stored, asked = scene(2), scene(3)
    answer = {
        "boxes": [{"label": "red", "score": 0.7, "xyxy": [20, 40, 60, 90], "decision": "refer"}],
        "width": 128,
        "height": 96,
    }
    kill(world, "backend")
    first, second = world.ask([candidate(stored, answer), candidate(asked)])
    assert world.sync().pushed == 2
    tasks = world.tasks()
    with world.client() as client:
        assert len(client.task(tasks[first]["id"])["predictions"][0]["result"]) == 1
        assert client.task(tasks[second]["id"])["predictions"] == []
        world.up()
        opened = client.task(tasks[second]["id"])
    labels = [part["value"]["rectanglelabels"][0] for part in opened["predictions"][0]["result"]]
    assert sorted(labels) == ["green", "red"]


def test_a_task_stays_unfilled_while_no_server_answers_and_is_filled_later(world, boxes_bundle):
    world.server.kill()
    world.server.wait()
    (sha256,) = world.ask([candidate(scene(4))])
    world.sync()
    task = world.tasks()[sha256]
    with world.client() as client:
        assert client.task(task["id"])["predictions"] == []
    world.serve(boxes_bundle)
    world.sync()
    assert len(world.tasks()[sha256]["predictions"]) == 1


def test_label_studio_killed_between_submit_and_sync_loses_nothing(world):
    (sha256,) = world.ask([candidate(scene(5))])
    world.sync()
    number = world.answer(sha256, [region("blue")])
    kill(world, "server")
    world.up()
    assert world.sync().new == 1
    (found,) = (a for a in world.store.read() if a.sha256 == sha256)
    assert found.id.endswith(f"-{number}")
    assert found.boxes[0].xyxy == pytest.approx((12.8, 9.6, 38.4, 28.8))


def test_what_changes_or_goes_there_changes_or_goes_here(world):
    (sha256,) = world.ask([candidate(scene(6))])
    world.sync()
    number = world.answer(sha256, [region("blue")])
    world.sync()
    with world.client() as client:
        client.change(f"annotations/{number}/", result=[region("red", 50)])
        assert world.sync().changed == 1
        (found,) = (a for a in world.store.read() if a.sha256 == sha256)
        assert found.boxes[0].label == "red"
        client.delete(f"annotations/{number}/")
    summary = world.sync()
    assert (summary.deleted, world.sync().came) == (1, 0)
    (found,) = (a for a in world.store.read() if a.sha256 == sha256)
    assert found.deleted
    assert world.queue.get(sha256).status == "asked"


def test_skipped_and_malformed_answers_are_told_apart(world):
    skipped, wrong = world.ask([candidate(scene(7)), candidate(scene(8))])
    world.sync()
    with world.client() as client:
        number = world.tasks()[skipped]["id"]
        client.create(f"tasks/{number}/annotations/", result=[], was_cancelled=True)
    world.answer(wrong, [region("blue") | {"image_rotation": 90}])
    summary = world.sync()
    assert "turned by 90 degrees" in summary.findings[0]
    assert world.queue.get(skipped).status == "skipped"
    assert world.queue.get(wrong).status == "asked"


def test_a_sync_that_is_killed_at_any_point_makes_nothing_twice(world):
    asked = world.ask(candidate(scene(100 + number)) for number in range(120))
    for delay_s in (0.0, 0.1, 0.3, 0.6, 1.0, 1.6):
        process = start_sync(world)
        time.sleep(delay_s)
        process.kill()
        process.wait()
        process.stdout.close()
    world.sync()
    tasks = world.tasks()  # asserts that no picture has two
    assert set(asked) <= tasks.keys()
    with world.client() as client:
        for sha256 in asked[:20]:
            client.create(f"tasks/{tasks[sha256]['id']}/annotations/", result=[region("red")])
    for delay_s in (0.2, 0.5, 0.9):
        process = start_sync(world)
        time.sleep(delay_s)
        process.kill()
        process.wait()
        process.stdout.close()
    world.sync()
    for sha256 in asked[:20]:
        assert len([a for a in world.store.read() if a.sha256 == sha256]) == 1
        assert world.queue.get(sha256).status == "answered"
    assert world.sync().came == 0


def test_a_label_studio_by_its_address_and_a_personal_token_works_as_well(
    world, tmp_path, monkeypatch
):
    url = world.studio.status().url
    with world.client() as client:
        client.create("jwt/settings", api_tokens_enabled=True, legacy_api_tokens_enabled=True)
        token = client.create("token/")["token"]
    monkeypatch.setenv(TOKEN_VARIABLE, token)
    other = World(tmp_path, label_studio=url, backend_port=world.settings["backend_port"])
    other.studio = make_studio(tmp_path, {"label_studio": url}, "elsewhere")
    (sha256,) = other.ask([candidate(scene(9, orientation=6))])
    assert other.sync().pushed == 1
    assert other.sync().pushed == 0
    project = int(other.studio.status().project_url.split("/")[-2])
    with world.client() as client:
        (task,) = client.tasks(project)
        assert client._http.get(task["data"]["image"]).is_success
        client.create(f"tasks/{task['id']}/annotations/", result=[region("red")])
    assert other.sync().new == 1
    (annotation,) = other.store.read()
    assert annotation.sha256 == sha256
    assert annotation.boxes[0].xyxy == pytest.approx((12.8, 9.6, 38.4, 28.8))


@pytest.fixture
def bucket(monkeypatch) -> Iterator[str]:
    """An address on a stand-in for S3."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    boto3.client("s3", endpoint_url=f"http://{host}:{port}").create_bucket(Bucket="asked")
    yield "s3://asked/pictures"
    server.stop()


def test_pictures_may_lie_on_s3(world, tmp_path, monkeypatch, bucket):
    url = world.studio.status().url
    token = credentials(world.studio.folder / "credentials.json").token
    monkeypatch.setenv(TOKEN_VARIABLE, token)
    settings = {"label_studio": url, "pictures": bucket}
    other = World(tmp_path, backend_port=world.settings["backend_port"])
    other.studio = make_studio(tmp_path, settings, "on-s3")
    picture = scene(10, orientation=6)
    (sha256,) = other.ask([candidate(picture)])
    assert other.sync().pushed == 1
    assert other.sync().pushed == 0
    project = int(other.studio.status().project_url.split("/")[-2])
    with world.client() as client:
        assert len(client.listed("storages/s3", project)) == 1
        (task,) = client.tasks(project)
        assert task["data"]["image"].startswith("s3://asked/pictures/")
        # As the page asks for it: Label Studio fetches it, and shows it upright.
        shown = client._http.get(f"/api/tasks/{task['id']}/").json()["data"]["image"]
        answered = client._http.get(shown, follow_redirects=True)
        assert Image.open(io.BytesIO(answered.content)).size == (128, 96)
        client.create(f"tasks/{task['id']}/annotations/", result=[region("red")])
    assert other.sync().new == 1
    (annotation,) = other.store.read()
    assert annotation.sha256 == sha256
    assert other.store.picture(sha256).read_bytes() == picture


def test_a_second_up_finds_what_runs_and_down_stops_it_all(world):
    before = read_running(world.studio.folder / "server.json").pid
    world.up()
    assert read_running(world.studio.folder / "server.json").pid == before
    # As after a kill of 'up' between the start and the note of it.
    (world.studio.folder / "server.json").unlink()
    (world.studio.folder / "backend.json").unlink()
    world.up()
    assert read_running(world.studio.folder / "server.json").pid == before
    assert len(world.studio.down()) == 2
    assert world.studio.down() == []
    assert world.studio.status().url is None
