"""Starting Label Studio and the backend, or finding those that run."""

import os
import sys
from pathlib import Path

import httpx

from pixloop.annotation.label_studio.backend import BackendSettings
from pixloop.annotation.label_studio.client import LabelStudioClient
from pixloop.annotation.label_studio.credentials import Credentials, credentials, write_private
from pixloop.annotation.label_studio.environment import Tell, install
from pixloop.annotation.label_studio.processes import (
    Running,
    listener,
    port_is_free,
    read_running,
    remember,
    start,
    stop,
    wait_until,
)
from pixloop.errors import AnnotationError

#: The first start makes the data base, on a busy machine slowly.
_SERVER_S, _BACKEND_S = 300.0, 60.0
#: Names that Label Studio would read as its own settings.
_FOREIGN = ("HOST", "PORT", "USERNAME", "PASSWORD", "DEBUG")


def start_label_studio(folder: Path, port: int, tell: Tell) -> Running:
    """Label Studio at a port, started unless it runs already.

    Raises:
        AnnotationError: it cannot be installed or started, or the port is busy.
    """
    file, log = folder / "server.json", folder / "label-studio.log"
    known = credentials(folder / "credentials.json")
    running = read_running(file) or _adopt(port, known, file)
    if running is None:
        # Label Studio itself would silently take the next port.
        _check_port(port, "Label Studio", "--port, or the key annotation.port")
        program = install(tell)
        url = f"http://127.0.0.1:{port}"
        command = [str(program), "start", "--no-browser"]
        command += ["--internal-host", "127.0.0.1", "--port", str(port)]
        tell(f"starting Label Studio on {url}")
        running = start(command, _environment(folder, url, known), url, file, log)
    url = running.url
    wait_until(running, lambda: _answers(f"{url}/health"), "Label Studio", log, _SERVER_S)
    return running


def start_backend(folder: Path, settings: BackendSettings, tell: Tell) -> str:
    """The backend, started unless it runs already with these settings; gives its address.

    Raises:
        AnnotationError: it cannot be started, or its port is busy.
    """
    file, log = folder / "backend.json", folder / "backend.log"
    settings_file = folder / "backend-settings.json"
    url = f"http://127.0.0.1:{settings.port}"
    text = settings.model_dump_json(indent=2) + "\n"
    running = read_running(file) or _adopt_backend(settings, file)
    if running is not None and (running.url != url or _read(settings_file) != text):
        stop(running)
        running = None
    if running is None:
        _check_port(settings.port, "the backend", "the key annotation.backend_port")
        write_private(settings_file, text)
        module = "pixloop.annotation.label_studio.backend"
        command = [sys.executable, "-m", module, str(settings_file)]
        tell(f"starting the backend on {url}, which asks {settings.server}")
        running = start(command, os.environ, url, file, log)
    wait_until(running, lambda: _answers(f"{url}/versions"), "the backend", log, _BACKEND_S)
    return url


def _environment(folder: Path, url: str, known: Credentials) -> dict[str, str]:
    """What Label Studio is started with: quiet, local, and entered by our token."""
    own = {
        "BASE_DATA_DIR": str(folder.resolve() / "data"),
        "USERNAME": known.email,
        "PASSWORD": known.password,
        "USER_TOKEN": known.token,
        "ENABLE_LEGACY_API_TOKEN": "true",
        "HOST": url,
        "COLLECT_ANALYTICS": "false",
        "LATEST_VERSION_CHECK": "false",
        "SENTRY_DSN": "",
        "FRONTEND_SENTRY_DSN": "",
        "DISABLE_SIGNUP_WITHOUT_LINK": "true",
        # By default it refuses every loopback address; these are the metadata services'.
        "USE_DEFAULT_BANNED_SUBNETS": "false",
        "USER_ADDITIONAL_BANNED_SUBNETS": "169.254.0.0/16,fe80::/10",
        "LOCAL_FILES_SERVING_ENABLED": "true",
        "LOCAL_FILES_DOCUMENT_ROOT": str(folder.resolve() / "shown"),
    }
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name not in _FOREIGN and not name.startswith(("LABEL_STUDIO_", "DJANGO_", "PYTHON"))
    }
    return inherited | {f"LABEL_STUDIO_{name}": value for name, value in own.items()}


def _adopt(port: int, known: Credentials, file: Path) -> Running | None:
    """Label Studio of ours that listens though nothing tells of it: ``up`` was killed then."""
    url = f"http://127.0.0.1:{port}"
    if port_is_free(port) or not _answers(f"{url}/health"):
        return None
    try:
        with LabelStudioClient(url, known.token, timeout_s=10) as client:
            ours = client.user() == known.email
    except AnnotationError:
        return None
    pid = listener(port) if ours else None
    return remember(pid, url, file) if pid else None


def _adopt_backend(settings: BackendSettings, file: Path) -> Running | None:
    """As ``_adopt``: only ours knows the secret."""
    url = f"http://127.0.0.1:{settings.port}"
    if port_is_free(settings.port):
        return None
    try:
        answer = httpx.post(
            f"{url}/predict", json={"tasks": []}, auth=("", settings.secret), timeout=10
        )
    except httpx.HTTPError:
        return None
    ours = answer.status_code == 200 and "results" in answer.text
    pid = listener(settings.port) if ours else None
    return remember(pid, url, file) if pid else None


def _check_port(port: int, what: str, key: str) -> None:
    if not port_is_free(port):
        raise AnnotationError(
            f"{what} cannot listen at port {port}: another program does. Choose a free one by "
            f"{key}, or stop that program."
        )


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).is_success
    except httpx.HTTPError:
        return False


def _read(file: Path) -> str | None:
    try:
        return file.read_text(encoding="utf-8")
    except OSError:
        return None
