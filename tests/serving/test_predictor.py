import importlib.util
import shutil
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from tests.small_bundles import by_class, manifest

from pixloop.bundle import Bundle, Graph, Manifest
from pixloop.errors import BundleError, ImageError, ImageTooLarge, ServingError
from pixloop.records import Decision, Prediction
from pixloop.serving.classifier import softmax
from pixloop.serving.model import BATCH_SIZE
from pixloop.serving.predictor import Predictor, choose_graph, make_predictor, open_predictor

Make = Callable[..., bytes]


def test_predicts_each_picture_in_order(predictor: Predictor, make_picture: Make) -> None:
    colours = ["red", "blue", "lime"] * 15  # more than two batches
    predictions = predictor.predict([make_picture(colour) for colour in colours])
    assert [p.label for p in predictions] == ["red", "blue", "green"] * 15
    for prediction in predictions:
        assert list(prediction.probabilities) == ["red", "green", "blue"]
        assert sum(prediction.probabilities.values()) == pytest.approx(1)
        assert prediction.score == prediction.probabilities[prediction.label]


def test_nothing_asked_is_nothing_answered(predictor: Predictor) -> None:
    assert predictor.predict([]) == []
    assert predictor.logits([]).shape == (0, 3)


def test_logits_are_raw_and_predictions_calibrated(
    predictor: Predictor, make_picture: Make
) -> None:
    picture = make_picture((255, 204, 0))
    logits = predictor.logits([picture])
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, [[10, 8, 0]], atol=1e-4)
    (prediction,) = predictor.predict([picture])
    assert prediction.score == pytest.approx(1 / (1 + np.exp(-2) + np.exp(-10)), abs=1e-4)
    assert prediction.decision is Decision.REFER  # 0.88 is below the threshold of 0.9
    warm = predictor.manifest.model_copy(update={"temperature": 2.0})
    (prediction,) = make_predictor(warm, predictor._engine).predict([picture])
    assert prediction.score == pytest.approx(1 / (1 + np.exp(-1) + np.exp(-5)), abs=1e-4)


def test_a_sure_prediction_is_accepted(predictor: Predictor, make_picture: Make) -> None:
    (prediction,) = predictor.predict([make_picture("red")])
    assert prediction.decision is Decision.ACCEPT


def test_each_class_has_its_own_threshold(predictor: Predictor, make_picture: Make) -> None:
    # Red and blue are as sure as can be; what is nearly yellow is 0.88 sure to be red or green.
    pictures = [make_picture(colour) for colour in ("red", "blue", (255, 204, 0), (204, 255, 0))]
    threshold = by_class(red=0.95, green=0.8, blue=None)
    manifest = predictor.manifest.model_copy(update={"threshold": threshold})
    answers = make_predictor(manifest, predictor._engine).predict(pictures)
    assert [(a.label, str(a.decision)) for a in answers] == [
        ("red", "accept"),
        ("blue", "refer"),
        ("red", "refer"),
        ("green", "accept"),
    ]


def test_a_bad_picture_is_named_by_its_index(predictor: Predictor, make_picture: Make) -> None:
    pictures = [make_picture()] * 20 + [b"nonsense"]
    with pytest.raises(ImageError, match=r"^picture 20: not a picture"):
        predictor.predict(pictures)
    with pytest.raises(ImageError, match=r"^picture 0: the file is empty"):
        predictor.logits([b""])


def test_a_stream_goes_on_after_a_bad_picture(predictor: Predictor, make_picture: Make) -> None:
    taken = 0

    def stream() -> Iterator[bytes]:
        nonlocal taken
        for picture in [make_picture("red"), b"nonsense", make_picture("blue")] * 20:
            taken += 1
            yield picture

    answers = predictor.predict_each(stream())
    first, second, third = next(answers), next(answers), next(answers)
    assert isinstance(first, Prediction)
    assert isinstance(second, ImageError)
    assert isinstance(third, Prediction)
    assert (first.label, third.label) == ("red", "blue")
    assert taken <= BATCH_SIZE  # a stream is not gathered first
    assert len(list(answers)) == 57


def test_a_picture_of_too_many_pixels_is_not_decoded(predictor: Predictor) -> None:
    buffer = BytesIO()
    Image.new("1", (10_000, 6_000)).save(buffer, "PNG")
    with pytest.raises(ImageTooLarge, match="picture 0: 10000×6000"):
        predictor.predict([buffer.getvalue()])


def test_either_graph_can_be_asked_for(bundle: Bundle, make_picture: Make) -> None:
    answers = [open_predictor(bundle, g).predict([make_picture()])[0] for g in ("onnx", "openvino")]
    assert answers[0].label == answers[1].label == "red"
    with pytest.raises(BundleError, match="no torchscript graph"):
        open_predictor(bundle, "torchscript")


