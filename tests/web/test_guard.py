import pytest
from starlette.testclient import TestClient
from tests.web.conftest import ORIGIN

from pixloop.web.app import make_app
from pixloop.web.rendering import PAGES
from pixloop.web.site import Site

SECURE = ("Content-Security-Policy", "X-Content-Type-Options", "Referrer-Policy", "Cache-Control")


@pytest.fixture
def guarded(new_site):
    """Asks as a stranger: without any header of the pages' own."""
    return TestClient(make_app(new_site), base_url=ORIGIN)


def own(site, **more):
    return {"Origin": ORIGIN, "X-CSRF-Token": site.csrf, **more}


def test_pages_load_nothing_from_elsewhere_and_are_not_framed(guarded):
    answer = guarded.get("/")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert all(name in answer.headers for name in SECURE)
    assert "https://" not in answer.text.replace("http://www.w3.org/2000/svg", "")


@pytest.mark.parametrize("path", ["/nope", "/static/../app.py", "/static/%2e%2e/app.py", "/%00"])
def test_what_is_refused_is_guarded_as_well(guarded, path):
    answer = guarded.get(path)
    assert answer.status_code == 404
    assert all(name in answer.headers for name in SECURE)


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8765", "127.0.0.1.evil.example"])
def test_a_rebound_name_is_refused(guarded, host):
    assert guarded.get("/", headers={"Host": host}).status_code == 403


@pytest.mark.parametrize("host", ["127.0.0.1:8765", "localhost:9", "localhost", "[::1]:8765"])
def test_this_machine_may_ask_by_its_names(guarded, host):
    assert guarded.get("/", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "wrong",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:8766"},
        {"Origin": ""},
        {"X-CSRF-Token": ""},
        {"X-CSRF-Token": "guessed"},
    ],
)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_another_site_changes_nothing(guarded, new_site, method, wrong):
    answer = guarded.request(method, "/runs", headers=own(new_site, **wrong))
    assert answer.status_code == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
@pytest.mark.parametrize(
    ("mode", "dest"), [("no-cors", "image"), ("cors", "empty"), ("navigate", "iframe")]
)
def test_another_site_puts_nothing_into_its_pages(guarded, site, mode, dest):
    said = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": mode, "Sec-Fetch-Dest": dest}
    assert guarded.get("/static/app.js", headers=said).status_code == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site", "none"])
def test_another_site_may_link_here(guarded, site):
    said = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert guarded.get("/", headers=said).status_code == 200


def test_our_own_pages_load_their_parts(guarded):
    said = {
        "Sec-Fetch-Site": "same-origin",
        "Sec-Fetch-Mode": "no-cors",
        "Sec-Fetch-Dest": "script",
    }
    assert guarded.get("/static/app.js", headers=said).status_code == 200


def test_an_address_without_end_is_refused(guarded):
    assert guarded.get("/data/quarantine/" + "9" * 5000).status_code == 414


def test_a_page_of_ours_may(guarded, new_site):
    # There is no such route: it was let through to be told so.
    assert guarded.post("/nope", headers=own(new_site)).status_code == 404


def test_a_giant_is_refused_by_its_word_and_by_its_weight(new_site):
    most = 4 * new_site.project.config.serving.max_body_bytes + 1_000_000
    client = TestClient(make_app(new_site), base_url=ORIGIN)
    answer = client.post("/x", headers=own(new_site, **{"Content-Length": str(most + 1)}))
    assert answer.status_code == 413


class TestToken:
    @pytest.fixture
    def open_site(self, new_site):
        return Site(new_site.folder, token="secret")

    @pytest.fixture
    def stranger(self, open_site):
        return TestClient(
            make_app(open_site, None), base_url="http://10.0.0.5:8765", follow_redirects=False
        )

    @pytest.mark.parametrize("path", [*(path for path, _, _ in PAGES), "/events", "/static/app.js"])
    @pytest.mark.parametrize("asked", ["", "?token=", "?token=wrong", "?token=sécret"])
    def test_without_it_there_is_nothing(self, stranger, path, asked):
        answer = stranger.get(path + asked)
        assert answer.status_code == 401
        assert "pixloop web" in answer.text

    def test_once_given_it_stays_in_a_cookie_and_leaves_the_address(self, stranger):
        answer = stranger.get("/models?token=secret&a=1")
        assert answer.status_code == 307
        assert answer.headers["location"] == "/models?a=1"
        assert "HttpOnly" in answer.headers["set-cookie"]
        assert "SameSite=strict" in answer.headers["set-cookie"]
        assert stranger.get("/").status_code == 200

    @pytest.mark.parametrize("slashes", ["//", "///", "////"])
    def test_the_way_back_leads_to_no_other_site(self, stranger, slashes):
        answer = stranger.get(f"http://10.0.0.5:8765{slashes}evil.example/x?token=secret")
        assert answer.headers["location"] == "/evil.example/x"

    def test_the_token_leaves_the_address_each_time(self, stranger):
        stranger.get("/?token=secret")
        assert stranger.get("/models?token=secret").headers["location"] == "/models"

    def test_the_cookie_alone_changes_nothing(self, stranger, open_site):
        stranger.get("/?token=secret")
        assert stranger.post("/x", headers={"Origin": "http://evil.example"}).status_code == 403
        headers = {"Origin": "http://10.0.0.5:8765", "X-CSRF-Token": open_site.csrf}
        assert stranger.post("/x", headers=headers).status_code == 404
