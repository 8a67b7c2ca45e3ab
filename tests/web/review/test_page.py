import hashlib
import io
import json
from datetime import UTC, datetime

import pytest
from PIL import Image
from tests.annotation.waiting import answer, candidate
from tests.web.conftest import client_of
from tests.web.review.queued import ask, pretend_model
from typer.testing import CliRunner

from pixloop.annotation.answering import Answering
from pixloop.annotation.items import Reason
from pixloop.annotation.label_studio.label_studio import LabelStudioStatus
from pixloop.cli.app import app
from pixloop.config_file import load_config
from pixloop.errors import PixloopError
from pixloop.web.review.items import reasons_in_words
from pixloop.web.review.labelling import MAX_BODY_BYTES
from pixloop.web.site import Site

HOSTILE = "<img src=x onerror=alert(1)>'\"&"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture(autouse=True)
def model(monkeypatch):
    return pretend_model(monkeypatch)


def say(client, sha256, seen="asked", **said):
    return client.post("/review/answers", json={"sha256": sha256, "seen": seen, **said})


def asked(client, **query):
    return client.get("/review/asked", params=query).json()


def encoded(image, form, **options):
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def offer(site, content, **changes):
    sha256 = hashlib.sha256(content).hexdigest()
    site.project.review.offer([candidate(0, sha256=sha256, picture=content, **changes)])
    return sha256


# ---- the gallery


def test_a_new_project_says_what_makes_pictures_appear(new_client):
    page = new_client.get("/review").text
    assert "Nothing is asked, and nothing waits" in page
    assert "pixloop review collect" in page


def test_the_gallery_says_why_each_is_asked(new_client, new_site):
    ask(new_site, 2, waiting=3)
    page = new_client.get("/review").text
    assert "2 pictures are asked" in page
    assert "50 % is below 93 %: unsure 0" in page
    assert page.count("/review/label?picture=") == 2
    assert new_client.get("/review?show=waiting").text.count("/review/label?picture=") == 3


def test_the_gallery_is_filtered_by_reason_and_paged(new_client, new_site):
    queue = new_site.project.review
    queue.offer(candidate(n, weight=n / 100) for n in range(50))
    queue.offer([candidate(50, kind="reported", weight=1.0)])
    first, second = (new_client.get(f"/review?show=waiting&page={n}").text for n in (1, 2))
    assert (first.count("?picture="), second.count("?picture=")) == (48, 3)
    assert first.index("Reported as wrong</b>") < first.index("unsure 49")
    assert "unsure 0<" in second
    assert new_client.get("/review?show=waiting&why=reported").text.count("?picture=") == 1
    assert "None has this reason" in new_client.get("/review?show=waiting&why=drifted").text


@pytest.mark.parametrize(
    "query", ["show=secret", "why=%27", "page=-1", "page=9999999", "page=٣", "page=99999", "show="]
)
def test_what_an_address_names_wrongly_is_not_an_error(new_client, new_site, query):
    ask(new_site, 1)
    assert new_client.get(f"/review?{query}").status_code == 200


def test_what_people_answered_is_shown_beside_what_the_model_said(new_client, new_site):
    (sha256,) = ask(new_site, 1)
    say(new_client, sha256, label="dog", annotator="anna")
    page = new_client.get("/review?show=answered").text
    assert 'class="review-said other">dog' in page
    assert "by anna" in page
    assert "model: cat 50 %" in page


def test_hostile_names_show_as_text(new_client, new_site, monkeypatch):
    pretend_model(monkeypatch, classes=(HOSTILE, "dog"))
    queue = new_site.project.review
    made = candidate(
        1,
        reasons=(Reason("reported", HOSTILE, 1.0), Reason(HOSTILE, HOSTILE, 0.1)),
        answer=answer(HOSTILE, **{HOSTILE: 0.6, "dog": 0.4}),
        origin={"said": HOSTILE, "label": HOSTILE, "reported": HOSTILE},
        model=HOSTILE,
    )
    queue.offer([made])
    queue.choose(1, 0.0)
    pages = [new_client.get("/review"), new_client.get(f"/review/label?picture={made.sha256}")]
    assert say(new_client, made.sha256, label=HOSTILE, annotator=HOSTILE).json()["kept"]
    pages.append(new_client.get("/review?show=answered"))
    for page in pages:
        assert page.status_code == 200
        assert "<img src=x" not in page.text
    assert asked(new_client)["classes"][0] == HOSTILE


