"""The image's commands, as processes of their own."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx
import pytest
from tests.small_bundles import write_colours

from pixloop.entrypoint import find_program


@pytest.fixture
def root() -> Iterator[Path]:
    """An /opt/ml with a model in it, where every user may look; ``tmp_path`` is one user's own."""
    folder = Path(tempfile.mkdtemp(prefix="pixloop-ml-"))
    folder.chmod(0o755)
    write_colours(folder / "model")
    yield folder
    shutil.rmtree(folder)


def run(
    *arguments: str, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pixloop.entrypoint", *arguments]
    return subprocess.run(
        command, env={**os.environ, **(environment or {})}, capture_output=True, text=True
    )


# ---- Which program a command is


@pytest.mark.parametrize(
    ("arguments", "program"),
    [
        (["train"], ["pixloop.pipeline.steps", "train"]),
        (
            ["step", "export", "--set", "name=a"],
            ["pixloop.pipeline.steps", "step", "export", "--set", "name=a"],
        ),
        (["lambda"], ["awslambdaric", "pixloop.aws.lambda_server.handler"]),
    ],
)
def test_a_command_is_a_program(arguments: list[str], program: list[str]) -> None:
    assert find_program(arguments, {}) == program


@pytest.mark.parametrize("arguments", [[], ["bake"], ["step"], ["serve", "now"], ["train", "x"]])
def test_what_is_no_command_ends_with_2_and_says_what_there_is(arguments: list[str]) -> None:
    ended = run(*arguments)
    assert ended.returncode == 2
    assert "expected train, step NAME, serve or lambda" in ended.stderr
    assert repr(" ".join(arguments) or "nothing") in ended.stderr


def test_serving_is_told_by_the_environment() -> None:
    program = find_program(["serve"], {})
    assert program == [
        *("pixloop.serving", "/opt/ml/model", "--host", "0.0.0.0"),  # noqa: S104
        *("--port", "8080", "--max-body-bytes", "26214400"),
    ]
    told = {"SAGEMAKER_BIND_TO_PORT": "9000", "PIXLOOP_MODEL_NAME": "vehicles:3"}
    program = find_program(["serve"], told)
    assert program is not None
    assert program[program.index("--port") + 1] == "9000"
    assert program[program.index("--name") + 1] == "vehicles:3"


def test_several_models_are_served_where_sagemaker_says_so() -> None:
    program = find_program(["serve"], {"SAGEMAKER_MULTI_MODEL": "true"})
    assert program is not None
    assert program[:3] == ["pixloop.serving", "--models", "/opt/ml/models"]


@pytest.mark.parametrize(("told", "mebibytes"), [("6", 25), ("50", 50), ("0", 100)])
def test_a_transform_job_may_send_what_it_says(told: str, mebibytes: int) -> None:
    program = find_program(["serve"], {"SAGEMAKER_MAX_PAYLOAD_IN_MB": told})
    assert program is not None
    assert int(program[program.index("--max-body-bytes") + 1]) == mebibytes * 2**20


# ---- The programs


def test_steps_run_as_the_image_runs_them(tmp_path: Path) -> None:
    ended = run("step", "bake", environment={"PIXLOOP_ML": str(tmp_path)})
    assert ended.returncode == 1
    assert "prepare, export, evaluate" in (tmp_path / "output" / "failure").read_text()
    ended = run("train", environment={"PIXLOOP_ML": str(tmp_path)})
    assert ended.returncode == 1
    assert "hyperparameters.json is missing" in (tmp_path / "output" / "failure").read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_serves_the_model_and_stops_in_order(root: Path, free_port: int) -> None:
    environment = {
        **os.environ,
        "PIXLOOP_ML": str(root),
        "SAGEMAKER_BIND_TO_PORT": str(free_port),
        "PIXLOOP_MODEL_NAME": "colours:7",
    }
    command = [sys.executable, "-m", "pixloop.entrypoint", "serve"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("serving colours:7 on http://0.0.0.0:")
        ping = httpx.get(f"http://127.0.0.1:{free_port}/ping")
        assert ping.json() == {"status": "ready", "model": "colours:7"}
        # The process that was started is the server, so that it gets the signals, and torch is
        # not in it.
        mapped = Path(f"/proc/{process.pid}/maps").read_text()
        assert "onnxruntime" in mapped
        assert "torch" not in mapped
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


# ---- Without root

_DROP = """
import os, sys
from pathlib import Path
from pixloop.entrypoint import drop_root
print(drop_root(sys.argv[1], Path(sys.argv[2])), os.getuid(), os.getgroups())
"""


def drop(user: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", _DROP, user, str(folder)]
    # Root in a container may be in groups besides its own.
    return subprocess.run(command, extra_groups=[4], capture_output=True, text=True, check=True)


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become someone else")


@needs_root
def test_root_becomes_the_user_where_that_user_can_read_the_model(root: Path) -> None:
    import pwd

    assert drop("nobody", root / "model").stdout.split() == [
        "True",
        str(pwd.getpwnam("nobody").pw_uid),
        "[]",
    ]


@needs_root
@pytest.mark.parametrize("hidden", ["model/bundle.json", "model/graphs", "."])
def test_stays_root_where_the_user_cannot_read_the_model(root: Path, hidden: str) -> None:
    (root / hidden).chmod(0o700)
    ended = drop("nobody", root / "model")
    assert ended.stdout.split()[:2] == ["False", "0"]
    assert "user nobody cannot read it; serving as root" in ended.stderr


@needs_root
def test_what_only_roots_other_groups_can_read_is_hidden_from_the_user(root: Path) -> None:
    os.chown(root / "model", 0, 4)
    (root / "model").chmod(0o750)
    assert drop("nobody", root / "model").stdout.split() == ["False", "0", "[4]"]


@needs_root
def test_outside_the_image_nothing_changes(root: Path) -> None:
    assert drop("no-such-user", root / "model").stdout.split()[:2] == ["False", "0"]


def test_the_entrypoint_brings_in_no_library() -> None:
    code = "import sys; import pixloop.entrypoint; print(sorted(sys.modules))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "'pixloop.entrypoint'" in ended.stdout
    for heavy in ("torch", "numpy", "starlette", "boto3", "pydantic"):
        assert f"'{heavy}'" not in ended.stdout
