"""Projects whose data was prepared, and nothing trained: for the pages about data."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tests.conftest import QUICK

from pixloop.config import Config
from pixloop.data.prepare import prepare
from pixloop.files import write_json
from pixloop.pipeline.runs import RunRecord, StepRecord
from pixloop.project import Project
from pixloop.run_summary import EVALUATION, output_of

#: A class and a file that would be more than text, were they not escaped.
HOSTILE = "<img src=x onerror=alert(1)>"


def write_messy(folder: Path, count: int = 12) -> Path:
    """Class folders with all that is left out, or found, in some of their files."""
    random = np.random.default_rng(0)
    for label, colour in (
        ("blue", (30, 70, 200)),
        ("red", (210, 60, 40)),
        (HOSTILE, (40, 160, 60)),
    ):
        (folder / label).mkdir(parents=True)
        for i in range(count):
            Image.fromarray(_pixels(random, colour)).save(folder / label / f"{i}.png")
    blue, red = folder / "blue", folder / "red"
    (blue / "again.png").write_bytes((blue / "0.png").read_bytes())
    (blue / "two labels.png").write_bytes((red / "1.png").read_bytes())
    (red / "empty.png").write_bytes(b"")
    (red / "corrupt.png").write_bytes((red / "2.png").read_bytes()[:200])
    (red / "'\"><script>alert(1)</script>.png".replace("/", "∕")).write_bytes(b"no picture")
    smooth = Image.linear_gradient("L").resize((64, 64)).convert("RGB")
    smooth.save(red / "smooth.png")
    smooth.save(red / "smooth again.jpg", quality=90)
    return folder


def prepared(folder: Path, pictures: Path, task: str = "classification") -> Project:
    """A project whose one run has prepared its data, and no more."""
    settings = {**QUICK, **({"model": {"image_size": 32}} if task == "detection" else {})}
    project = Project.init(folder, str(pictures), task, settings=settings)
    prepare_again(project, "20260301T120000000-aaaa", "2026-03-01T12:00:00+00:00")
    return project


def prepare_again(project: Project, run: str, started: str) -> RunRecord:
    """Add a run that has prepared the data as it lies now."""
    record = RunRecord(
        id=run,
        status="done",
        pid=1,
        started=started,
        steps={"Prepare": StepRecord(status="done", started=started, seconds=1.0)},
        folder=project.state / "runs" / run,
    )
    config: Config = project.config
    pictures = project.folder / config.data.train
    output = output_of(record, "Prepare", "dataset")
    prepare(config.data, pictures, None, output, project.folder / f"work-{run}", config.task)
    record.save()
    return record


def report_doubts(project: Project, paths: list[str], likely: str) -> None:
    """Give the last run a report that doubts the labels of some pictures."""
    run, data = project.runs()[0], project.dataset()
    assert data is not None
    found = {
        row.path: (split, row, data.info.classes)
        for split in ("train", "validation", "calibration", "test")
        for row in data.split(split)
    }
    review = [
        _doubt(number, path, likely, *found[path]) for number, path in enumerate(paths, start=1)
    ]
    trust: dict[str, Any] = {
        "labels": {"judged": len(found), "doubtful": len(review), "estimate": None},
        "leaks": {"pictures": 0, "metric": "accuracy", "value": 1.0, "without": 1.0, "pairs": []},
        "duplicates": {"pairs_found": 0, "conflicting": 0, "pairs": []},
        "review": review,
    }
    file = output_of(run, "Evaluate", "evaluation") / EVALUATION
    write_json(file, {"pixloop": {"trust": trust}})


def write_boxes(folder: Path, count: int = 14) -> Path:
    """COCO: bright squares and dark ones on gray, a box around each."""
    random = np.random.default_rng(0)
    images, annotations = [], []
    folder.mkdir(parents=True)
    for i in range(count):
        pixels = random.integers(110, 140, (48, 64, 3)).astype(np.uint8)
        for category, level in ((1, 250), (2, 5)):
            x, y = int(random.integers(2, 20)) + 26 * (category - 1), int(random.integers(2, 30))
            pixels[y : y + 12, x : x + 12] = level
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": i,
                    "category_id": category,
                    "bbox": [x, y, 12, 12],
                    "iscrowd": 0,
                    "area": 144,
                }
            )
        Image.fromarray(pixels).save(folder / f"{i}.png")
        images.append({"id": i, "file_name": f"{i}.png", "width": 64, "height": 48})
    # One without an area, one outside its picture.
    for bbox in ([5, 5, 0, 5], [500, 500, 5, 5]):
        annotations.append(
            {
                "id": len(annotations) + 1,
                "image_id": 0,
                "category_id": 1,
                "bbox": bbox,
                "iscrowd": 0,
                "area": 1,
            }
        )
    categories = [{"id": 1, "name": "bright"}, {"id": 2, "name": "dark"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "labels.json").write_text(json.dumps(content))
    return folder


def _pixels(random: np.random.Generator, colour: tuple[int, int, int]) -> Any:
    return np.clip(random.normal(colour, 30, (24, 24, 3)), 0, 255).astype(np.uint8)


def _doubt(
    number: int, path: str, likely: str, split: str, row: Any, classes: tuple[str, ...]
) -> dict[str, Any]:
    label = classes[row.label]
    return {
        "number": number,
        "split": split,
        "path": path,
        "sha256": row.sha256,
        "detail": f"labelled {label}; by the other pictures it is {likely} (91 %)",
        "weight": 0.91,
        "label": label,
        "likely": likely,
        "answer": {"label": likely, "score": 0.91, "probabilities": {likely: 0.91}},
    }
