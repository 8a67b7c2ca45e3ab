import json
import subprocess
import sys
import time

import pytest
from tests.web.conftest import client_of
from tests.web.models.versions import made, register_second

from pixloop.errors import RegistryError
from pixloop.web.jobs import Job
from pixloop.web.models import comparison as models_comparison
from pixloop.web.models.actions import refuse_stale
from pixloop.web.models.page import PAGE_LENGTH
from pixloop.web.reports import SANDBOX
from pixloop.web.site import Site

HOSTILE = ["%3Cscript%3E", "1%20OR%201", "..%2f..%2fx", "%2e%2e%2f%2e%2e%2fx", "1'", "-1", "٣"]


@pytest.fixture(autouse=True)
def cold(monkeypatch):
    """Pages have MLflow imported ahead; tests that do not change anything do without."""
    monkeypatch.setattr("pixloop.web.models.page.warm", lambda site: None)


@pytest.fixture
def many(new_site, monkeypatch):
    """200 versions, of which the 3rd is the champion."""
    versions = tuple(made(n, champion=n == 3) for n in range(200, 0, -1))
    monkeypatch.setattr(Site, "versions", lambda self: versions)
    return client_of(new_site)


@pytest.fixture
def two(site):
    """A second version beside the first, which is the champion; neither is served."""
    register_second(site.project)
    return Site(site.folder, overrides=["serving.port=1"])  # where nothing answers


@pytest.fixture
def asks(two):
    """Asks ``two``."""
    return client_of(two)


def champion(site):
    return [each.version for each in site.project.registry.list() if each.champion]


def sleeper(folder):
    (folder / "log.txt").write_text("")
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])


class TestList:
    def test_pages_of_fifty_the_newest_first(self, many):
        text = many.get("/models/list").text
        assert text.count("data-compare=") == PAGE_LENGTH
        assert "Version 200" in text
        assert "Version 150<" not in text
        assert "Version 150<" in many.get("/models/list?page=2").text

    def test_pages_that_there_are_not(self, many):
        for page in ("0", "-1", "x", "9" * 5000, "99", "%00", "٢"):
            text = many.get(f"/models/list?page={page}").text
            assert text.count("data-compare=") == PAGE_LENGTH, page

    def test_200_versions_are_fast(self, many):
        many.get("/models/list")
        start = time.perf_counter()
        many.get("/models/list?page=2")
        assert time.perf_counter() - start < 0.5

    def test_the_page_does_not_wait_for_the_registry(self, new_client, monkeypatch):
        def fail(self):
            raise AssertionError("the registry was asked")

        monkeypatch.setattr(Site, "versions", fail)
        assert "Opening the registry" in new_client.get("/models").text

    def test_what_a_version_is(self, new_site, monkeypatch):
        versions = (
            made(4),
            made(3, champion=True, status="approved"),
            made(2, status="rejected", reason="<b>wrong</b> on snow"),
            made(1, status="approved"),
        )
        monkeypatch.setattr(Site, "versions", lambda self: versions)
        text = client_of(new_site).get("/models/list").text
        for word in ("pending", "champion", "rejected", "approved"):
            assert f"</i>{word}" in text
        assert "&lt;b&gt;wrong&lt;/b&gt; on snow" in text
        shadow = client_of(Site(new_site.folder, overrides=["promotion.shadow=true"]))
        assert "challenger" in shadow.get("/models/list").text

    def test_without_versions_it_says_how_to_make_one(self, new_client):
        text = new_client.get("/models/list").text
        assert "pixloop run" in text
        assert 'href="/runs/new"' in text
        for part in ("/models/top", "/models/endpoint", "/models/rollback", "/models/compare"):
            assert new_client.get(part).status_code == 200
        assert new_client.get("/models/1").status_code == 404


