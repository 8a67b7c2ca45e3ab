"""The Try page as static files: what is written, whom it may ask, what is never overwritten."""

import html
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from tests.small_bundles import by_class, manifest, write_graph
from typer.testing import CliRunner, Result

from pixloop.bundle import Bundle, write_bundle
from pixloop.cli.app import app
from pixloop.config import Config
from pixloop.config_file import parse_config
from pixloop.errors import ConfigError
from pixloop.project import Project
from pixloop.web.export import PageSettings, check_url, export_page, origin_of

URL = "https://abc123.lambda-url.eu-west-1.on.aws"
HOSTILE = ('<script>alert("1")</script>', "a\" onload='x'", "{{ 7 * 7 }}", "</main>&amp;")


class Page(HTMLParser):
    """Elements with their attributes, and the texts between them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data) -> None:
        self.texts.append(data.strip())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def settings(self) -> dict:
        (main,) = self.all("main")
        return json.loads(main["data-settings"] or "")


def config(**more: object) -> Config:
    return parse_config({"task": "classification", "name": "colours", "data": "x", **more}, [])


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return make_bundle(tmp_path / "bundle")


def make_bundle(folder: Path, **fields: object) -> Bundle:
    write_graph(folder / "graphs/model.onnx")
    return write_bundle(folder, manifest(**fields))


def export(bundle: Bundle, folder: Path, url: str = URL, **more: object) -> PageSettings:
    return export_page(config(**more), "colours:3", bundle, url, folder)


def read(folder: Path) -> Page:
    return Page((folder / "index.html").read_text("utf-8"))


def test_everything_that_the_page_loads_lies_beside_it(bundle, tmp_path) -> None:
    export(bundle, tmp_path / "page")
    page = read(tmp_path / "page")
    linked = [a["src"] for a in page.all("script")] + [a["href"] for a in page.all("link")]

    assert len(linked) == 6
    for link in linked:
        name, mark, digest = link.partition("?v=")
        assert (tmp_path / "page" / name).is_file()
        assert "/" not in name  # below any path
        assert mark
        assert len(digest) == 12
    # What is linked by stylesheets would be forgotten here, and refused by the policy.
    for style in (tmp_path / "page").glob("*.css"):
        assert not re.search(r"url\(|@import", style.read_text("utf-8"))
    assert not [a for _, a in page.elements if any(k.startswith("on") or k == "style" for k in a)]


def test_the_page_may_ask_its_server_and_nobody_else(bundle, tmp_path) -> None:
    export(bundle, tmp_path / "page", f"{URL}/v1/invocations")
    (policy,) = [
        a["content"] for a in read(tmp_path / "page").all("meta")
        if a.get("http-equiv") == "Content-Security-Policy"
    ]  # fmt: skip
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))

    assert rules == {
        "default-src": "'none'", "script-src": "'self'", "style-src": "'self'",
        "img-src": "'self' blob:", "connect-src": URL, "base-uri": "'none'",
        "form-action": "'none'",
    }  # fmt: skip


def test_what_the_page_knows(bundle, tmp_path) -> None:
    known = export(bundle, tmp_path / "page")
    page = read(tmp_path / "page")
    text = "\n".join(page.texts)

    assert page.settings == {
        "project": "colours", "model": "colours:3", "task": "classification",
        "classes": ["red", "green", "blue"], "threshold": 0.9,
        "server": f"{URL}/invocations", "max_bytes": 4_500_000,  # Lambda's, which is less
    }  # fmt: skip
    assert known.server == page.settings["server"]
    assert json.loads((tmp_path / "page/settings.json").read_text())["classes"] == [
        "red", "green", "blue",
    ]  # fmt: skip
    assert f"curl {URL}/invocations" in text
    assert f'"{URL}/invocations"' in text
    assert "Pictures of up to 4.5 MB" in text
    assert "90.0\xa0%" in text
    other = export(bundle, tmp_path / "other", "https://x.example", serving={"port": 1})
    assert other.max_bytes == 25_000_000


def test_classes_may_have_thresholds_of_their_own(tmp_path) -> None:
    threshold = by_class(red=0.9, green=None, blue=0.5)
    export(make_bundle(tmp_path / "b", threshold=threshold), tmp_path / "page")
    page = read(tmp_path / "page")

    assert page.settings["threshold"] == {"red": 0.9, "green": None, "blue": 0.5}
    assert "never" in page.texts


def test_names_are_text(tmp_path) -> None:
    bundle = make_bundle(tmp_path / "b", classes=HOSTILE[:3], threshold=manifest().threshold)
    export_page(config(), f"colours:{HOSTILE[0]}", bundle, URL, tmp_path / "page")
    raw = (tmp_path / "page/index.html").read_text("utf-8")
    page = Page(raw)

    assert len(page.all("script")) == 2
    assert len(page.all("main")) == 1
    assert set(HOSTILE[:3]) < set(page.texts)
    assert page.settings["classes"] == list(HOSTILE[:3])
    assert html.escape(HOSTILE[0], quote=False) in raw.replace("&#34;", '"')


def test_the_same_again_is_the_same(bundle, tmp_path) -> None:
    export(bundle, tmp_path / "page")
    before = {f.name: f.read_bytes() for f in (tmp_path / "page").iterdir()}
    (tmp_path / "page/app.css").write_text("damaged")
    export(bundle, tmp_path / "page")

    assert {f.name: f.read_bytes() for f in (tmp_path / "page").iterdir()} == before
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []  # nothing left
    assert (tmp_path / "page").stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("what", ["theirs", "beside", "file", "forged"])
def test_what_is_not_ours_is_not_touched(bundle, tmp_path, what) -> None:
    folder = tmp_path / "page"
    if what == "file":
        folder.write_text("mine")
    elif what == "theirs":
        folder.mkdir()
        (folder / "index.html").write_text("mine")
    elif what == "forged":
        folder.mkdir()
        (folder / "settings.json").write_text('{"made_by": "me", "files": ["settings.json"]}')
    else:
        export(bundle, folder)
        (folder / "CNAME").write_text("page.example")
    before = sorted(p.name for p in folder.iterdir()) if folder.is_dir() else folder.read_text()

    with pytest.raises(ConfigError, match=r"nothing was changed|is a file"):
        export(bundle, folder)

    after = sorted(p.name for p in folder.iterdir()) if folder.is_dir() else folder.read_text()
    assert after == before


def test_an_empty_folder_is_filled_and_a_failure_leaves_the_page_before(
    bundle, tmp_path, monkeypatch
) -> None:
    folder = tmp_path / "page"
    folder.mkdir()
    export(bundle, folder)
    before = {f.name: f.read_bytes() for f in folder.iterdir()}

    def fail(*arguments: object, **named: object) -> None:
        raise OSError(28, "No space left on device")

    def fail_at_the_end(path: Path, target: Path) -> Path:
        return fail() if path.name == "fresh" else rename(path, target)

    rename = Path.replace
    for name, failing in (("_write", fail), ("Path.replace", fail_at_the_end)):
        with monkeypatch.context() as patched:
            patched.setattr(f"pixloop.web.export.{name}", failing)
            with pytest.raises(ConfigError, match="No space left"):
                export(bundle, folder)
        assert {f.name: f.read_bytes() for f in folder.iterdir()} == before


@pytest.mark.parametrize(
    "url",
    [
        "ftp://x.example", "x.example", "https://", "https://user:secret@x.example",
        "https://x.example?a=1", "https://x.example#a", "http://x.example", "https://x.example:0",
        "https://x.example:99999", 'https://x.example/"', "https://x.example/; img-src *",
        "https://x.example/'$(id)'", "https://x.example/a\nb", "javascript:alert(1)",
        "https://x.example/../a", "https://X.example", "https://*.example", "http://127.0.0.1.evil",
        "http://[::1]:8080",
    ],
)  # fmt: skip
def test_what_no_page_may_ask_is_refused(bundle, tmp_path, url) -> None:
    with pytest.raises(ConfigError, match="--url"):
        export(bundle, tmp_path / "page", url)
    assert not (tmp_path / "page").exists()


@pytest.mark.parametrize(
    ("url", "server"),
    [
        (URL, f"{URL}/invocations"),
        (f"{URL}/", f"{URL}/invocations"),
        (f"{URL}/invocations", f"{URL}/invocations"),
        ("https://x.example:8443/models/a/", "https://x.example:8443/models/a/invocations"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080/invocations"),
        ("http://localhost", "http://localhost/invocations"),
    ],
)
def test_a_servers_address_may_be_written_in_several_ways(url, server) -> None:
    assert check_url(url) == server
    assert server.startswith(origin_of(server) + "/")


@pytest.fixture
def served(bundle, tmp_path) -> Project:
    """A project that serves the bundle, as the note in its state says."""
    (tmp_path / "data").mkdir()
    project = Project.init(tmp_path / "project", str(tmp_path / "data"))
    registry = project.state / "registry" / "registry.db"
    registry.parent.mkdir(parents=True)
    registry.touch()
    stat = registry.stat()
    note = {"version": "3", "bundle": str(bundle.path)}
    note["registry"] = [stat.st_mtime_ns, stat.st_size]
    (project.state / "serving.json").write_text(json.dumps(note))
    return project


def run(project: Project, *options: str) -> Result:
    return CliRunner().invoke(app, ["web", "export", *options, "-C", str(project.folder)])


def test_the_command_writes_the_page_and_says_what_else_it_takes(served, tmp_path) -> None:
    told = run(served, "--url", URL, "--out", str(tmp_path / "page"))
    as_json = run(served, "--url", URL, "--out", str(tmp_path / "page"), "--json")

    assert told.exit_code == 0, told.output
    assert "serving.allow_origin" in told.stdout
    assert read(tmp_path / "page").settings["model"] == "project:3"
    assert json.loads(as_json.stdout)["server"] == f"{URL}/invocations"


@pytest.mark.parametrize(
    "options", [[], ["--url", URL, "--remove"], ["--on", "aws", "--version", "1"]]
)
def test_the_command_wants_to_know_whom_the_page_asks(served, options) -> None:
    told = run(served, *options)

    assert isinstance(told.exception, ConfigError)
    assert "--url" in str(told.exception)
