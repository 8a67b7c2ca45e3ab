import hashlib
import io
import json
import subprocess
import sys
import zlib
from dataclasses import replace
from types import SimpleNamespace

import pytest
from PIL import Image
from starlette.testclient import TestClient
from tests.certified_bundles import colours, rewrite, scenes
from tests.web.conftest import client_of

from pixloop.annotation.candidates import report_candidate
from pixloop.annotation.items import Reason
from pixloop.bundle import Bundle
from pixloop.errors import ConfigError, ImageError
from pixloop.files import sha256_file
from pixloop.model_versions import ModelVersion
from pixloop.project import Project
from pixloop.records import Decision, Prediction
from pixloop.serving.client import Client
from pixloop.web import endpoint
from pixloop.web.cached import Cached
from pixloop.web.site import Site
from pixloop.web.tryout import addresses
from pixloop.web.tryout import explanations as tryout_explanations
from pixloop.web.tryout import page as tryout
from pixloop.web.tryout.models import Kept, Models
from pixloop.web.versions import preferred

HOSTILE = "<script>alert(1)</script>"


def picture(colour=(210, 60, 40), kind="PNG", **options) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (32, 32), colour).save(file, kind, **options)
    return file.getvalue()


RED = picture()


def bomb() -> bytes:
    """A PNG of a few bytes that says it has 10 thousand million pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        body = name + data
        return len(data).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")

    size = (100_000).to_bytes(4, "big")
    header = chunk(b"IHDR", size + size + b"\x08\x02\x00\x00\x00")
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def version_of(bundle: Bundle, number: str = "7", **changes) -> ModelVersion:
    known = {
        "model": "colours", "version": number, "status": "approved", "champion": True,
        "created": bundle.manifest.created, "metrics": {}, "chosen_graph": "onnx", "lineage": {},
        "bundle_sha256": sha256_file(bundle.path / "bundle.json"),
        "bundle": bundle.path.as_uri(), "report": "", "run": "r",
    }  # fmt: skip
    return ModelVersion.model_validate(known | changes)


def pages_of(site: Site, monkeypatch, *versions: ModelVersion) -> TestClient:
    monkeypatch.setattr(site, "versions", lambda: versions)
    return client_of(site)


@pytest.fixture
def fixed(new_site, classifier_bundle, monkeypatch) -> TestClient:
    """The pages of a project whose version is a small bundle."""
    return pages_of(new_site, monkeypatch, version_of(classifier_bundle))


@pytest.fixture
def boxed(tmp_path, boxes_bundle, monkeypatch) -> TestClient:
    """The same of a detector."""
    (tmp_path / "pictures").mkdir()
    site = Site(Project.init(tmp_path / "new", str(tmp_path / "pictures"), "detection").folder)
    return pages_of(site, monkeypatch, version_of(boxes_bundle))


# ---- the page


def test_the_page_offers_the_versions_and_says_what_is_taken(fixed):
    page = fixed.get("/try").text
    assert "Version 7" in page
    assert "25 MB" in page
    assert 'data-most-bytes="25000000"' in page


def test_without_a_version_the_page_says_how_to_get_one(new_client):
    page = new_client.get("/try").text
    assert "pixloop run" in page
    assert 'href="/runs/new"' in page
    assert "This is wrong" not in page  # nobody knows the classes yet
    answer = new_client.post("/try/predict", content=RED)
    assert answer.status_code == 409
    assert "pixloop run" in answer.json()["detail"]


def test_names_of_classes_are_text(new_site, classifier_bundle, tmp_path, monkeypatch):
    classes = (HOSTILE, '"><img src=x onerror=alert(1)>', "blue")
    hostile = rewrite(classifier_bundle, tmp_path / "hostile", classes=classes)
    client = pages_of(new_site, monkeypatch, version_of(hostile))
    page = client.get("/try").text
    assert HOSTILE not in page
    assert "<img src=x" not in page
    assert "&lt;script&gt;" in page
    answer = client.post("/try/predict", content=colours()[0])
    assert answer.json()["answer"]["label"] in classes
    assert answer.headers["content-type"] == "application/json"


def test_the_version_of_the_address_is_chosen(new_site, classifier_bundle, monkeypatch):
    known = [version_of(classifier_bundle, str(n), champion=n == 2) for n in (3, 2, 1)]
    client = pages_of(new_site, monkeypatch, *known)
    assert 'value="2" selected' in client.get("/try").text
    assert 'value="1" selected' in client.get("/try?by=1").text
    assert 'value="2" selected' in client.get("/try?by=../../etc/passwd").text


def test_a_rejected_version_does_not_answer_unasked(classifier_bundle):
    newer = version_of(classifier_bundle, "2", status="rejected", champion=False)
    older = version_of(classifier_bundle, "1", status="pending", champion=False)
    assert preferred([newer, older]) == older
    assert preferred([newer]) is None


def test_it_is_said_whether_the_local_server_answers(new_site, monkeypatch):
    client = client_of(new_site)
    name = f"{new_site.project.config.model_name}:1"
    for served, words in ((name, "answers"), (HOSTILE, "not this project")):
        found = SimpleNamespace(json=lambda served=served: {"model": served})
        monkeypatch.setattr(endpoint.httpx, "get", lambda *a, found=found, **k: found)
        monkeypatch.setattr(endpoint, "_metrics", lambda url: None)
        new_site.cached = Cached()
        part = client.get("/try/server").text
        assert words in part
        assert HOSTILE not in part


def test_a_silent_local_server_is_told_with_the_command_that_starts_it(new_site):
    answer = client_of(Site(new_site.folder, overrides=["serving.port=1"])).get("/try/server")
    assert "pixloop serve" in answer.text
    unknown = client_of(Site(new_site.folder, overrides=["serving.port=0"])).get("/try/server")
    assert "not known" in unknown.text


# ---- answers


def test_a_version_answers_with_its_threshold_and_the_time_it_took(fixed, classifier_bundle):
    found = fixed.post("/try/predict?by=7", content=colours()[0]).json()
    label = found["answer"]["label"]
    assert found["model"] == "colours:7"
    assert found["version"] == "7"
    assert 0 < found["latency_ms"] < 60_000
    least = classifier_bundle.manifest.threshold.acceptance.least(label)
    assert found["threshold"] == {label: least}
    assert sum(found["answer"]["probabilities"].values()) == pytest.approx(1)


def test_a_detector_answers_with_boxes(boxed):
    found = boxed.post("/try/predict", content=scenes()[0]).json()
    boxes = found["answer"]["boxes"]
    assert boxes
    assert set(found["threshold"]) == {box["label"] for box in boxes}
    assert (found["answer"]["width"], found["answer"]["height"]) == (128, 96)


def test_what_cannot_be_read_is_said_and_asks_nobody(fixed, monkeypatch):
    asked = []
    monkeypatch.setattr(Client, "predict_each", lambda self, pictures: asked.append(1))
    cases = {
        "not a picture": b"hello", "empty": b"", "cut off": RED[:60], "bomb": bomb(),
        "script": b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
    }  # fmt: skip
    for name, content in cases.items():
        answer = fixed.post("/try/predict", content=content)
        assert answer.status_code == 422, name
        assert answer.json()["detail"].endswith("."), name
    fixed.post("/try/predict?by=http://127.0.0.1:9", content=b"hello")
    assert not asked


def test_the_formats_are_named_and_a_bomb_is_called_too_large(fixed):
    assert "JPEG" in fixed.post("/try/predict", content=b"hello").json()["detail"]
    assert "too large" in fixed.post("/try/predict", content=bomb()).json()["detail"]


@pytest.mark.parametrize(
    ("brand", "name"),
    [(b"heic", "HEIC"), (b"heix", "HEIC"), (b"heif", "HEIF"), (b"mif1", "HEIF"), (b"avif", "AVIF")],
)
def test_what_phones_write_is_named_with_what_to_do(fixed, brand, name):
    content = bytes((0, 0, 0, 24)) + b"ftyp" + brand + bytes(40)
    answer = fixed.post("/try/predict", content=content)
    assert answer.status_code == 422
    detail = answer.json()["detail"]
    assert name in detail
    assert "export it as JPEG" in detail


def test_a_giant_upload_is_refused_with_its_size(new_site):
    client = client_of(Site(new_site.folder, overrides=["serving.max_body_bytes=1024"]))
    for path in ("predict", "explain", "wrong"):
        answer = client.post(f"/try/{path}", content=b"\0" * 100_000)
        assert answer.status_code == 413, path
        assert "100 kB" in answer.json()["detail"]


def test_a_phones_picture_is_answered_upright_and_its_metadata_is_nobodys(boxed):
    image, exif = Image.new("RGB", (4000, 3000)), Image.Exif()
    exif[0x0112], exif[0x010E] = 6, HOSTILE
    file = io.BytesIO()
    image.save(file, "JPEG", exif=exif)
    answer = boxed.post("/try/predict", content=file.getvalue())
    assert (answer.json()["answer"]["width"], answer.json()["answer"]["height"]) == (3000, 4000)
    assert HOSTILE not in answer.text


def test_a_version_that_there_is_not_is_refused(fixed):
    answer = fixed.post("/try/predict?by=8", content=RED)
    assert answer.status_code == 409
    assert "no version" in answer.json()["detail"]


@pytest.mark.parametrize("by", ["../../../etc/passwd", "-1", "7; rm", "file:///etc", "٣", "7\n"])
def test_what_is_neither_a_version_nor_an_address_is_refused(fixed, by):
    answer = fixed.post("/try/predict", params={"by": by}, content=RED)
    assert answer.status_code == 422
    assert "no address of a server" in answer.json()["detail"]


def test_a_version_that_only_torch_computes_is_not_opened_in_the_pages(
    new_site, classifier_bundle, monkeypatch
):
    graph = classifier_bundle.manifest.graphs[0].model_copy(update={"format": "torchscript"})
    changes = {"graphs": (graph,), "chosen_graph": "torchscript"}
    manifest = classifier_bundle.manifest.model_copy(update=changes)
    bundle = Bundle(classifier_bundle.path, manifest)
    monkeypatch.setattr(Models, "bundle", lambda self, version: bundle)
    client = pages_of(new_site, monkeypatch, version_of(classifier_bundle))
    detail = client.post("/try/predict", content=RED).json()["detail"]
    assert "pixloop serve --version 7" in detail


def test_few_things_are_kept_the_latest_used():
    made, kept = [], Kept[str](2)
    for name in ("a", "b", "a", "c", "a", "b"):
        kept.get(name, lambda name=name: made.append(name) or name)
    assert made == ["a", "b", "c", "b"]


# ---- servers


def test_a_server_is_asked_by_its_address_and_named(fixed, monkeypatch):
    found = Prediction("red", 0.4, {"red": 0.4, "blue": 0.6}, Decision.REFER)
    monkeypatch.setattr(Client, "predict_each", lambda self, pictures: iter([found]))
    monkeypatch.setattr(Client, "ping", lambda self: "elsewhere:4")
    answer = fixed.post("/try/predict?by=https://models.example/a", content=RED).json()
    assert answer["model"] == "elsewhere:4"
    assert answer["answer"]["label"] == "red"
    assert answer["threshold"] == {}
    assert answer["version"] == ""


def test_a_server_of_this_projects_version_has_its_threshold(fixed, monkeypatch):
    found = Prediction("red", 0.4, {"red": 0.4}, Decision.REFER)
    monkeypatch.setattr(Client, "predict_each", lambda self, pictures: iter([found]))
    monkeypatch.setattr(Client, "ping", lambda self: "colours:7")
    answer = fixed.post("/try/predict?by=server", content=RED).json()
    assert answer["version"] == "7"
    assert set(answer["threshold"]) == {"red"}


def test_what_a_server_cannot_read_is_said_of_the_picture(fixed, monkeypatch):
    error = ImageError("broken " + "x" * 10_000)
    monkeypatch.setattr(Client, "predict_each", lambda self, pictures: iter([error]))
    answer = fixed.post("/try/predict?by=server", content=RED)
    assert answer.status_code == 422
    assert len(answer.json()["detail"]) < 600


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_a_stranger_that_answers_nonsense_is_told_from_a_pixloop_server(fixed, wrong, monkeypatch):
    for label in ("red", ["red"]):
        found = Prediction(label, wrong if label == "red" else 0.5, {}, Decision.ACCEPT)
        monkeypatch.setattr(Client, "predict_each", lambda self, pictures, f=found: iter([f]))
        monkeypatch.setattr(Client, "ping", lambda self: "x")
        answer = fixed.post("/try/predict?by=http://127.0.0.1:9", content=RED)
        assert answer.status_code == 409
        assert "pixloop server" in answer.json()["detail"]


@pytest.mark.parametrize(
    "text",
    ["http://", "http:8080", "https://a b/", "http://a:99999", "http://a/?q=1", "http://a/#x",
     "http://me:secret@a/", "http://[::1", "http://a\x00b", "https://" + "a" * 3000],
)  # fmt: skip
def test_what_is_no_address_is_refused_in_words(fixed, text):
    answer = fixed.post("/try/predict", params={"by": text}, content=RED)
    assert answer.status_code == 422
    assert "secret" not in answer.text


def test_only_addresses_of_the_web_are_checked_through():
    with pytest.raises(ConfigError):
        addresses.checked_address("ftp://a")


# ---- requests to copy

NAMES = [
    "cat.jpg",
    "a b'c\"$(touch x)`id`.jpg",
    "-",
    "-d",
    "@x",
    "new\nline\x1b[31m.jpg",
    "\u202egpj",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_request_names_the_file_whatever_its_name_is(name):
    command = addresses.curl("http://127.0.0.1:8080", name, "image/png")
    assert all(c.isprintable() or c == "\n" for c in command)
    words = command.replace("curl ", "printf '%s\\0' ", 1)
    run = subprocess.run(["bash", "-c", words], capture_output=True, check=True)
    parts = run.stdout.decode().split("\0")
    assert parts[0] == "http://127.0.0.1:8080/invocations"
    assert parts[4].lstrip("@").removeprefix("./") == name.lstrip("@")
    program = addresses.python("http://127.0.0.1:8080", name, "image/png")
    compile(program, "request", "exec")
    assert repr(addresses.file_name(name)) in program


def test_requests_are_shown_as_text_for_the_address_in_use(new_client):
    asked = {"by": "https://models.example/x", "name": HOSTILE, "type": "text/html"}
    part = new_client.get("/try/request", params=asked).text
    assert "https://models.example/x/invocations" in part
    assert "application/octet-stream" in part
    assert "text/html" not in part
    assert HOSTILE not in part
    assert "no address of a server" in new_client.get("/try/request?by=http://").text
    assert "--version 3" in new_client.get("/try/request?by=3").text


def test_no_request_is_shown_to_an_address_that_nobody_knows(new_site, monkeypatch):
    client = client_of(Site(new_site.folder, overrides=["serving.port=0"]))
    for part in ("/try", "/try/request?by=3", "/try/request?by=server"):
        text = client.get(part).text
        assert "/invocations" not in text, part
        assert "pixloop serve --port 8080" in text, part
    assert "--port 8080 --version 3" in client.get("/try/request?by=3").text
    # Another server's address is known, and so is one that a page has started.
    assert "https://a/invocations" in client.get("/try/request?by=https://a").text
    known = SimpleNamespace(url="http://127.0.0.1:4711")
    monkeypatch.setattr(tryout, "read_endpoint", lambda site: known)
    text = client.get("/try/request?by=3").text
    assert "http://127.0.0.1:4711/invocations" in text
    assert "--port 8080" not in text


# ---- this is wrong


def test_a_wrong_answer_is_asked_about_in_review(fixed, new_site):
    content = colours()[0]
    answer = fixed.post("/try/predict?by=7", content=content).json()["answer"]
    said = min(answer["probabilities"], key=answer["probabilities"].get)
    for _ in range(2):  # twice is as good as once
        found = fixed.post("/try/wrong", params={"by": "7", "said": said}, content=content).json()
        assert found["status"] == "asked"
    sha256 = hashlib.sha256(content).hexdigest()
    assert found["review"] == f"/review?picture={sha256}"
    (item,) = new_site.project.review.items("asked")
    assert item.sha256 == sha256
    assert item.drawn == "chosen"
    assert item.model == "colours:7"
    assert item.origin == {"reported": "try", "said": said}
    (reason,) = item.reasons
    assert (reason.kind, reason.weight) == ("reported", 1.0)
    assert reason.detail == f"should be {said}"
    assert item.answer == answer
    assert new_site.project.review.picture(sha256) == content


def test_a_picture_that_waits_already_is_asked_with_what_was_said(fixed, new_site):
    content, queue = colours()[0], new_site.project.review
    answer = fixed.post("/try/predict", content=content).json()["answer"]
    unsure = replace(report_candidate(content, "", answer, "colours:7"), origin={"event": "e:0"})
    queue.offer([replace(unsure, reasons=(Reason("unsure", "0.5", 0.5),))])
    others = [name for name in answer["probabilities"] if name != answer["label"]]
    for said in others[:2]:  # the last word counts
        fixed.post("/try/wrong", params={"said": said}, content=content)
        (item,) = queue.items("asked")
        assert item.origin == {"event": "e:0", "reported": "try", "said": said}
    assert {reason.kind for reason in item.reasons} == {"reported", "unsure"}


def test_an_answer_of_a_person_is_not_undone_by_a_report(fixed, new_site):
    content = colours()[0]
    answer = fixed.post("/try/predict", content=content).json()["answer"]
    said = min(answer["probabilities"], key=answer["probabilities"].get)
    fixed.post("/try/wrong", params={"said": said}, content=content)
    new_site.project.review.mark(hashlib.sha256(content).hexdigest(), "answered")
    found = fixed.post("/try/wrong", params={"said": said}, content=content).json()
    assert found["status"] == "answered"
    assert new_site.project.review.counts()["asked"] == 0


@pytest.mark.parametrize("said", ["", "../..", HOSTILE, "x" * 5000])
def test_only_classes_that_there_are_can_be_right(fixed, new_site, said):
    answer = fixed.post("/try/wrong", params={"said": said}, content=colours()[0])
    assert answer.status_code == 409
    assert len(answer.text) < 500
    assert not list(new_site.project.review.items())


def test_the_answer_itself_cannot_be_what_is_right_instead(fixed):
    label = fixed.post("/try/predict", content=colours()[0]).json()["answer"]["label"]
    answer = fixed.post("/try/wrong", params={"said": label}, content=colours()[0])
    assert answer.status_code == 409


def test_what_is_no_picture_does_not_get_into_review(fixed, new_site):
    assert fixed.post("/try/wrong?said=red", content=b"hello").status_code in (409, 422)
    assert not list(new_site.project.review.items())


def test_wrong_boxes_are_drawn_in_review(boxed):
    content = scenes()[0]
    assert boxed.post("/try/wrong?said=red", content=content).status_code == 409
    assert boxed.post("/try/wrong", content=content).json()["status"] == "asked"


def test_an_answer_of_another_task_is_not_for_this_projects_people(boxed, monkeypatch):
    found = Prediction("red", 0.4, {"red": 1.0}, Decision.REFER)
    monkeypatch.setattr(Client, "predict_each", lambda self, pictures: iter([found]))
    monkeypatch.setattr(Client, "ping", lambda self: "x")
    answer = boxed.post("/try/wrong?by=http://127.0.0.1:9", content=RED)
    assert answer.status_code == 409
    assert "task" in answer.json()["detail"]


def test_nothing_is_done_for_a_page_of_another_site(fixed):
    for path in ("predict", "explain", "wrong"):
        headers = {"Origin": "https://evil.example"}
        assert fixed.post(f"/try/{path}", content=RED, headers=headers).status_code == 403


# ---- why


def test_a_version_without_its_network_cannot_be_explained(fixed):
    found = fixed.get("/try/explaining?by=7").json()
    assert "TorchScript" in found["why_not"]
    assert not found["checked"]
    answer = fixed.post("/try/explain?by=7", content=RED)
    assert answer.status_code == 409
    assert "TorchScript" in answer.json()["detail"]
    assert "no version" in fixed.get("/try/explaining?by=../x").json()["why_not"]


WORKER = """
import json, sys, time
def tell(**what):
    print(json.dumps(what), flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    picture = open(asked["picture"], "rb").read()
    if picture == b"die":
        sys.exit("out of memory")
    if picture == b"hang":
        time.sleep(60)
    if picture == b"bad":
        tell(id=asked["id"], error="no method passed")
        continue
    tell(id="of somebody else", error="x")
    drawing = asked["picture"] + ".png"
    open(drawing, "wb").write(b"PNG")
    tell(id=asked["id"], found={"drawing": drawing, "label": "red", "score": 0.9})
    tell(id=asked["id"], done={"method": "Grad-CAM", "pictures": 3})
"""


@pytest.fixture
def explanations(tmp_path, monkeypatch):
    """Asks a process that only pretends."""
    real = subprocess.Popen

    def start(command, **options):
        return real([sys.executable, "-c", WORKER], **options)

    monkeypatch.setattr(tryout_explanations, "subprocess", SimpleNamespace(Popen=start, PIPE=-1))
    monkeypatch.setattr(tryout_explanations, "_BEAT_S", 0.05)
    made = tryout_explanations.Explanations(tmp_path, tmp_path / "cache", most_s=30.0)
    yield made
    made.close()


def _told(explanations, bundle, content):
    return [t for t in explanations.explain(bundle, content) if "state" not in t]


def test_an_explanation_comes_with_its_method(explanations, classifier_bundle, tmp_path):
    drawn, done = _told(explanations, classifier_bundle, b"x")
    assert drawn == {"drawing": "UE5H", "label": "red", "score": 0.9}
    assert done == {"done": {"method": "Grad-CAM", "pictures": 3}}
    assert not list(tmp_path.glob(".explaining-*"))


def test_a_failure_is_said_in_words_and_the_next_one_is_explained(explanations, classifier_bundle):
    assert _told(explanations, classifier_bundle, b"bad") == [{"error": "No method passed."}]
    (died,) = _told(explanations, classifier_bundle, b"die")
    assert "out of memory" in died["error"]
    assert len(_told(explanations, classifier_bundle, b"x")) == 2


def test_what_takes_too_long_is_given_up(explanations, classifier_bundle):
    explanations._most_s = 0.2
    (late,) = _told(explanations, classifier_bundle, b"hang")
    assert "longer" in late["error"]
    explanations._most_s = 30.0
    assert len(_told(explanations, classifier_bundle, b"x")) == 2


def test_a_second_one_waits_for_the_first(explanations, classifier_bundle):
    first = explanations.explain(classifier_bundle, b"x")
    next(first)
    second = explanations.explain(classifier_bundle, b"x")
    assert next(second)["state"] == "waiting"
    first.close()  # whoever asked has gone
    assert [t for t in second if "done" in t]


def test_an_explanation_is_a_line_of_json_each(fixed, monkeypatch):
    told = [{"state": "working", "seconds": 1}, {"error": "x"}]
    monkeypatch.setattr(tryout_explanations.Explanations, "explain", lambda *a: iter(told))
    monkeypatch.setattr(tryout, "why_not", lambda bundle: "")
    answer = fixed.post("/try/explain", content=RED)
    assert [json.loads(line) for line in answer.text.splitlines()] == told
