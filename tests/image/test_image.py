"""The image trains, processes and serves as SageMaker would have it do."""

import json
import shlex
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import boto3
import httpx
import psutil
import pytest
from moto.server import ThreadedMotoServer
from PIL import Image
from tests.conftest import write_colours
from tests.image.conftest import Buildah, not_begun

from pixloop.aws.answering.asking import ask_function
from pixloop.aws.rehearsal.sandbox import Sandbox
from pixloop.files import pack, unpack, write_json

pytestmark = [pytest.mark.slow, pytest.mark.integration, pytest.mark.timeout(1200)]

#: Of the user that the Dockerfile makes.
SERVING_UID = 10001
#: As Lambda's, a number without a name in the image.
LAMBDA_USER = "993:990"
SETTINGS = {
    "task": "classification",
    "model.name": "test_resnet",
    "model.pretrained": "false",
    "model.image_size": "32",
    "training.epochs": "2",
    "training.batch_size": "16",
    "training.learning_rate": "0.003",
    "training.augmentations": "[]",
    "training.workers": "0",
}


def run_command(
    buildah: Buildah,
    container: str,
    ml: Path,
    *command: str,
    user: str = "root",
    **environment: str,
) -> list[str]:
    """How a command of the image is run, as SageMaker does: with /opt/ml mounted."""
    told = [f"--env={key}={value}" for key, value in environment.items()]
    return buildah.command(
        *("run", "--isolation=chroot", f"--user={user}", f"--volume={ml}:/opt/ml", *told),
        *(container, "--", "python", "-m", "pixloop.entrypoint", *command),
    )


def finish(buildah: Buildah, container: str, ml: Path, *command: str, **environment: str) -> None:
    code, output = buildah.finish(run_command(buildah, container, ml, *command, **environment))
    assert code == 0, output


@contextmanager
def serving(
    buildah: Buildah, container: str, ml: Path
) -> Iterator[tuple[str, psutil.Process, float]]:
    """The address of a server in the image, its process, and the seconds until it answered."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    told = {"SAGEMAKER_BIND_TO_PORT": str(port), "PIXLOOP_MODEL_NAME": "colours:1"}
    command = run_command(buildah, container, ml, "serve", **told)
    started = time.monotonic()
    process = buildah.start(command)
    try:
        url = f"http://127.0.0.1:{port}"
        while True:
            if process.poll() is not None:
                output, _ = process.communicate()
                assert not_begun(output), output
                process = buildah.start(command)
            try:
                httpx.get(f"{url}/ping").raise_for_status()
                break
            except httpx.TransportError:
                time.sleep(0.02)
        seconds = time.monotonic() - started
        server = next(
            psutil.Process(each.pid)
            for each in psutil.net_connections("tcp")
            if each.laddr.port == port and each.status == psutil.CONN_LISTEN and each.pid
        )
        yield url, server, seconds
        server.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=600)
        assert process.returncode == 0, output
    finally:
        process.kill()
        process.communicate()


def processing_job(ml: Path, inputs: Mapping[str, Path]) -> None:
    """What SageMaker lays down for a processing job."""
    request = [
        {
            "InputName": name,
            "S3Input": {"S3Uri": f"s3://b/{name}", "LocalPath": f"/opt/ml/processing/input/{name}"},
        }
        for name in inputs
    ]
    write_json(ml / "config" / "processingjobconfig.json", {"ProcessingInputs": request})
    for name, source in inputs.items():
        shutil.copytree(source, ml / "processing" / "input" / name)


@pytest.fixture(scope="module")
def model(
    buildah: Buildah,
    image: str,
    timed: Callable[[str], Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """An /opt/ml with a model that the image itself prepared, trained and exported."""
    roots = {name: tmp_path_factory.mktemp(name) for name in ("prepare", "train", "export")}
    pictures = write_colours(roots["prepare"] / "pictures", 40)
    container = buildah.call("from", image)
    try:
        processing_job(roots["prepare"], {"train": pictures, "test": pictures})
        # The same pictures under one address: the step splits them.
        file = roots["prepare"] / "config" / "processingjobconfig.json"
        file.write_text(file.read_text().replace("s3://b/test", "s3://b/train"))
        with timed("step prepare"):
            finish(buildah, container, roots["prepare"], "step", "prepare")
        dataset = roots["prepare"] / "processing" / "output" / "dataset"

        told = roots["train"] / "input"
        write_json(told / "config" / "hyperparameters.json", SETTINGS)
        write_json(told / "config" / "inputdataconfig.json", {"dataset": {}})
        hosts = {"current_host": "algo-1", "hosts": ["algo-1"], "network_interface_name": "lo"}
        write_json(told / "config" / "resourceconfig.json", hosts)
        shutil.copytree(dataset, told / "data" / "dataset")
        with timed("train"):
            finish(buildah, container, roots["train"], "train")
        archive = roots["train"] / "archive" / "model.tar.gz"
        archive.parent.mkdir()
        subprocess.run(["tar", "-czf", archive, "-C", roots["train"] / "model", "."], check=True)

        inputs = {"model": archive.parent, "dataset": dataset}
        processing_job(roots["export"], inputs)
        formats = ["--set", 'export.formats=["onnx", "openvino"]', "--set", "name=colours"]
        with timed("step export"):
            finish(buildah, container, roots["export"], "step", "export", *formats)
    finally:
        buildah.call("rm", container)
    # Where any user may look, as SageMaker unpacks it.
    ml = Path(buildah.folder / "served")
    unpack(roots["export"] / "processing" / "output" / "bundle" / "model.tar.gz", ml / "model")
    for path in (buildah.folder, ml, *ml.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return ml


def make_picture(colour: tuple[int, int, int]) -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (32, 32), colour).save(buffer, "PNG")
    return buffer.getvalue()


def test_serves_what_it_trained_and_not_as_root(
    buildah: Buildah, container: str, model: Path, figures: dict[str, str]
) -> None:
    with serving(buildah, container, model) as (url, server, seconds):
        png = {"content-type": "image/png"}
        for colour, label in (((210, 60, 40), "red"), ((30, 70, 200), "blue")):
            reply = httpx.post(f"{url}/invocations", content=make_picture(colour), headers=png)
            answer = reply.raise_for_status().json()
            assert answer["model"] == "colours:1"
            assert answer["predictions"][0]["label"] == label
        uids, gids = server.uids(), server.gids()
        assert {uids.real, uids.effective, uids.saved} == {SERVING_UID}
        assert 0 not in (gids.real, gids.effective, gids.saved)
        assert "libtorch" not in Path(f"/proc/{server.pid}/maps").read_text()
        spent = server.cpu_times()
        figures["serve: processor time"] = (
            f"{spent.user + spent.system:.2f} s, two answers included"
        )
        figures["serve: memory"] = f"{server.memory_info().rss / 2**20:.0f} MiB"
    figures["serve: until /ping answers"] = f"{seconds:.2f} s (with buildah's own start)"


class InvokeIn:
    """boto3's client of ``lambda``, as far as it is asked here, for one sandbox."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    def invoke(self, FunctionName: str, Payload: bytes) -> dict[str, Any]:  # noqa: N803 - boto3's
        outcome = self._sandbox.invoke(Payload, FunctionName, timeout_s=120)
        failed = {"FunctionError": "Unhandled"} if outcome.failed else {}
        return {"Payload": BytesIO(outcome.payload), **failed}


