"""The whole loop of a detector, as a user goes through it."""

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.without_studies import NO_STUDIES

from pixloop.data.annotations import AnnotatedBox, Annotation
from pixloop.data.formats import write_samples
from pixloop.data.samples import Shape, draw_shapes
from pixloop.pipeline.runs import list_runs
from pixloop.project import Project
from pixloop.records import Box, Sample
from pixloop.serving.capture.format import encode_capture
from pixloop.serving.codec import decode_request, encode_answer
from pixloop.serving.observing.observation import Exchange
from pixloop.serving.predictor import open_predictor

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SETTINGS = {
    "data": {"calibration_share": 0.2},
    "model": {"name": "retinanet_mobilenet_v2_fpn", "pretrained": False, "image_size": 64},
    "training": {"epochs": 1, "batch_size": 8, "workers": 0},
    "export": {"formats": ["onnx"]},
    "monitoring": {"odds_pictures": 0},
    **NO_STUDIES,
    "gate": {"minimum": 0.0},
}


def write_pictures(folder: Path, form: str) -> Path:
    (folder / "drawn").mkdir(parents=True)
    samples = []
    for number, (rgb, shapes) in enumerate(draw_shapes(60, seed=5)):
        path = folder / "drawn" / f"{number}.png"
        Image.fromarray(rgb).save(path)
        boxes = tuple(Box(shape.kind, shape.xyxy) for shape in shapes)
        split = "test" if number % 4 == 0 else "train"
        samples.append(Sample(path, None, split, path.name, boxes, (128, 128)))
    write_samples(samples, folder / form, form)
    return folder / form


def test_a_detector_goes_through_the_loop(tmp_path: Path) -> None:
    pictures = write_pictures(tmp_path, "yolo")
    project = Project.init(tmp_path / "shapes", str(pictures), "detection", SETTINGS)

    summary = project.run()

    assert summary.task == "detection"
    assert 0 <= summary.metrics["map_50"] <= 1
    assert summary.pictures["test"] == 15
    assert "AP50" in project.report().read_text(encoding="utf-8")
    version, bundle = project.bundle()
    assert (version, bundle.manifest.task) == (summary.version, "detection")
    assert bundle.manifest.box_scores is not None
    assert project.registry.show(version).metrics["map_50"] == summary.metrics["map_50"]

    sources = sorted((tmp_path / "drawn").glob("*.png"))[:3]
    for answer in project.predict(sources, draw=tmp_path / "found"):
        assert answer.error is None
        assert answer.boxes is not None
        assert (answer.width, answer.height) == (128, 128)
    assert len(list((tmp_path / "found").iterdir())) == 3

    again = project.run()

    assert set(again.steps.values()) == {"cached"} | {again.steps["Gate"], again.steps["Register"]}
    assert again.version == summary.version
    assert len(list_runs(project.state)) == 2
    # A champion is compared on the same pictures; what is as good as itself passes.
    project.registry.approve(version)
    compared = project.run()
    assert compared.metrics["map_50"] == summary.metrics["map_50"]

    _close_the_loop(project)


def _close_the_loop(project: Project) -> None:
    """It grows dark; people are asked, and the next version learns from what they say."""
    truth = _capture_in_the_dark(project, 160)

    look = project.monitor().look()

    assert look.seen == len(truth)
    assert "brightness" in {signal.name for signal in look.evidence.signals if signal.moved}
    assert [alarm.kind for alarm in look.open_alarms] == ["drift"]

    asked = project.collect()

    items = list(project.review.items("asked"))
    assert asked == len(items) == project.config.review.budget
    for item in items:
        boxes = tuple(AnnotatedBox(label=s.kind, xyxy=s.xyxy) for s in truth[item.sha256])
        said = Annotation(
            id=f"test-{item.sha256[:12]}", sha256=item.sha256, boxes=boxes,
            at="2026-11-27T00:00:00+00:00", drawn=item.drawn or "chosen",
        )  # fmt: skip
        assert project.annotations.add(said, project.review.picture(item.sha256))
        project.review.mark(item.sha256, "answered")

    learned = project.run()

    lineage = project.bundle(learned.version)[1].manifest.lineage["annotations"]
    assert lineage["count"] == len(items)
    assert learned.pictures["train"] > 36
    # Those drawn at random judge, and teach nothing.
    assert learned.pictures["test"] > 15


def _capture_in_the_dark(project: Project, count: int) -> dict[str, list[Shape]]:
    """What a server would have kept; the shapes of each picture, by its SHA-256."""
    version, bundle = project.bundle()
    predictor, model = open_predictor(bundle), f"{project.config.model_name}:{version}"
    truth, lines = {}, []
    for number, (rgb, shapes) in enumerate(draw_shapes(count, seed=9)):
        file = io.BytesIO()
        Image.fromarray((rgb * 0.4).astype(np.uint8)).save(file, "PNG")
        body = file.getvalue()
        truth[hashlib.sha256(body).hexdigest()] = list(shapes)
        request = decode_request(body, "image/png")
        exchange = Exchange(f"r{number}", model, 1.7e9 + number, "image/png", body, 200)
        exchange.answer, exchange.answer_type = encode_answer(
            request, predictor.predict([body]), model
        )
        lines.append(encode_capture(exchange))
    target = project.state / "captures" / "shapes" / "AllTraffic" / "2026/05/04/03"
    target.mkdir(parents=True)
    name = "02-01-000-00000000-0000-0000-0000-000000000000.jsonl"
    (target / name).write_bytes(b"".join(lines))
    return truth
