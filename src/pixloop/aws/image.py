"""The container image: built here, pushed to ECR, with docker, podman or buildah.

It is built from a checkout, or from an installed pixloop, whose wheel brings the Dockerfile and
what that needs in ``pixloop/aws/checkout/``: the image holds the pixloop that builds it.
"""

import base64
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Literal

import pixloop
from pixloop.aws.session import Session, translated
from pixloop.errors import AwsError

Accelerator = Literal["cpu", "cuda"]

#: The tools that can build and push, in the order in which they are taken; each with a command
#: that fails where the tool is there and cannot work: docker's client without its daemon.
_TOOLS: Mapping[str, Sequence[str]] = {
    "docker": ("docker", "info"),
    "podman": ("podman", "info"),
    "buildah": ("buildah", "info"),
}
#: Where the wheel has what a checkout has beside ``src``; see pyproject.toml.
_BROUGHT = "aws/checkout"
#: SageMaker's and Lambda's machines, whatever this one is.
_PLATFORM = "linux/amd64"


def find_tool(name: str | None = None) -> str:
    """The tool to build and push with: the one named, or the first that works here.

    Raises:
        AwsError: none does; the message says of each why not.
    """
    if name is not None and name not in _TOOLS:
        raise AwsError(f"{name!r} is no tool for images: expected {', '.join(_TOOLS)}.")
    why: list[str] = []
    for tool in [name] if name else _TOOLS:
        if shutil.which(tool) is None:
            why.append(f"{tool} is not installed")
        elif subprocess.run(_TOOLS[tool], capture_output=True).returncode:
            why.append(f"{tool} is installed, but '{' '.join(_TOOLS[tool])}' fails")
        else:
            return tool
    raise AwsError(
        f"No image can be built or pushed here: {'; '.join(why)}. "
        "Start Docker, or install one of them, such as: apt-get install buildah."
    )


@contextmanager
def gather_context(package: Path = Path(pixloop.__file__).parent) -> Iterator[Path]:
    """The folder that the image is built from: the checkout, or one made for the purpose.

    Args:
        package: the folder of pixloop's sources.

    Raises:
        AwsError: there is neither a checkout nor what the wheel should have brought.
    """
    checkout, brought = package.parents[1], package / _BROUGHT
    if package.parent == checkout / "src" and (checkout / "Dockerfile").is_file():
        yield checkout
        return
    if not (brought / "Dockerfile").is_file():
        raise AwsError(
            f"There is no Dockerfile in {checkout} nor in {brought}. "
            "Run this from a checkout of pixloop, or install pixloop from its wheel."
        )
    with tempfile.TemporaryDirectory(prefix="pixloop-image-") as temporary:
        folder = Path(temporary)
        shutil.copytree(brought, folder, dirs_exist_ok=True)
        left_out = shutil.ignore_patterns("__pycache__", brought.name)
        shutil.copytree(package, folder / "src" / "pixloop", ignore=left_out)
        yield folder


def name_image(accelerator: Accelerator, now: datetime) -> str:
    """What an image is called here; its tag is one that ECR has not had yet.

    >>> name_image("cuda", datetime(2026, 3, 1, 12, 30)).rpartition("-cuda-")[2]
    '20260301T123000'
    """
    # A tag has no place for the + of a local version.
    version = pixloop.__version__.replace("+", ".")
    return f"pixloop:{version}-{accelerator}-{now:%Y%m%dT%H%M%S}"


def build_image(
    root: Path,
    tag: str,
    accelerator: Accelerator = "cpu",
    tool: str | None = None,
    build_arguments: Mapping[str, str] | None = None,
) -> None:
    """Build the image; what the tool says goes to the terminal.

    Args:
        root: a checkout of pixloop, or what ``gather_context`` gives.
        tag: the image's name here, such as ``name_image()`` gives.
        accelerator: with torch for CPUs or for NVIDIA GPUs.
        tool: docker, podman or buildah; without one, the first that works.
        build_arguments: for the Dockerfile's ARGs, such as BASE and TORCH_INDEX.

    Raises:
        AwsError: there is no Dockerfile, no tool, or the build fails.
    """
    if not (root / "Dockerfile").is_file():
        raise AwsError(f"{root} has no Dockerfile: expected a checkout of pixloop.")
    tool = find_tool(tool)
    arguments = {
        "ACCELERATOR": accelerator,
        "VERSION": pixloop.__version__,
        **(build_arguments or {}),
    }
    command = [tool, "build", "--platform", _PLATFORM, "--tag", tag]
    if tool != "docker":
        # What SageMaker and Lambda take without a question; layers are kept for the next build.
        command += ["--format", "docker", "--layers"]
    for key, value in arguments.items():
        command += ["--build-arg", f"{key}={value}"]
    # Docker would add a description of the build as an image of its own, which makes the address
    # one of a list of images: Lambda refuses it.
    environment = {"BUILDX_NO_DEFAULT_ATTESTATIONS": "1", "DOCKER_BUILDKIT": "1"}
    _run([*command, str(root)], f"building {tag}", environment)


def push_image(session: Session, repository: str, tag: str, tool: str | None = None) -> str:
    """Push an image of this machine to ECR, under its tag and as ``latest``.

    Args:
        session: in the repository's region.
        repository: its address, the output ``RepositoryUri`` of the learning stack.
        tag: the image's name here; the part after the colon is its tag there.
        tool: the one that built it; without one, the first that works.

    Returns:
        The image's address by digest, which no later push changes.

    Raises:
        AwsError: there is no such repository, no right to it, no tool, or the push fails.
    """
    host, _, name = repository.partition("/")
    if not name:
        raise AwsError(
            f"{repository!r} is no repository's address: expected "
            "ACCOUNT.dkr.ecr.REGION.amazonaws.com/NAME. 'pixloop aws deploy' makes one."
        )
    tool = find_tool(tool)
    version = tag.rpartition(":")[2]
    with _logged_in(session, host, tool):
        for there in (f"{repository}:{version}", f"{repository}:latest"):
            _run([tool, "tag", tag, there], f"naming {tag} {there}")
            _run([tool, "push", there], f"pushing {there}")
    with translated(f"the image {repository}:{version}"):
        found = session.client("ecr").describe_images(
            repositoryName=name, imageIds=[{"imageTag": version}]
        )
    return f"{repository}@{found['imageDetails'][0]['imageDigest']}"


@contextmanager
def _logged_in(session: Session, host: str, tool: str) -> Iterator[None]:
    with translated("the right to push an image"):
        answer = session.client("ecr").get_authorization_token()
    token = base64.b64decode(answer["authorizationData"][0]["authorizationToken"]).decode()
    user, _, password = token.partition(":")
    # On standard input: a command line can be read by every process of the machine.
    login = [tool, "login", "--username", user, "--password-stdin", host]
    try:
        _run(login, f"login to {host}", stdin=password)
        yield
    finally:
        # The password holds for 12 hours, and the tools keep it in a file.
        subprocess.run([tool, "logout", host], capture_output=True)


def _run(
    command: Sequence[str],
    what: str,
    environment: Mapping[str, str] | None = None,
    stdin: str | None = None,
) -> None:
    ended = subprocess.run(
        command, env={**os.environ, **(environment or {})}, input=stdin, text=True
    )
    if ended.returncode:
        raise AwsError(
            f"{what}: {command[0]} ended with exit code {ended.returncode}; it says why above."
        )