@pytest.mark.parametrize(
    "made_up",
    [
        {},
        {"boxes": 5},
        {"boxes": [{"label": "cat"}, {"xyxy": [0, 0, "a", 1]}, 3], "width": 9, "height": 9},
        {"label": "cat", "score": "high", "probabilities": {"cat": None}},
        {"label": ["cat"], "score": 1e400, "probabilities": []},
    ],
)
def test_an_answer_that_somebody_made_up_breaks_no_page(new_client, new_site, made_up):
    new_site.project.review.offer([candidate(1, answer=made_up)])
    new_site.project.review.choose(1, 0.0)
    assert new_client.get("/review").status_code == 200
    assert len(asked(new_client)["items"]) == 1


def test_a_threshold_is_named_only_for_the_version_that_has_it(new_site, model):
    queue = new_site.project.review
    queue.offer([candidate(1), candidate(2, model="pets:0")])
    details = {
        item.model: reasons_in_words(item, model)[0]["detail"] for item in queue.items("waiting")
    }
    assert details == {"pets:1": "50 % is below 93 %: unsure 1", "pets:0": "unsure 2"}


def test_a_link_to_a_picture_opens_it(new_client, new_site):
    (sha256,) = ask(new_site, 1)
    answered = new_client.get(f"/review?picture={sha256}")
    assert answered.status_code == 200
    assert f'data-picture="{sha256}"' in answered.text


@pytest.mark.parametrize("name", ["0" * 64, "../x", "a&b=<script>", ""])
def test_a_link_to_no_picture_says_so(new_client, new_site, name):
    answered = new_client.get("/review", params={"picture": name})
    assert answered.status_code in (200, 404)
    assert "<script>" not in answered.text.replace("<script src", "")


# ---- pictures


def test_a_thumbnail_is_small_upright_and_kept(new_client, new_site):
    image = Image.new("RGB", (800, 400), "red")
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    sha256 = offer(new_site, encoded(image, "JPEG", exif=exif))
    answered = new_client.get(f"/review/pictures/{sha256}?size=160")
    assert Image.open(io.BytesIO(answered.content)).size == (80, 160)
    assert "immutable" in answered.headers["cache-control"]
    assert answered.headers["content-type"] == "image/jpeg"


@pytest.mark.parametrize("form", ["BMP", "TIFF", "WEBP"])
def test_what_browsers_may_not_show_is_encoded_again(new_client, new_site, form):
    sha256 = offer(new_site, encoded(Image.new("RGB", (20, 10), "blue"), form))
    answered = new_client.get(f"/review/pictures/{sha256}")
    assert answered.headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(answered.content)).size == (20, 10)


@pytest.mark.parametrize("name", ["0" * 64, "..%2freview.db", "..%2f..%2fetc%2fpasswd", "A" * 64])
@pytest.mark.parametrize("size", ["", "?size=160"])
def test_pictures_are_reached_by_their_hash_only(new_client, new_site, name, size):
    ask(new_site, 1)
    assert new_client.get(f"/review/pictures/{name}{size}").status_code == 404


@pytest.mark.parametrize("size", ["0", "161", "9999999", "160.0", "-160", "x"])
def test_only_a_few_sizes_are_made(new_client, new_site, size):
    (sha256,) = ask(new_site, 1)
    assert new_client.get(f"/review/pictures/{sha256}?size={size}").status_code == 422


def test_a_picture_that_cannot_be_decoded_is_said_to_be(new_client, new_site):
    sha256 = offer(new_site, b"BM and no more")
    for size in ("", "?size=160"):
        assert new_client.get(f"/review/pictures/{sha256}{size}").status_code == 422


# ---- answers


def test_an_answer_is_kept_and_taken_back(new_client, new_site):
    first, second, third = ask(new_site, 3)
    assert say(new_client, first, label="dog").json()["counts"]["answered"] == 1
    assert say(new_client, second, skip=True).json()["counts"]["skipped"] == 1
    assert [item["sha256"] for item in asked(new_client)["items"]] == [third]
    undone = new_client.post("/review/undo", json={}).json()
    assert (undone["item"]["sha256"], undone["counts"]["skipped"]) == (second, 0)


