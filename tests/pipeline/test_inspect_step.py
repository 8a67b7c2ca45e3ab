"""Inspect and Prepare as the pipeline runs them: more instances change nothing in the data set."""

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pixloop.config_file import parse_config
from pixloop.files import sha256_folder
from pixloop.pipeline.definition import build_definition
from pixloop.pipeline.display import Silent
from pixloop.pipeline.local import run_local

Json = dict[str, Any]


class Counted(Silent):
    """How many pictures each step has decoded."""

    def __init__(self) -> None:
        self.checked: dict[str, int] = {}

    def step_advanced(
        self, step: str, description: str, done: int, total: int | None, note: str
    ) -> None:
        if description == "checking pictures":
            self.checked[step] = max(self.checked.get(step, 0), total or 0)


def picture(seed: int, orientation: int = 1, quality: int = 90) -> bytes:
    blobs = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    image = Image.fromarray(blobs).resize((64, 48), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[0x0112] = orientation
    encoded = io.BytesIO()
    image.save(encoded, "JPEG", exif=exif, quality=quality)
    return encoded.getvalue()


def odd_pictures(seed: int = 0) -> dict[str, bytes]:
    """What pictures come with: copies, near-copies, turned ones, and files that are none."""
    return {
        **{f"{number:02}.jpg": picture(seed + number) for number in range(20)},
        "copy.jpg": picture(seed + 4),
        "near.jpg": picture(seed + 5, quality=40),
        "turned.jpg": picture(seed + 30, orientation=6),
        "other turned.jpg": picture(seed + 32, orientation=8),
        "turned again.jpg": picture(seed + 30, orientation=6),
        "corrupt.jpg": picture(seed + 31)[:900],
        "words.jpg": b"no picture",
        "empty.jpg": b"",
    }


def class_folders(folder: Path, seed: int) -> None:
    for number, (name, content) in enumerate(odd_pictures(seed).items()):
        file = folder / ("cat", "dog")[number % 2] / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)


def coco(folder: Path, seed: int) -> None:
    """A label file among the pictures, which lies on one instance only."""
    (folder / "images").mkdir(parents=True)
    images, boxes = [], []
    for number, (name, content) in enumerate(odd_pictures(seed).items()):
        (folder / "images" / name).write_bytes(content)
        images.append({"id": number, "file_name": f"images/{name}"})
        # A copy has the boxes of its original, or it would contradict it.
        x = 4 if name == "copy.jpg" else 22 if name.startswith("turned") else number
        box = {"id": number, "image_id": number, "category_id": 1, "bbox": [x, 5, 20, 20]}
        boxes.append({**box, "area": 400, "iscrowd": 0})
    categories = [{"id": 1, "name": "thing"}]
    labels = {"images": images, "annotations": boxes, "categories": categories}
    (folder / "labels.json").write_text(json.dumps(labels))


SOURCES: dict[str, Callable[[Path, int], None]] = {
    "classification": class_folders,
    "detection": coco,
}


def prepare(
    task: str, sources: tuple[Path, Path | None], state: Path, instances: int
) -> tuple[str, Counted, Path]:
    """Run the pipeline up to Prepare; the digest of the data set, and where it is."""
    train, test = sources
    raw = {"task": task, "data": str(train), "aws": {"processing_instances": instances}}
    definition = build_definition(
        parse_config(raw, []), train=train.as_uri(), test=test.as_uri() if test else None
    )
    steps = [s for s in definition["Steps"] if s["Name"] in ("Inspect", "Prepare")]
    counted = Counted()
    record = run_local({**definition, "Steps": steps}, state, listener=counted)
    dataset = state / str(record.steps["Prepare"].folder) / "ml/processing/output/dataset"
    return sha256_folder(dataset), counted, dataset


@pytest.mark.parametrize(("task", "separate"), [("classification", True), ("detection", False)])
def test_the_data_set_is_the_same_whatever_the_number_of_instances(
    task: str, separate: bool, tmp_path: Path
) -> None:
    train, test = tmp_path / "train", tmp_path / "test" if separate else None
    SOURCES[task](train, 0)
    if test is not None:
        SOURCES[task](test, 100)
        shutil.copyfile(next(train.rglob("07.jpg")), next(test.rglob("08.jpg")))
    one, by_one, dataset = prepare(task, (train, test), tmp_path / "one", 1)
    two, _, _ = prepare(task, (train, test), tmp_path / "two", 2)
    three, by_three, _ = prepare(task, (train, test), tmp_path / "three", 3)
    assert one == two == three
    assert by_one.checked == {"Prepare": (1 + separate) * len(odd_pictures())}
    assert by_three.checked["Inspect"] < by_one.checked["Prepare"]  # each instance, its share
    assert by_three.checked.get("Prepare", 0) == 0
    kinds = {f["kind"] for f in json.loads((dataset / "data_report.json").read_text())["findings"]}
    assert {"duplicate", "empty", "not_a_picture", "corrupt"} <= kinds
