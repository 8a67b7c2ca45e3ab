"""Small bundles with a certificate, made without torch."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from PIL import Image
from tests.serving.conftest import encode
from tests.small_bundles import (
    COLOURS,
    letterboxed,
    manifest,
    write_detector,
    write_graph,
)

from pixloop.bundle import (
    ARCHIVE,
    CERTIFICATE,
    BoxScores,
    Bundle,
    write_bundle,
)
from pixloop.export.certificate import Certificate
from pixloop.files import pack, write_text
from pixloop.serving.classifier import Classifier
from pixloop.serving.detector import Detector
from pixloop.serving.predictor import Predictor, open_predictor


def colours() -> list[bytes]:
    """Pictures whose colours are more and less clear."""
    rgb = [(255, 0, 0), (0, 220, 30), (40, 60, 200), (130, 120, 90), (120, 128, 100), (180, 20, 90)]
    return [encode(Image.new("RGB", (20, 30), each)) for each in rgb]


def scenes() -> list[bytes]:
    """Pictures with two coloured things, with a faint one, and with nothing."""
    things = [
        [((255, 0, 0), (20, 40, 60, 90)), ((0, 204, 0), (70, 40, 100, 90))],
        [((0, 0, 160), (10, 10, 50, 50)), ((240, 0, 0), (70, 20, 110, 60))],
        [],
    ]
    pictures = []
    for scene in things:
        image = Image.new("RGB", (128, 96))
        for colour, edges in scene:
            image.paste(colour, edges)
        pictures.append(encode(image))
    return pictures


def write_classifier(
    folder: Path, pictures: Sequence[bytes] | None = None, **changes: Any
) -> Bundle:
    """A bundle that tells colours apart; ``changes`` are of its manifest."""
    write_graph(folder / "graphs/model.onnx")
    fields = {"temperature": 1.5, **changes}
    return _finish(folder, fields, colours() if pictures is None else pictures)


def write_boxes(folder: Path, **changes: Any) -> Bundle:
    """A bundle that finds coloured things; ``changes`` are of its manifest."""
    write_detector(folder / "graphs/model.onnx")
    scores = BoxScores(slope=0.8, offset=0.3, minimum=0.6)
    fields: dict[str, Any] = {"name": "things", "task": "detection"}
    fields |= {"preprocessing": letterboxed(), "box_scores": scores, **changes}
    return _finish(folder, fields, scenes())


def rewrite(bundle: Bundle, folder: Path, **changes: Any) -> Bundle:
    """The same graph and certificate under another manifest, as a faulty deployment has it."""
    manifest = bundle.manifest.model_copy(update=changes)
    for name in ("graphs/model.onnx", CERTIFICATE):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes((bundle.path / name).read_bytes())
    return write_bundle(folder, manifest)


def spoil(bundle: Bundle) -> Bundle:
    """Change the bundle's graph by a little, after its certificate was written."""
    path = bundle.path / "graphs/model.onnx"
    graph = onnx.load(path)
    factors = onnx.numpy_helper.from_array(np.float32([10, 10.1, 10]), "ten")
    graph.graph.initializer[0].CopyFrom(factors)
    onnx.save(graph, path)
    return write_bundle(bundle.path, bundle.manifest)


def archive(bundle: Bundle) -> Path:
    """The bundle's ``model.tar.gz``, beside its folder."""
    target = bundle.path.with_name(f"{bundle.path.name}-{ARCHIVE}")
    pack(bundle.path, target)
    return target


def _finish(folder: Path, fields: dict[str, Any], pictures: Sequence[bytes]) -> Bundle:
    complete = manifest(**fields)
    predictor = open_predictor(write_bundle(folder, complete))
    stored = [_store(folder, predictor, number, each) for number, each in enumerate(pictures)]
    machine = {"cpu": "test", "threads": 1, "system": "test"}
    certificate = {
        "reference": "the graph itself",
        "batch_sizes": [1],
        "max_accuracy_loss": 0.001,
        "max_probability_difference": 0.001,
        "min_box_iou": 0.99 if complete.task == "detection" else None,
        "graphs": [{"format": "onnx", "verdict": "agrees", "reason": "", "latency_ms": 2.0}],
        "chosen_graph": "onnx",
        "machine": machine,
        "versions": {},
        "pictures": stored,
    }
    checked = Certificate.model_validate(certificate)
    write_text(folder / CERTIFICATE, checked.model_dump_json())
    return write_bundle(folder, complete)


def _store(folder: Path, predictor: Predictor, number: int, picture: bytes) -> dict[str, Any]:
    sha256 = hashlib.sha256(picture).hexdigest()
    file = folder / f"certificate/{sha256[:12]}.png"
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(picture)
    entry: dict[str, Any] = {"sha256": sha256, "path": f"test/{number:04}.png"}
    entry["file"] = f"certificate/{file.name}"
    if isinstance(predictor, Classifier):
        return entry | {"logits": predictor.logits([picture])[0].tolist()}
    assert isinstance(predictor, Detector)
    found = predictor.find([picture])[0]
    rows = zip(found.labels, found.scores.tolist(), found.boxes.tolist(), strict=True)
    boxes = [{"label": COLOURS[i], "score": score, "xyxy": xyxy} for i, score, xyxy in rows]
    return entry | {"boxes": boxes}