def test_undo_goes_back_several_answers_and_outlives_the_server(new_client, new_site):
    names = ask(new_site, 3)
    for sha256 in names:
        say(new_client, sha256, label="dog", annotator="anna")
    later = client_of(Site(new_site.folder))
    assert asked(later, annotator="anna")["can_undo"]
    back = [
        later.post("/review/undo", json={"annotator": "anna"}).json()["item"]["sha256"]
        for _ in names
    ]
    assert back == names[::-1]
    assert not asked(later, annotator="anna")["can_undo"]
    assert later.post("/review/undo", json={"annotator": "anna"}).status_code == 409
    assert [item["sha256"] for item in asked(later)["items"]] == names


def test_each_takes_their_own_last_answer_back(new_client, new_site):
    first, second = ask(new_site, 2)
    say(new_client, first, label="dog", annotator="anna")
    say(new_client, second, label="dog", annotator="ben")
    undone = new_client.post("/review/undo", json={"annotator": "anna"}).json()
    assert undone["item"]["sha256"] == first


def test_undo_takes_nobody_elses_answer_back(new_client, new_site):
    (sha256,) = ask(new_site, 1)
    say(new_client, sha256, label="dog", annotator="anna")
    assert new_client.post("/review/undo", json={"annotator": "ben"}).status_code == 409
    other = {"annotator": "ben", "sha256": sha256}
    assert new_client.post("/review/undo", json=other).status_code == 409
    assert new_site.project.review.counts()["answered"] == 1


def test_who_answered_meanwhile_is_said_and_nothing_is_lost(new_client, new_site):
    (sha256,) = ask(new_site, 1)
    assert say(new_client, sha256, label="dog", annotator="anna").json()["kept"]
    late = say(new_client, sha256, label="cat", annotator="ben").json()
    assert (late["kept"], late["agreed"]) == (False, False)
    assert late["conflict"] == "Meanwhile anna answered: dog."
    assert [a.label for a in new_site.project.annotations.read()] == ["dog"]
    assert say(new_client, sha256, late["item"]["status"], label="cat", annotator="ben").json()[
        "kept"
    ]
    assert {(a.annotator, a.label) for a in new_site.project.annotations.read()} == {
        ("anna", "dog"),
        ("ben", "cat"),
    }


def test_who_says_the_same_meanwhile_is_not_asked_again(new_client, new_site):
    (sha256,) = ask(new_site, 1)
    say(new_client, sha256, label="dog", annotator="anna")
    late = say(new_client, sha256, label="dog", annotator="ben").json()
    assert (late["kept"], late["agreed"]) == (False, True)


def test_what_one_said_oneself_can_be_corrected(new_client, new_site):
    (sha256,) = ask(new_site, 1)
    say(new_client, sha256, label="dog")
    assert asked(new_client)["items"] == []
    shown = new_client.get(f"/review/items/{sha256}").json()
    assert (shown["status"], shown["mine"]["label"]) == ("answered", "dog")
    assert say(new_client, sha256, "answered", label="cat").json()["kept"]
    assert [a.label for a in new_site.project.annotations.read()] == ["cat"]


def test_what_takes_part_in_the_draw_is_not_answered_before_its_lot(new_client, new_site):
    new_site.project.review.offer([candidate(1, ticket=0.4), candidate(2, kind="reported")])
    drawn, reported = (candidate(n).sha256 for n in (1, 2))
    refused = say(new_client, drawn, "waiting", label="cat")
    assert (refused.status_code, "random draw" in refused.text) == (409, True)
    assert new_client.get(f"/review/items/{drawn}").json()["barred"]
    assert say(new_client, reported, "waiting", label="cat").json()["kept"]


def test_what_was_said_of_a_picture_is_preselected(new_client, new_site):
    ask(new_site, 1, origin={"said": "dog"})
    assert asked(new_client)["items"][0]["said"] == "dog"


def test_who_answers_is_the_one_that_the_command_names(new_site):
    named = Site(new_site.folder, annotator="carol")
    (sha256,) = ask(named, 1)
    assert 'data-annotator="carol"' in client_of(named).get("/review/label").text
    say(client_of(named), sha256, label="dog")
    assert named.project.annotations.read()[0].annotator == "carol"