class TestVersion:
    def test_it_says_what_is_known(self, client, site):
        text = client.get("/models/1").text
        run = site.runs()[0].id
        for said in (
            "Parity certificate",
            "chosen",
            "macro F1",
            f"/runs/{run}",
            "2 classes",
            "blue",
        ):
            assert said in text
        assert "pixloop deploy --on lambda --version 1 --from here" in text

    @pytest.mark.parametrize("name", HOSTILE)
    def test_names_that_are_none(self, many, name):
        for part in ("", "/report", "/card", "/actions", "/head"):
            answer = many.get(f"/models/{name}{part}")
            assert answer.status_code == 404
            assert "<script>" not in answer.text

    def test_pages_of_its_own_can_act_on_nothing(self, client):
        assert "allow-same-origin" not in SANDBOX
        for page in ("report", "card"):
            answer = client.get(f"/models/1/{page}")
            assert answer.headers["content-security-policy"] == SANDBOX
            assert answer.headers["content-type"].startswith("text/html")
            assert "<html" in answer.text

    def test_hostile_words_of_a_model_are_text(self, new_site, monkeypatch):
        evil = "<script>alert(1)</script>"
        lineage = {"model": evil, "weights": evil, "config": {evil: [evil]}, evil: {evil: evil}}
        version = made(1, lineage=lineage, metrics={evil: 1.0}, chosen_graph=evil)
        evaluation = {
            "classes": {evil: {"pictures": 1, "f1": 1.0}},
            "verdict": {
                "ship": evil,
                "sentences": [evil],
                "studies": [{"title": evil, "verdict": evil, "good": None}],
            },
        }
        monkeypatch.setattr(Site, "versions", lambda self: (version,))
        monkeypatch.setattr("pixloop.web.models.files.read", lambda site, version: evaluation)
        client = client_of(new_site)
        for path in ("/models/1", "/models/list", "/models/1/actions", "/models/1/head"):
            assert "<script>alert" not in client.get(path).text

    def test_without_its_files_the_registry_still_speaks(self, many):
        assert "not there any more" in many.get("/models/7").text
        assert many.get("/models/7/report").status_code in (404, 409)
        assert "not there any more" in many.get("/models/7/actions").text


class TestActions:
    def test_what_follows_is_said_before(self, asks):
        text = asks.get("/models/2/actions").text
        assert "Version 2 becomes the champion in place of 1" in text
        assert "No server answers on 127.0.0.1:1 now" in text
        assert "the champion stays version 1" in text
        assert "was not compared with today" in text or "not promoted" in text  # why not to promote
        own = asks.get("/models/1/actions").text
        assert "It is the champion already." in own
        assert own.count("<form") == 1  # to deploy it

    def test_approved_once_however_often_it_is_clicked(self, asks, two):
        for words in ("Version 2 is the champion now, in place of 1.", "the champion already"):
            answer = asks.post("/models/2/approve", data={"seen": "1"})
            assert answer.status_code == 204
            assert words in json.loads(answer.headers["HX-Trigger"])["pixloop:told"]
        assert champion(two) == ["2"]

    def test_a_page_of_before_changes_nothing(self, asks, two):
        for action in ("approve", "promote", "deploy", "reject"):
            for seen in ("", "7"):
                data = {"seen": seen, "reason": "wrong"}
                answer = asks.post(f"/models/2/{action}", data=data, headers={"HX-Request": "true"})
                assert answer.status_code == 409
                assert "Nothing was changed" in answer.text
        assert champion(two) == ["1"]
        assert two.project.registry.show("2").status == "pending"

    def test_rejected_with_its_reason(self, asks, two):
        data = {"seen": "1", "reason": "wrong <on> snow"}
        assert asks.post("/models/2/reject", data=data).status_code == 204
        assert two.project.registry.show("2").reason == "wrong <on> snow"
        assert asks.post("/models/2/reject", data=data).status_code == 204  # a second click
        assert "wrong &lt;on&gt; snow" in asks.get("/models/2/actions").text

    def test_a_rejection_says_why(self, asks, two):
        for reason in ("", "  ", "x" * 501):
            answer = asks.post("/models/2/reject", data={"seen": "1", "reason": reason})
            assert answer.status_code == 422
        assert two.project.registry.show("2").status == "pending"

    def test_the_champion_is_not_rejected(self, asks, two):
        answer = asks.post("/models/1/reject", data={"seen": "1", "reason": "x"})
        assert answer.status_code == 409
        assert champion(two) == ["1"]

    def test_what_is_not_shown_better_is_not_promoted(self, asks, two):
        answer = asks.post("/models/2/promote", data={"seen": "1"})
        assert answer.status_code == 409
        assert champion(two) == ["1"]

    def test_rolled_back_once(self, asks, two):
        assert "There was no champion before version 1" in asks.get("/models/rollback").text
        asks.post("/models/2/approve", data={"seen": "1"})
        assert "Version 1 becomes the champion again, in place of 2" in (
            asks.get("/models/rollback").text
        )
        assert asks.post("/models/rollback", data={"seen": "2"}).status_code == 204
        assert asks.post("/models/rollback", data={"seen": "2"}).status_code == 409
        assert champion(two) == ["1"]

    def test_versions_that_are_none(self, asks, two):
        for name in (*HOSTILE, "99"):
            assert asks.post(f"/models/{name}/approve", data={"seen": "1"}).status_code == 404
        assert champion(two) == ["1"]

    def test_no_reason_to_wait_is_left_unsaid(self, asks):
        assert "the first time takes a few seconds" in asks.get("/models/2/actions").text

    def test_actions_that_are_none(self, many):
        assert many.post("/models/2/delete", data={"seen": "3"}).status_code == 404
        assert many.get("/models/2/approve").status_code == 405

    def test_what_became_of_the_champion_is_said(self):
        with pytest.raises(RegistryError, match="version 4 became the champion in place of 3"):
            refuse_stale(made(4, champion=True), "3")
        with pytest.raises(RegistryError, match="taken away"):
            refuse_stale(None, "3")
        refuse_stale(None, "")
        refuse_stale(made(4, champion=True), "4")


