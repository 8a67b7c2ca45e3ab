"""The real Dockerfile, built with buildah in a store of its own, which is removed afterwards.

It needs root, buildah, and a base image: PIXLOOP_IMAGE_BASE names one that can be pulled; without
it debootstrap makes one of Debian. Where one of these is missing, all of this is skipped.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
#: What the Dockerfile copies.
CONTEXT = (
    "Dockerfile",
    "LICENSE",
    "README.md",
    "pyproject.toml",
    "requirements-image.lock",
    "requirements-uv.lock",
    "requirements.lock",
    "src",
)
DEBIAN = "trixie"
#: The machine's own certificates and package settings, which a build behind a mirror needs.
_MACHINE = ("/etc/ssl/certs", "/etc/pip.conf")
#: Before it runs a command buildah starts anew from a sealed copy of itself in memory. The kernel
#: does not seal memory that it is moving just then, and buildah does not try again. Nothing has
#: been run when it says this.
_NOT_SEALED = "sealing memfd copy: Device or resource busy"
_TRIES = 5


def not_begun(output: str) -> bool:
    """Whether buildah ended before it ran anything, and would run it if it were told again."""
    return _NOT_SEALED in output


class Buildah:
    """buildah with everything that it stores in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # Layers on their way to the store lie in TMPDIR.
        self.environment = {**os.environ, "TMPDIR": str(folder / "tmp")}
        (folder / "tmp").mkdir()

    def command(self, *arguments: str) -> list[str]:
        """The command line for buildah's arguments."""
        store = ("--root", f"{self.folder}/store", "--runroot", f"{self.folder}/run")
        return ["buildah", *store, *arguments]

    def call(self, *arguments: str) -> str:
        """Run buildah to its end; what it prints, without the line's end."""
        for _ in range(_TRIES):
            ended = subprocess.run(
                self.command(*arguments), env=self.environment, capture_output=True, text=True
            )
            if not (ended.returncode and not_begun(ended.stderr)):
                break
        assert ended.returncode == 0, f"buildah {arguments}: {ended.stdout}\n{ended.stderr}"
        return ended.stdout.strip()

    def finish(self, command: list[str]) -> tuple[int, str]:
        """Run a command of ``command`` to its end; its return code and what it prints."""
        for _ in range(_TRIES):
            process = self.start(command)
            output, _error = process.communicate(timeout=600)
            if not (process.returncode and not_begun(output)):
                break
        return process.returncode, output

    def start(self, command: list[str]) -> subprocess.Popen[str]:
        """Start a command of ``command``; who starts it ends it."""
        return subprocess.Popen(
            command,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def layers(self, image: str) -> dict[str, int]:
        """The layers of an image: digest → bytes, not compressed."""
        manifest = json.loads(json.loads(self.call("inspect", "--type=image", image))["Manifest"])
        return {layer["digest"]: layer["size"] for layer in manifest["layers"]}


@pytest.fixture(scope="session")
def figures(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """What was measured, by name; printed at the end."""
    measured: dict[str, str] = {}
    yield measured
    plugin = request.config.pluginmanager.getplugin
    with plugin("capturemanager").global_and_fixture_disabled():
        plugin("terminalreporter").write_line("")
        for name, value in measured.items():
            plugin("terminalreporter").write_line(f"  image: {name}: {value}")


@pytest.fixture(scope="session")
def timed(figures: dict[str, str]) -> Callable[[str], Any]:
    """``with timed("build"):`` notes how long it took."""

    @contextmanager
    def measure(name: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        figures[name] = f"{time.monotonic() - started:.1f} s"

    return measure


@pytest.fixture(scope="session")
def buildah() -> Iterator[Buildah]:
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("building the image here needs Linux and root")
    if not shutil.which("buildah"):
        pytest.skip("building the image here needs buildah: apt-get install buildah debootstrap")
    # Not in pytest's own folder, which is kept for three runs: an image is gigabytes.
    folder = Path(tempfile.mkdtemp(prefix="pixloop-image-", dir="/var/tmp"))
    tool = Buildah(folder)
    try:
        yield tool
    finally:
        tool.call("rm", "--all")
        tool.call("rmi", "--all", "--force")
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def base(buildah: Buildah, timed: Callable[[str], Any]) -> str:
    """The address of a base image with a Python that pixloop takes."""
    if named := os.environ.get("PIXLOOP_IMAGE_BASE"):
        return named
    if not shutil.which("debootstrap"):
        pytest.skip("a base image needs debootstrap, or PIXLOOP_IMAGE_BASE")
    system = buildah.folder / "debian"
    packages = "--include=python3,python3-venv,ca-certificates"
    with timed("base image"):
        made = subprocess.run(
            ["debootstrap", "--variant=minbase", packages, DEBIAN, str(system)],
            capture_output=True,
            text=True,
        )
        if made.returncode:
            pytest.skip(f"debootstrap cannot fetch Debian: {made.stdout[-500:]}")
        container = buildah.call("from", "scratch")
        buildah.call("add", container, str(system), "/")
        buildah.call("commit", "--rm", container, "localhost/base")
    shutil.rmtree(system)
    return "localhost/base"


@pytest.fixture(scope="session")
def context(buildah: Buildah) -> Path:
    """A build context to change at will, with nothing in it but what the Dockerfile may see."""
    folder = buildah.folder / "context"
    folder.mkdir()
    for name in CONTEXT:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, folder / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="session")
def build(buildah: Buildah, base: str, context: Path) -> Callable[[str], str]:
    """Build the image under a name."""

    def make(name: str) -> str:
        mounts = [f"--volume={place}:{place}:ro" for place in _MACHINE if Path(place).exists()]
        buildah.call(
            *("build", "--layers", "--isolation=chroot", "--network=host", *mounts),
            *("--build-arg", f"BASE={base}", "--build-arg", "TORCH_INDEX="),
            *("--tag", name, str(context)),
        )
        return name

    return make


@pytest.fixture(scope="session")
def image(build: Callable[[str], str], timed: Callable[[str], Any]) -> str:
    with timed("build"):
        return build("localhost/pixloop")


@pytest.fixture
def container(buildah: Buildah, image: str) -> Iterator[str]:
    name = buildah.call("from", image)
    yield name
    buildah.call("rm", name)