def test_answers_as_a_lambda_function_that_can_write_in_tmp_alone(
    buildah: Buildah, container: str, model: Path, tmp_path: Path
) -> None:
    """Lambda runs the image as a user of its own. A user without rights is as near as we come."""
    moto = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    environment = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_LAMBDA_FUNCTION_NAME": "server",
        "AWS_LAMBDA_FUNCTION_VERSION": "1",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "3072",
        "PIXLOOP_MODEL_URL": "s3://models/model.tar.gz",
        "PIXLOOP_MODEL_NAME": "colours:1",
    }
    pack(model / "model", tmp_path / "model.tar.gz")
    s3 = boto3.client(
        "s3",
        endpoint_url=environment["AWS_ENDPOINT_URL"],
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    s3.create_bucket(Bucket="models")
    s3.upload_file(str(tmp_path / "model.tar.gz"), "models", "model.tar.gz")
    # The sandbox tells its address to buildah, in the environment; buildah must pass it on.
    environment["AWS_LAMBDA_RUNTIME_API"] = "ADDRESS"
    command = run_command(buildah, container, tmp_path, "lambda", user=LAMBDA_USER, **environment)
    line = shlex.join(command).replace("=ADDRESS", '="$AWS_LAMBDA_RUNTIME_API"')
    sandbox = Sandbox(["sh", "-c", f"exec {line}"], buildah.environment, tmp_path, tmp_path / "log")
    try:
        answer = ask_function(InvokeIn(sandbox), "server", make_picture((210, 60, 40)), "image/png")
    finally:
        sandbox.close()
        moto.stop()
    assert answer["model"] == "colours:1"
    assert answer["predictions"][0]["label"] == "red"
    buildah.call(
        *("run", "--isolation=chroot", f"--user={LAMBDA_USER}", container, "--"),
        *("python", "-c", "import os; assert not os.access('/opt/pixloop', os.W_OK)"),
    )


def test_what_is_no_command_says_what_there_is(
    buildah: Buildah, container: str, tmp_path: Path
) -> None:
    code, output = buildah.finish(run_command(buildah, container, tmp_path, "bake"))
    assert code == 2
    assert "expected train, step NAME, serve or lambda" in output


def test_runs_where_a_pipeline_names_its_own_entrypoint(
    buildah: Buildah, container: str, tmp_path: Path
) -> None:
    command = buildah.command(
        *("run", "--isolation=chroot", f"--volume={tmp_path}:/opt/ml", container, "--"),
        *("python", "-m", "pixloop.pipeline.steps", "step", "bake"),
    )
    buildah.finish(command)
    assert "prepare, export, evaluate" in (tmp_path / "output" / "failure").read_text()


def test_says_what_it_is(buildah: Buildah, image: str) -> None:
    config = json.loads(buildah.call("inspect", "--type=image", image))["OCIv1"]["config"]
    assert config["Entrypoint"] == ["python", "-m", "pixloop.entrypoint"]
    assert config["Labels"]["org.opencontainers.image.title"] == "pixloop"
    assert config["Labels"]["pixloop.accelerator"] == "cpu"


def test_a_change_of_code_moves_one_small_layer(
    buildah: Buildah,
    image: str,
    build: Callable[[str], str],
    context: Path,
    timed: Callable[[str], Any],
    figures: dict[str, str],
) -> None:
    before = buildah.layers(image)
    with (context / "src" / "pixloop" / "entrypoint.py").open("a") as source:
        source.write("# one more line\n")
    with timed("build after a change of one line"):
        changed = build("localhost/pixloop:changed")
    moved = {digest: n for digest, n in buildah.layers(changed).items() if digest not in before}
    assert len(moved) == 1
    (moved_bytes,) = moved.values()
    assert 100_000 < moved_bytes < 20_000_000
    figures["layers, MB"] = ", ".join(f"{n / 1e6:.1f}" for n in before.values())
    figures["moved by a change of one line"] = f"{moved_bytes / 1e6:.1f} MB"
