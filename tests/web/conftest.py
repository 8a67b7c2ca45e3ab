"""A project's pages: asked directly, and by a real browser over a real server."""

import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest
import uvicorn
from playwright.sync_api import Browser, Page, sync_playwright
from starlette.testclient import TestClient
from tests.conftest import QUICK, write_colours

from pixloop.project import Project
from pixloop.web.app import make_app
from pixloop.web.site import Site

ORIGIN = "http://127.0.0.1:8765"


def client_of(site: Site) -> TestClient:
    """Asks as the pages' own scripts do."""
    headers = {"Origin": ORIGIN, "X-CSRF-Token": site.csrf}
    return TestClient(make_app(site), base_url=ORIGIN, headers=headers)


@pytest.fixture
def site(project: Project) -> Site:
    """The pages of a project that has run once (a copy, to change at will)."""
    return Site(project.folder)


@pytest.fixture
def client(site: Site) -> TestClient:
    """Asks ``site``."""
    return client_of(site)


@pytest.fixture
def new_site(tmp_path) -> Site:
    """The pages of a project in which nothing has happened yet."""
    folder = tmp_path / "new"
    pictures = write_colours(tmp_path / "pictures", 6)
    return Site(Project.init(folder, str(pictures), settings=QUICK).folder)


@pytest.fixture
def new_client(new_site: Site) -> TestClient:
    """Asks ``new_site``."""
    return client_of(new_site)


@pytest.fixture
def sleeper(request: pytest.FixtureRequest) -> Iterator["subprocess.Popen[str]"]:
    """A process that does nothing; the parameter, if any, is what stands on its command line."""
    program = (
        "import signal, time; signal.signal(signal.SIGINT, signal.SIG_DFL); "
        "print('ready', flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", program, *getattr(request, "param", [])]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A headless Chromium; the one that the system has."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no chromium on this machine")
    with sync_playwright() as running:
        opened = running.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def address(site: Site) -> Iterator[str]:
    """Where ``site`` is served, without a slash at the end."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(make_app(site), log_level="error", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join(10)


@pytest.fixture
def tab(browser: Browser, address: str) -> Iterator[Page]:
    """A tab in which nothing may go wrong unnoticed, and which may ask nobody but the server."""
    context = browser.new_context(base_url=address)
    page = context.new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on(
        "request",
        lambda request: (
            None
            if request.url.startswith((address, "blob:", "data:"))
            else wrong.append(f"asked {request.url}")
        ),
    )
    yield page
    context.close()
    assert not wrong
