"""Swaps of a real server's model, under load."""

import importlib.util
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.certified_bundles import colours, write_classifier
from tests.serving.models.test_served import with_openvino

from pixloop.bundle import Bundle, write_bundle
from pixloop.project import Project
from pixloop.serving.client import Client
from pixloop.serving.predictor import open_predictor

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def hot_swaps() -> ModuleType:
    """The program that the benchmark runs."""
    file = Path(__file__).parents[3] / "benchmarks/serving/hot_swaps.py"
    spec = importlib.util.spec_from_file_location("hot_swaps", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["hot_swaps"] = module
    spec.loader.exec_module(module)
    return module


def test_no_request_fails_while_a_model_is_swapped(hot_swaps: ModuleType, tmp_path: Path) -> None:
    bundles = [
        with_openvino(write_classifier(tmp_path / name, temperature=temperature), "openvino").path
        for name, temperature in (("mild", 3.0), ("sure", 1.0))
    ]
    result = hot_swaps.swap_under_load(bundles, colours(), swaps=20, clients=4)
    assert result.failures == []
    assert result.swaps == 20
    assert min(result.requests["0"], result.requests["1"]) > 0
    assert result.growth(after=10) < 0.1


def write_fragile(folder: Path) -> Bundle:
    """As the classifier, and certified as it is, but its logits are no numbers for white."""
    constants = {"ten": np.float32([10, 10, 10]), "most": np.float32(0.95)}
    node = helper.make_node
    nodes = [
        node("GlobalAveragePool", ["images"], ["mean"]),
        node("Flatten", ["mean"], ["flat"]),
        node("Mul", ["flat", "ten"], ["right"]),
        node("ReduceMin", ["flat"], ["darkest"], keepdims=1, axes=[1]),
        node("Sub", ["most", "darkest"], ["left"]),
        node("Sqrt", ["left"], ["root"]),
        node("Sub", ["root", "root"], ["nothing"]),
        node("Add", ["right", "nothing"], ["logits"]),
    ]
    float_ = TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "fragile",
        [helper.make_tensor_value_info("images", float_, ["N", 3, 8, 8])],
        [helper.make_tensor_value_info("logits", float_, ["N", 3])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    bundle = write_classifier(folder)
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=10)
    onnx.save(model, bundle.path / "graphs/model.onnx")
    return write_bundle(folder, bundle.manifest)


def test_a_version_that_errs_goes_again_without_a_failed_request(
    hot_swaps: ModuleType, tmp_path: Path, make_picture: Any
) -> None:
    good = write_classifier(tmp_path / "models/good")
    write_fragile(tmp_path / "models/fragile")
    statuses: list[int] = []
    stop = threading.Event()

    def ask(url: str, picture: bytes) -> None:
        with httpx.Client() as http:
            while not stop.is_set():
                headers = {"Content-Type": "image/png"}
                answer = http.post(f"{url}/models/m/invoke", content=picture, headers=headers)
                statuses.append(answer.status_code)

    with hot_swaps.serving(tmp_path / "models") as (url, _):
        loaded = {"model_name": "m", "url": "good", "version": "1"}
        httpx.post(f"{url}/models", json=loaded).raise_for_status()
        pictures = [make_picture("red"), make_picture("white"), make_picture("blue")]
        asking = [threading.Thread(target=ask, args=[url, picture]) for picture in pictures]
        for thread in asking:
            thread.start()
        swapped = httpx.put(f"{url}/models/m", json={"url": "fragile", "version": "2"})
        assert swapped.status_code == 200  # its certificate has no white picture
        while httpx.get(f"{url}/models/m").json()["version"] != "m:1":
            time.sleep(0.01)
        enough = len(statuses) + 30
        while len(statuses) < enough:
            time.sleep(0.01)
        stop.set()
        for thread in asking:
            thread.join()
        assert set(statuses) == {200}
        swap = httpx.get(f"{url}/models/m").json()["lastSwap"]
        assert (swap["version"], swap["outcome"]) == ("m:2", "rolled back")
        assert "not finite" in swap["reason"]
        assert 'result="rolled_back"' in httpx.get(f"{url}/metrics").text
        with Client(f"{url}/models/m") as client:
            assert client.ping() == "m:1"
            assert client.predict(pictures) == open_predictor(good).predict(pictures)


def test_a_server_follows_the_champion(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    settings = {"serving": {"follow_s": 0.1, "max_batch": 4, "streams": 1}}
    project = Project.init(tmp_path / "colours", str(tmp_path / "pictures"), settings=settings)
    evaluation = tmp_path / "evaluation.json"
    evaluation.write_text('{"pixloop": {"metrics": {"accuracy": 0.9}}}')
    registry = project.registry
    for temperature in (1.0, 2.0):
        bundle = write_classifier(tmp_path / f"bundle-{temperature}", temperature=temperature)
        registry.register(bundle.path, evaluation)
    registry.approve("1")
    command = [sys.executable, "-m", "pixloop", "serve", "--port", "0"]
    with subprocess.Popen(
        command, cwd=project.folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        try:
            url = process.stdout.readline().split(" on ")[1].strip()
            assert httpx.get(f"{url}/ping").json()["model"] == "colours:1"
            registry.approve("2")
            wait_for(url, "colours:2")
            registry.rollback()
            wait_for(url, "colours:1")
            # A registry that cannot be read changes nothing.
            (project.state / "registry" / "registry.db").write_bytes(b"no database")
            time.sleep(1)
            assert httpx.get(f"{url}/ping").json()["model"] == "colours:1"
            with Client(url) as client:
                assert client.predict([colours()[0]])[0].label == "red"
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


def wait_for(url: str, model: str) -> None:
    while httpx.get(f"{url}/ping").json()["model"] != model:
        time.sleep(0.05)
