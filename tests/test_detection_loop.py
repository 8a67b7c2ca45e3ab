"""The whole loop of a detector, as a user goes through it."""

from pathlib import Path

import pytest
from PIL import Image

from pixloop.data.formats import write_samples
from pixloop.data.samples import draw_shapes
from pixloop.pipeline.runs import list_runs
from pixloop.project import Project
from pixloop.records import Box, Sample

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SETTINGS = {
    "data": {"calibration_share": 0.2},
    "model": {"name": "retinanet_mobilenet_v2_fpn", "pretrained": False, "image_size": 64},
    "training": {"epochs": 1, "batch_size": 8, "workers": 0},
    "export": {"formats": ["onnx"]},
    "monitoring": {"odds_pictures": 0},
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