def test_boxes_are_kept(new_client, new_site, monkeypatch):
    pretend_model(monkeypatch, "detection")
    boxes = [{"label": "cat", "xyxy": [1, 2, 8, 9], "score": 0.4, "decision": "refer"}]
    (sha256,) = ask(new_site, 1, answer={"boxes": boxes, "width": 16, "height": 12})
    assert asked(new_client)["items"][0]["answer"]["boxes"] == boxes
    drawn = [{"label": "dog", "xyxy": [0, 0, 5, 5]}]
    assert say(new_client, sha256, boxes=drawn).json()["item"]["mine"]["boxes"][0]["label"] == "dog"


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ({"label": "wolf"}, 409),
        ({"boxes": []}, 409),
        ({}, 409),
        ({"label": "cat", "more": 1}, 400),
        ({"boxes": [{"label": "cat", "xyxy": ["a"]}]}, 400),
        ({"label": "cat", "sha256": "../../x"}, 400),
        ({"label": "cat", "seen": "never"}, 400),
        ({"label": "cat", "annotator": "x" * 101}, 400),
    ],
)
def test_what_is_no_answer_is_said_to_be(new_client, new_site, said, status):
    (sha256,) = ask(new_site, 1)
    refused = new_client.post("/review/answers", json={"sha256": sha256, "seen": "asked"} | said)
    assert refused.status_code == status
    assert 'role="alert"' in refused.text
    assert new_site.project.review.counts()["asked"] == 1


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"X-CSRF-Token": "guessed"}, 403),
        ({"Host": "evil.example:8765", "Origin": "http://evil.example:8765"}, 403),
        ({"Content-Type": "text/plain"}, 415),
    ],
)
def test_other_pages_cannot_answer(new_client, new_site, headers, status):
    (sha256,) = ask(new_site, 1)
    body = json.dumps({"sha256": sha256, "seen": "asked", "label": "dog"})
    given = {"Content-Type": "application/json", **headers}
    for path in ("/review/answers", "/review/undo"):
        assert new_client.post(path, content=body, headers=given).status_code == status
    assert new_site.project.review.counts()["asked"] == 1


def test_a_name_that_is_not_ours_is_shown_no_picture(new_client, new_site):
    (sha256,) = ask(new_site, 1)
    for path in ("/review/asked", f"/review/pictures/{sha256}"):
        assert new_client.get(path, headers={"Host": "evil.example"}).status_code == 403


def test_answers_have_a_bound(new_client):
    body = b" " * (MAX_BODY_BYTES + 1)
    given = {"Content-Type": "application/json"}
    assert new_client.post("/review/answers", content=body, headers=given).status_code == 413


# ---- asking more


def test_the_next_are_asked(new_client, new_site):
    new_site.project.review.offer(candidate(n) for n in range(4))
    said = new_client.post("/review/next", content="budget=3", headers=FORM)
    assert "3 are asked." in said.text
    assert new_site.project.review.counts() == {
        "waiting": 1,
        "asked": 3,
        "answered": 0,
        "skipped": 0,
    }


@pytest.mark.parametrize("budget", ["", "0", "-1", "1001", "1e3", "٣", "3;4", "9" * 50])
def test_only_a_sensible_number_is_asked(new_client, new_site, budget):
    new_site.project.review.offer([candidate(1)])
    refused = new_client.post("/review/next", content=f"budget={budget}", headers=FORM)
    assert refused.status_code == 422
    assert new_site.project.review.counts()["asked"] == 0


class _Jobs:
    """Notes what would be started."""

    def __init__(self):
        self.started = []

    def start(self, kind, command, about=""):
        self.started.append((kind, list(command)))

    def list(self, kind=None):
        return []


def test_looking_for_more_is_a_job(new_client, new_site, monkeypatch):
    monkeypatch.setattr(new_site, "jobs", _Jobs())
    assert new_client.post("/review/collect").status_code == 200
    assert new_site.jobs.started == [("collect", ["review", "collect"])]