class TestComparison:
    def test_metrics_side_by_side(self, new_site, monkeypatch):
        a = made(3, metrics={"accuracy": 0.9, "log_loss": 0.5, "f1_macro": 0.7})
        b = made(5, metrics={"accuracy": 0.92, "log_loss": 0.6, "f1_macro": 0.7})
        rows = {row.name: row for row in models_comparison.metric_rows(a, b)}
        assert rows["accuracy"].difference == "+0.0200"
        assert [rows[name].better for name in ("accuracy", "log loss", "macro F1")] == [
            True,
            False,
            None,
        ]
        monkeypatch.setattr(Site, "versions", lambda self: (b, a))
        text = client_of(new_site).get("/models/compare?a=3&b=5").text
        assert "+0.0200" in text
        assert "Version 5 against 3" in text

    @pytest.mark.parametrize(
        "asked", ["a=1&b=1", "a=1", "a=1&b=--data", "a=../x&b=1", "a=%3Cscript%3E&b=1"]
    )
    def test_what_cannot_be_compared(self, many, asked):
        for part in ("", "/pictures", "/page"):
            answer = many.get(f"/models/compare{part}?{asked}")
            assert answer.status_code == 404
            assert "<script>" not in answer.text
        assert many.post(f"/models/compare/pictures?{asked}").status_code == 404

    def test_on_the_same_pictures_is_a_command_that_is_started_once(self, many, monkeypatch):
        started = []
        monkeypatch.setattr(
            "pixloop.web.jobs.Jobs._spawn",
            lambda self, folder, command: started.append(tuple(command)) or sleeper(folder),
        )
        for _ in range(2):
            text = many.post("/models/compare/pictures?a=1&b=2").text
            assert "comparing" in text
        assert started == [("models", "compare", "1", "2", "--json")]
        assert "one runs at a time" in many.get("/models/compare/pictures?a=2&b=1").text
        many.post("/models/compare/stop?a=1&b=2")

    def test_its_verdict_is_shown_and_its_page_can_act_on_nothing(self, many, new_site):
        found = {
            "verdict": ["Version 2 is <b>better</b>."],
            "notes": [],
            "measures": {
                "accuracy": {
                    "champion": 0.9,
                    "challenger": 0.95,
                    "difference": 0.05,
                    "interval": [0.01, 0.09],
                    "better": True,
                }
            },
        }
        job = Job(
            id="x",
            kind="compare",
            command=("models", "compare", "1", "2", "--json"),
            started="2026-11-02T10:00:00+00:00",
            pid=1,
            born=0.0,
        )
        folder = new_site.state / "web" / "jobs" / job.id
        folder.mkdir(parents=True)
        (folder / "job.json").write_text(job.model_dump_json())
        (folder / "log.txt").write_text("scoring version 1: 3/3\n" + json.dumps(found, indent=2))
        (folder / "ended.json").write_text('{"code": 0}')
        page = models_comparison.page_of(new_site, "1", "2")
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text("<!doctype html><script>1</script>")
        text = many.get("/models/compare/pictures?a=1&b=2").text
        assert "Version 2 is &lt;b&gt;better&lt;/b&gt;." in text
        assert "+0.050 (+0.010 to +0.090)" in text
        assert "shown better" in text
        answer = many.get("/models/compare/page?a=1&b=2")
        assert answer.headers["content-security-policy"] == SANDBOX
