"""The real server, in a process of its own."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from pixloop.bundle import Bundle
from pixloop.config import ServingConfig
from pixloop.errors import BundleError, ServingError
from pixloop.files import pack
from pixloop.records import Decision
from pixloop.serving.client import Client
from pixloop.serving.server import _listen, serve

Make = Callable[..., bytes]
#: With these a server has nothing to measure when it starts.
MEASURED = ("--streams", "2", "--max-batch", "4")


@contextmanager
def running(*arguments: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The address of a server, and its process."""
    command = [sys.executable, "-m", "pixloop.serving", "--port", "0", *MEASURED, *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("serving "), process.communicate()
        yield line.split(" on ")[1].strip(), process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def url(bundle: Bundle) -> Iterator[str]:
    with running(str(bundle.path), "--max-body-bytes", "100000") as (address, _):
        yield address


def test_answers_over_http(url: str, make_picture: Make) -> None:
    assert httpx.get(f"{url}/ping").json() == {"status": "ready", "model": "colours"}
    with Client(url) as client:
        predictions = client.predict([make_picture(colour) for colour in ("red", "blue")])
    assert [p.label for p in predictions] == ["red", "blue"]
    assert predictions[0].decision is Decision.ACCEPT
    assert sum(predictions[0].probabilities.values()) == pytest.approx(1)


def test_a_body_that_is_too_large_gets_its_answer(url: str) -> None:
    response = httpx.post(f"{url}/invocations", content=b"\0" * 5_000_000)
    assert response.status_code == 413
    assert httpx.get(f"{url}/ping").status_code == 200


def test_garbage_on_the_wire_is_survived(url: str) -> None:
    host, _, port = url.removeprefix("http://").partition(":")
    for garbage in (
        b"\x16\x03\x01\x02\x00",
        b"GET /ping\r\n\r\n",
        b"POST /invocations HTTP/1.1\r\n",
    ):
        with socket.create_connection((host, int(port)), timeout=5) as connection:
            connection.sendall(garbage)
    assert httpx.get(f"{url}/ping").status_code == 200


def test_an_archive_is_served_as_well(bundle: Bundle, make_picture: Make, tmp_path: Path) -> None:
    pack(bundle.path, tmp_path / "model.tar.gz")
    with running(str(tmp_path / "model.tar.gz"), "--name", "colours:7") as (url, _):
        response = httpx.post(f"{url}/invocations", content=make_picture("blue"))
        assert response.json()["model"] == "colours:7"
        assert response.json()["predictions"][0]["label"] == "blue"


def test_sigterm_lets_requests_finish(bundle: Bundle, make_picture: Make) -> None:
    picture = make_picture("blue")
    with running(str(bundle.path)) as (url, process):
        host, _, port = url.removeprefix("http://").partition(":")
        with socket.create_connection((host, int(port)), timeout=20) as connection:
            head = (
                f"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Length: {len(picture)}\r\n\r\n"
            )
            connection.sendall(head.encode() + picture[:10])
            time.sleep(0.3)  # the request is at work now
            process.send_signal(signal.SIGTERM)
            time.sleep(0.3)
            connection.sendall(picture[10:])
            answer = connection.recv(65536)
        assert b"200 OK" in answer
        assert process.wait(20) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_a_port_that_is_taken_is_said_so(bundle: Bundle) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ServingError, match=f"cannot listen on 127.0.0.1:{port}: .*--port"):
            serve(bundle.path, None, ServingConfig(port=port))
    with pytest.raises(ServingError, match=r"no\.such\.host\.invalid:0: (?!Unknown)"):
        serve(bundle.path, None, ServingConfig(host="no.such.host.invalid", port=0))


def test_what_is_no_bundle_is_not_served(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no model bundle"):
        serve(tmp_path, None, ServingConfig(port=0))
    command = [sys.executable, "-m", "pixloop.serving", str(tmp_path), "--port", "0"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith("error: ")
    assert "Traceback" not in ended.stderr
    ended = subprocess.run([*command, "--queue", "0"], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2
    assert "queue" in ended.stderr


@pytest.mark.parametrize("task", ["classification", "detection"])
def test_a_server_knows_no_torch(
    bundle: Bundle, detector_bundle: Bundle, make_scene: Make, tmp_path: Path, task: str
) -> None:
    bundle = bundle if task == "classification" else detector_bundle
    (tmp_path / "picture.png").write_bytes(make_scene(((0, 0, 255), (0, 0, 128, 96))))
    script = """
import json, os, signal, sys, threading, urllib.request
from pathlib import Path
from pixloop.config import ServingConfig
from pixloop.serving.server import serve

def ask(url):
    picture = Path(sys.argv[2]).read_bytes()
    request = urllib.request.Request(url + "/invocations", picture, {"Content-Type": "image/png"})
    answer = json.load(urllib.request.urlopen(request))
    first = answer["predictions"][0]
    first = first["boxes"][0] if "boxes" in first else first
    print(json.dumps([first["label"], sorted(sys.modules)]))
    os.kill(os.getpid(), signal.SIGTERM)

serve(Path(sys.argv[1]), None, ServingConfig(port=0, streams=1, max_batch=4),
      ready=lambda url: threading.Thread(target=ask, args=[url]).start())
"""
    arguments = [sys.executable, "-c", script, str(bundle.path), str(tmp_path / "picture.png")]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("COV")}
    ended = subprocess.run(arguments, capture_output=True, text=True, timeout=60, env=environment)
    assert ended.stderr == ""
    label, modules = json.loads(ended.stdout)
    assert label == "blue"
    heavy = {"torch", "torchvision", "timm", "lightning", "mlflow", "pyarrow", "typer", "rich"}
    heavy |= {"supervision", "cv2", "scipy", "matplotlib"}
    assert not heavy & set(modules)
    assert not [name for name in modules if name.startswith(("pixloop.training", "pixloop.export"))]
    # One engine only, and not OpenVINO's converter, which brings a telemetry client along.
    assert "openvino_telemetry" not in modules
    assert ("openvino" in modules) == (bundle.manifest.chosen_graph == "openvino")
    assert ("onnxruntime" in modules) == (bundle.manifest.chosen_graph == "onnx")


def test_answers_do_not_wait_for_acknowledgements():
    # Without it, every answer on a kept connection takes 40 ms more.
    with _listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