@pytest.mark.parametrize("name", ["graphs/model.onnx", "graphs/model.xml", "graphs/model.bin"])
def test_a_graph_that_was_altered_is_not_loaded(bundle: Bundle, name: str, tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(bundle.path, folder)
    with (folder / name).open("ab") as file:
        file.write(b" ")
    graph = "onnx" if name.endswith("onnx") else "openvino"
    with pytest.raises(BundleError, match=name):
        open_predictor(Bundle.open(folder), graph)


@pytest.mark.parametrize("wrong", [np.zeros((1, 2)), np.zeros((2, 3)), np.full((1, 3), np.nan)])
def test_wrong_logits_are_a_serving_error(
    predictor: Predictor, make_picture: Make, wrong: np.ndarray
) -> None:
    broken = make_predictor(predictor.manifest, lambda images: (wrong.astype(np.float32),))
    with pytest.raises(ServingError, match="colours"):
        broken.predict([make_picture()])


@given(
    logits=arrays(np.float32, (4, 3), elements=st.floats(-1e4, 1e4, width=32)),
    temperature=st.floats(0.05, 50),
)
def test_softmax_gives_probabilities_in_the_order_of_the_logits(
    logits: np.ndarray, temperature: float
) -> None:
    shares = softmax(logits, temperature)
    assert np.isfinite(shares).all()
    assert (shares >= 0).all()
    np.testing.assert_allclose(shares.sum(1), 1)
    # Ties of shares may hide differences of logits, never turn them round.
    order = np.argsort(logits, axis=1)
    assert (np.diff(np.take_along_axis(shares, order, 1), axis=1) >= 0).all()


def test_softmax_of_a_batch_is_that_of_each_row() -> None:
    rng = np.random.default_rng(0)
    for classes in (2, 3, 6, 7, 100, 1000, 1001):
        logits = rng.normal(0, 5, (17, classes)).astype(np.float32)
        rows = [softmax(row, 1.3) for row in logits]
        np.testing.assert_array_equal(softmax(logits, 1.3), rows)


def offer(*names: str) -> Manifest:
    """A manifest with these graphs, the first of them the chosen one."""
    graphs = tuple(
        Graph(format=format_, precision=precision or "float32", file="graphs/x")  # type: ignore[arg-type]
        for format_, _, precision in (name.partition("-") for name in names)
    )
    return manifest(graphs=graphs, chosen_graph=names[0])


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes this one of another kind."""

    def be(processor: str = "x86_64", *, bfloat16: bool = True, cuda: bool = False) -> None:
        monkeypatch.setattr("platform.machine", lambda: processor)
        monkeypatch.setattr("pixloop.serving.predictor.computes_in_bfloat16", lambda: bfloat16)
        monkeypatch.setattr("pixloop.serving.predictor.computes_on_cuda", lambda: cuda)

    return be


@pytest.mark.parametrize(
    ("here", "graphs", "expected"),
    [
        ({}, ["openvino-int8", "openvino", "onnx"], "openvino-int8"),
        ({}, ["onnx", "openvino"], "onnx"),
        ({}, ["openvino-bfloat16", "openvino", "onnx"], "openvino-bfloat16"),
        ({"bfloat16": False}, ["openvino-bfloat16", "openvino-int8", "openvino"], "openvino"),
        ({"bfloat16": False}, ["openvino-bfloat16", "onnx"], "onnx"),
        ({"bfloat16": False}, ["openvino-int8-bfloat16", "openvino-int8", "onnx"], "openvino-int8"),
        ({"bfloat16": False}, ["openvino-int8-bfloat16", "openvino", "onnx"], "openvino"),
        ({"processor": "aarch64"}, ["openvino", "onnx"], "onnx"),
        ({"processor": "arm64"}, ["openvino-int8", "openvino", "onnx"], "onnx"),
        ({"processor": "arm64"}, ["openvino-int8", "openvino"], "openvino-int8"),
        ({"processor": "AMD64"}, ["openvino", "onnx"], "openvino"),
        ({"cuda": True}, ["openvino-int8", "openvino", "onnx"], "onnx"),
        ({"cuda": True}, ["openvino"], "openvino"),
        ({}, ["torchscript"], "torchscript"),
        ({}, ["torchscript", "onnx"], "onnx"),
    ],
)
def test_the_graph_that_this_machine_computes_best(
    machine: Callable[..., None],
    caplog: pytest.LogCaptureFixture,
    here: dict[str, Any],
    graphs: list[str],
    expected: str,
) -> None:
    machine(**here)
    assert choose_graph(offer(*graphs)) == expected
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == (expected != graphs[0])
    for each in told:
        assert f"serving the {expected} graph instead of {graphs[0]}: " in each


def test_why_it_is_another_graph_is_said(
    machine: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    machine(bfloat16=False)
    choose_graph(offer("openvino-bfloat16", "openvino"))
    assert "this CPU does not compute in bfloat16" in caplog.text


def test_what_is_wanted_is_served_whatever_the_machine(machine: Callable[..., None]) -> None:
    machine("aarch64", bfloat16=False)
    offered = offer("onnx", "openvino-bfloat16", "torchscript")
    for name in ("onnx", "openvino-bfloat16", "torchscript"):
        assert choose_graph(offered, name) == name
    with pytest.raises(BundleError, match="no tflite graph; it has onnx, openvino-bfloat16, torch"):
        choose_graph(offered, "tflite")


def test_a_graph_without_its_runtime_is_passed_over(
    machine: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine()
    find = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "openvino" else find(name)
    )
    assert choose_graph(offer("openvino", "onnx")) == "onnx"
    with pytest.raises(BundleError, match="runs here: openvino: the package openvino is not"):
        choose_graph(offer("openvino"))