def test_without_label_studio_the_command_is_shown_and_nothing_exchanged(
    new_client, new_site, monkeypatch
):
    monkeypatch.setattr(new_site, "jobs", _Jobs())
    assert "pixloop annotate up" in new_client.get("/review/studio").text
    assert new_client.post("/review/exchange").status_code == 409
    assert new_site.jobs.started == []


def test_a_label_studio_that_does_not_answer_is_said_to(new_client, new_site, monkeypatch):
    file = new_site.folder / "pixloop.yaml"
    text = file.read_text().replace(
        "  # label_studio: null ", "  label_studio: http://127.0.0.1:9 "
    )
    file.write_text(text)
    assert load_config(file).annotation.label_studio == "http://127.0.0.1:9"
    monkeypatch.setattr(new_site, "jobs", _Jobs())
    monkeypatch.setenv("LABEL_STUDIO_TOKEN", "x")
    part = new_client.get("/review/studio")
    assert part.status_code == 200
    assert 'class="notice warn"' in part.text
    assert new_client.post("/review/exchange").status_code == 200
    assert new_site.jobs.started == [("annotate", ["annotate", "sync"])]


class _Studio:
    """A Label Studio that runs."""

    is_connected = True

    def __init__(self, found):
        self._found = found

    def status(self):
        if isinstance(self._found, Exception):
            raise self._found
        return self._found


@pytest.mark.parametrize(
    ("address", "linked"),
    [("http://127.0.0.1:8081/projects/1/data", True), ("javascript:alert(1)", False)],
)
def test_a_label_studio_is_linked_to_by_its_address(
    new_client, new_site, monkeypatch, address, linked
):
    status = LabelStudioStatus(url="http://127.0.0.1:8081", project_url=address)
    monkeypatch.setattr(type(new_site.project), "label_studio", _Studio(status))
    part = new_client.get("/review/studio").text
    assert (f'href="{address}"' in part) == linked
    assert ("/review/exchange" in part) == linked


def test_what_label_studio_says_is_text(new_client, new_site, monkeypatch):
    studio = _Studio(PixloopError(HOSTILE))
    monkeypatch.setattr(type(new_site.project), "label_studio", studio)
    part = new_client.get("/review/studio")
    assert part.status_code == 200
    assert "<img src=x" not in part.text


def test_the_command_opens_this_page(new_site, monkeypatch):
    served, opened = [], []

    def serve(folder, ready, **options):
        served.append((folder, options))
        ready("http://127.0.0.1:9/review")

    monkeypatch.setattr("pixloop.web.server.serve_pages", serve)
    monkeypatch.setattr("webbrowser.open", lambda address: bool(opened.append(address)) or True)
    options = ["--port", "9", "--annotator", "anna", "-C", str(new_site.folder)]
    command = ["review", "label", "--web", *options]
    assert "http://127.0.0.1:9/review" in CliRunner().invoke(app, command).stdout
    assert CliRunner().invoke(app, [*command, "--no-browser"]).exit_code == 0
    expected = {"port": 9, "path": "/review", "annotator": "anna"}
    assert served == [(new_site.folder, expected)] * 2
    assert opened == ["http://127.0.0.1:9/review"]


# ---- what a run has not seen


def test_answers_count_until_a_run_takes_them(new_client, new_site):
    names = ask(new_site, 3)
    say(new_client, names[0], label="dog")
    say(new_client, names[1], skip=True)
    assert "1 answer is not yet learned from" in new_client.get("/review/summary").text
    run = new_site.state / "runs" / "r1"
    run.mkdir(parents=True)
    record = {
        "id": "r1",
        "status": "done",
        "pid": 1,
        "started": datetime.now(UTC).isoformat(),
        "steps": {"Prepare": {"status": "done"}},
    }
    (run / "run.json").write_text(json.dumps(record))
    assert "is not yet learned from" not in new_client.get("/review/summary").text


def test_answers_from_elsewhere_are_seen(new_client, new_site, model):
    first, second, _ = ask(new_site, 3)
    say(new_client, first, label="dog")
    project = new_site.project
    elsewhere = Answering(
        project.review, project.annotations, model.task, model.classes, "terminal"
    )
    elsewhere.label(second, "fox")
    assert new_client.get(f"/review/items/{second}").json()["answers"] == [
        {"by": "terminal", "said": "fox"}
    ]
    assert len(asked(new_client)["items"]) == 1
