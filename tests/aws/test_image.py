"""Building and pushing: a tool that notes what it is told, and moto's ECR."""

import itertools
import json
import shutil
import sys
from pathlib import Path

import pytest

from pixloop.aws.image import build_image, find_tool, gather_context, push_image
from pixloop.aws.session import Session
from pixloop.errors import AwsError

#: Notes its command line and its standard input, and ends as the file beside it says.
TOOL = """#!{python}
import json, os, sys
from pathlib import Path
here = Path(__file__)
told = {{"command": [here.name, *sys.argv[1:]], "stdin": "", "attestations":
        os.environ.get("BUILDX_NO_DEFAULT_ATTESTATIONS")}}
if "--password-stdin" in sys.argv:
    told["stdin"] = sys.stdin.read()
with (here.parent / "calls.jsonl").open("a") as calls:
    calls.write(json.dumps(told) + "\\n")
fails = here.parent / f"{{here.name}}.fails"
sys.exit(1 if fails.exists() and sys.argv[1] in fails.read_text().split() else 0)
"""


class Tools:
    """The folder that is PATH: tools are put there, and asked later what they were told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(self, name: str, fails: str = "") -> None:
        tool = self.folder / name
        tool.write_text(TOOL.format(python=sys.executable))
        tool.chmod(0o755)
        (self.folder / f"{name}.fails").write_text(fails)

    def calls(self) -> list[dict[str, object]]:
        file = self.folder / "calls.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def commands(self) -> list[list[str]]:
        commands = [call["command"] for call in self.calls()]
        return [c for c in commands if isinstance(c, list) and c[1] != "info"]


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tools:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return Tools(folder)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    (folder / "src" / "pixloop" / "aws").mkdir(parents=True)
    (folder / "src" / "pixloop" / "__init__.py").write_text("")
    (folder / "Dockerfile").write_text("FROM scratch\n")
    return folder


# ---- Which tool


@pytest.mark.parametrize(
    ("present", "taken"),
    [
        ({"docker": "", "podman": "", "buildah": ""}, "docker"),
        ({"docker": "info", "podman": "", "buildah": ""}, "podman"),
        ({"buildah": ""}, "buildah"),
    ],
)
def test_the_first_tool_that_works_is_taken(
    tools: Tools, present: dict[str, str], taken: str
) -> None:
    for name, fails in present.items():
        tools.add(name, fails)
    assert find_tool() == taken


def test_without_a_tool_the_error_says_why_and_what_to_install(tools: Tools) -> None:
    tools.add("docker", fails="info")
    with pytest.raises(AwsError) as raised:
        find_tool()
    for part in (
        "docker is installed, but 'docker info' fails",
        "podman is not installed; buildah is not installed",
        "apt-get install buildah",
    ):
        assert part in str(raised.value)


def test_a_named_tool_is_the_only_one_tried(tools: Tools) -> None:
    tools.add("docker")
    assert find_tool("docker") == "docker"
    with pytest.raises(AwsError, match="podman is not installed"):
        find_tool("podman")
    with pytest.raises(AwsError, match="'kaniko' is no tool for images: expected docker, podman"):
        find_tool("kaniko")


# ---- Building


def test_docker_builds_for_amazons_machines(tools: Tools, checkout: Path) -> None:
    tools.add("docker")
    build_image(checkout, "pixloop:1", "cuda", build_arguments={"BASE": "debian"})
    (command,) = tools.commands()
    assert command[:2] == ["docker", "build"]
    assert command[-1] == str(checkout)
    assert "--format" not in command
    for pair in (
        ("--platform", "linux/amd64"),
        ("--tag", "pixloop:1"),
        ("--build-arg", "ACCELERATOR=cuda"),
        ("--build-arg", "BASE=debian"),
    ):
        assert pair in itertools.pairwise(command)
    # Lambda refuses the list of images that Docker makes of an image and its attestations.
    assert tools.calls()[-1]["attestations"] == "1"


@pytest.mark.parametrize("tool", ["podman", "buildah"])
def test_the_others_write_dockers_format_too(tools: Tools, checkout: Path, tool: str) -> None:
    tools.add(tool)
    build_image(checkout, "pixloop:1")
    (command,) = tools.commands()
    assert command[:2] == [tool, "build"]
    assert ("--format", "docker") in itertools.pairwise(command)
    assert "--build-arg" in command
    assert "ACCELERATOR=cpu" in command


def test_a_failed_build_says_so(tools: Tools, checkout: Path) -> None:
    tools.add("docker", fails="build")
    with pytest.raises(AwsError, match="building pixloop:1: docker ended with exit code 1"):
        build_image(checkout, "pixloop:1")


def test_without_a_dockerfile_nothing_is_started(tools: Tools, tmp_path: Path) -> None:
    tools.add("docker")
    with pytest.raises(AwsError, match="has no Dockerfile: expected a checkout of pixloop"):
        build_image(tmp_path, "pixloop:1")
    assert tools.calls() == []


# ---- What it is built from


def test_a_checkout_is_its_own_context(checkout: Path) -> None:
    with gather_context(checkout / "src" / "pixloop") as folder:
        assert folder == checkout


def test_an_installed_pixloop_brings_its_own(checkout: Path, tmp_path: Path) -> None:
    package = tmp_path / "site-packages" / "pixloop"
    shutil.copytree(checkout / "src" / "pixloop", package)
    (package / "__pycache__").mkdir()
    brought = package / "aws" / "checkout"
    brought.mkdir()
    (brought / "Dockerfile").write_text("FROM scratch\n")
    (brought / "pyproject.toml").write_text("[project]\n")
    with gather_context(package) as folder:
        files = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
        assert files == {"Dockerfile", "pyproject.toml", "src/pixloop/__init__.py"}
    assert not folder.exists()


def test_without_either_the_error_says_where_to_get_one(tmp_path: Path) -> None:
    package = tmp_path / "site-packages" / "pixloop"
    package.mkdir(parents=True)
    with (
        pytest.raises(AwsError, match="Run this from a checkout of pixloop, or install"),
        gather_context(package),
    ):
        pass


# ---- Pushing


@pytest.fixture
def repository(aws: Session) -> str:
    """A repository of moto's ECR that already has what the tool pretends to push."""
    ecr = aws.client("ecr")
    made = ecr.create_repository(repositoryName="pixloop/vehicles")["repository"]
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": {"digest": "sha256:" + "1" * 64, "size": 1, "mediaType": "a"},
        "layers": [],
    }
    ecr.put_image(
        repositoryName="pixloop/vehicles", imageManifest=json.dumps(manifest), imageTag="0.1-cpu-x"
    )
    return str(made["repositoryUri"])


