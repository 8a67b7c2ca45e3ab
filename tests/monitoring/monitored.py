"""A bundle with a reference and no graph, and captures of answers to made pictures."""

import io
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import numpy as np
from PIL import Image

from pixloop.bundle import (
    Bundle,
    Graph,
    Manifest,
    Preprocessing,
    ReferenceRecord,
    Threshold,
    write_bundle,
)
from pixloop.config import Config
from pixloop.config_file import parse_config
from pixloop.monitoring.extractor import Extractor
from pixloop.monitoring.monitor import Monitor
from pixloop.monitoring.reference import FOLDER, Reference, save_reference
from pixloop.monitoring.signals import answer_signals, score_of
from pixloop.records import Decision, Prediction
from pixloop.serving.capture.format import encode_capture
from pixloop.serving.codec import decode_request, encode_answer
from pixloop.serving.observing.observation import Exchange

CLASSES = ("cat", "dog")
MODEL = "pets:1"
_BEGAN = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC).timestamp()


def config(**monitoring: object) -> Config:
    raw = {"name": "pets", "task": "classification", "data": {"train": "pictures"}}
    return parse_config({**raw, "monitoring": monitoring}, where="pixloop.yaml")


def picture(random: np.random.Generator, dark: bool = False) -> bytes:
    mean = random.uniform(40, 60) if dark else random.uniform(80, 170)
    grey = np.clip(random.normal(mean, 8, (16, 16, 1)), 0, 255).astype(np.uint8)
    pixels = np.repeat(grey, 3, axis=2)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def answer(random: np.random.Generator) -> Prediction:
    score = float(random.uniform(0.6, 0.99))
    label = str(random.choice(CLASSES))
    other = CLASSES[1 - CLASSES.index(label)]
    decision = Decision.ACCEPT if score > 0.8 else Decision.REFER
    return Prediction(label, score, {label: score, other: 1 - score}, decision)


def make_bundle(folder: Path, pictures: int = 300) -> Bundle:
    random = np.random.default_rng(1)
    images, answers = (
        [picture(random) for _ in range(pictures)],
        [answer(random) for _ in range(pictures)],
    )
    extractor = Extractor(answer_signals("classification", answers))
    measured = extractor.measure(images, answers)
    reference = Reference(
        signals=extractor.signals,
        values=measured.values,
        embeddings=measured.embeddings,
        scores=np.array([score_of(each) for each in answers], np.float32),
        correct=(random.random(pictures) < 0.9).astype(np.float32),
        thumbnails=(images[0],),
    )
    save_reference(folder / FOLDER, reference)
    (folder / "graph.onnx").write_bytes(b"none")
    manifest = Manifest(
        name="pets",
        created="2026-05-04T03:02:01+00:00",
        classes=CLASSES,
        preprocessing=Preprocessing(
            image_size=16, mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="bilinear"
        ),
        graphs=(Graph(format="onnx", file="graph.onnx"),),
        chosen_graph="onnx",
        temperature=1.0,
        threshold=Threshold(
            score=0.8, max_error=0.1, confidence=0.9, accepted_share=0.5, error=0.0, pictures=9
        ),
        reference=ReferenceRecord(split="calibration", pictures=pictures),
        lineage={},
        versions={},
    )
    return write_bundle(folder, manifest)


def capture(
    folder: Path,
    bodies: list[tuple[bytes, str]],
    random: np.random.Generator,
    model: str = MODEL,
    hour: int = 3,
) -> Path:
    """One published file with an exchange for each body."""
    lines = []
    for i, (body, content_type) in enumerate(bodies):
        request = decode_request(body, content_type)
        answers = [answer(random) for _ in request.pictures]
        exchange = Exchange(f"r{i}", model, _BEGAN + i, content_type, body)
        exchange.status = 200
        exchange.answer, exchange.answer_type = encode_answer(request, answers, model)
        lines.append(encode_capture(exchange))
    file = folder / f"pets/AllTraffic/2026/05/04/{hour:02d}/02-01-000-{uuid4()}.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"".join(lines))
    return file


def clean(count: int, random: np.random.Generator, dark: bool = False) -> list[tuple[bytes, str]]:
    return [(picture(random, dark), "image/png") for _ in range(count)]


def open_monitor(folder: Path, bundle: Bundle, **monitoring: object) -> Monitor:
    return Monitor(
        folder / "monitoring",
        config(**monitoring),
        "1",
        bundle,
        folder / "captures",
        folder / "annotations",
    )