@pytest.fixture
def digest(aws: Session, repository: str) -> str:
    images = aws.client("ecr").describe_images(repositoryName="pixloop/vehicles")["imageDetails"]
    return str(images[0]["imageDigest"])


@pytest.mark.parametrize("tool", ["docker", "podman", "buildah"])
def test_push_gives_the_address_by_digest(
    tools: Tools, aws: Session, repository: str, digest: str, tool: str
) -> None:
    tools.add(tool)
    address = push_image(aws, repository, "pixloop:0.1-cpu-x")
    assert address == f"{repository}@{digest}"
    host = repository.partition("/")[0]
    assert tools.commands() == [
        [tool, "login", "--username", "AWS", "--password-stdin", host],
        [tool, "tag", "pixloop:0.1-cpu-x", f"{repository}:0.1-cpu-x"],
        [tool, "push", f"{repository}:0.1-cpu-x"],
        [tool, "tag", "pixloop:0.1-cpu-x", f"{repository}:latest"],
        [tool, "push", f"{repository}:latest"],
        [tool, "logout", host],
    ]


def test_the_password_is_never_on_a_command_line(
    tools: Tools, aws: Session, repository: str
) -> None:
    tools.add("docker")
    push_image(aws, repository, "pixloop:0.1-cpu-x")
    (password,) = [str(call["stdin"]) for call in tools.calls() if call["stdin"]]
    assert password
    assert not any(password in part for command in tools.commands() for part in command)


@pytest.mark.parametrize(("fails", "what"), [("login", "login to"), ("push", "pushing")])
def test_whatever_fails_the_password_is_not_kept(
    tools: Tools, aws: Session, repository: str, fails: str, what: str
) -> None:
    tools.add("docker", fails=fails)
    with pytest.raises(AwsError, match=f"{what} .*: docker ended with exit code 1"):
        push_image(aws, repository, "pixloop:0.1-cpu-x")
    assert tools.commands()[-1][1] == "logout"


def test_an_image_that_did_not_arrive_is_an_error(
    tools: Tools, aws: Session, repository: str
) -> None:
    tools.add("docker")
    with pytest.raises(AwsError, match=r"0\.2-cpu-y: AWS answers ImageNotFoundException"):
        push_image(aws, repository, "pixloop:0.2-cpu-y")


def test_what_is_no_repository_is_said(tools: Tools, aws: Session) -> None:
    with pytest.raises(AwsError, match="'pixloop aws deploy' makes one"):
        push_image(aws, "vehicles", "pixloop:1")
