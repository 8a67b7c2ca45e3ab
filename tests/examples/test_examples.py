"""Each example, on a small stand-in of its source's layout."""

import csv
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pixloop.config_file import load_config
from pixloop.data.dataset import Dataset
from pixloop.data.prepare import prepare

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def example(tmp_path, request) -> Path:
    """A copy of the example that the test is about, to work in."""
    folder = tmp_path / request.param
    shutil.copytree(EXAMPLES / request.param, folder)
    return folder


def run_script(script: Path, *arguments: str) -> str:
    command = [sys.executable, str(script), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def write_noise(path: Path, seed: int, size: int = 40) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size, 3), np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.mark.parametrize("folder", sorted(p.parent.name for p in EXAMPLES.glob("*/pixloop.yaml")))
def test_every_example_is_valid_and_listed(folder):
    assert load_config(EXAMPLES / folder / "pixloop.yaml").name == folder
    assert f"]({folder})" in (EXAMPLES / "README.md").read_text()


@pytest.mark.parametrize("example", ["bicycle-or-motorcycle"], indirect=True)
def test_bicycles_and_motorcycles_are_taken_out_of_cifar(example, tmp_path):
    random = np.random.default_rng(0)
    records = random.integers(0, 256, (100, 3074), np.uint8)
    records[:, 1] = np.arange(100)
    records[48, 2:] = np.repeat([10, 20, 30], 1024)  # one motorcycle of a single colour
    source = tmp_path / "cifar-100-binary"
    source.mkdir()
    for split in ("train", "test"):
        records.tofile(source / f"{split}.bin")

    run_script(example / "get_pictures.py", "--source", str(source))

    written = sorted(p.relative_to(example / "pictures").as_posix() for p in example.rglob("*.png"))
    assert written == [
        f"{split}/{name}.png"
        for split in ("test", "train")
        for name in ("bicycle/00008", "motorcycle/00048")
    ]
    assert Image.open(example / "pictures/test/motorcycle/00048.png").getpixel((5, 9)) == (
        10,
        20,
        30,
    )


@pytest.mark.parametrize("example", ["hand-drawn-shapes"], indirect=True)
def test_people_who_draw_shapes_are_on_one_side(example, tmp_path):
    for i, person in enumerate(("aly", "ben", "cam", "dot", "eve", "fay")):
        for j, shape in enumerate(("ellipse", "triangle")):
            name = f"data/user.{person}/images/{shape}/{shape}.{person}.0001.png"
            write_noise(tmp_path / "repository" / name, 10 * i + j)

    run_script(example / "label.py", "--source", str(tmp_path / "repository"))

    with (example / "labels.csv").open() as file:
        rows = list(csv.DictReader(file))
    sides = {(Path(row["path"]).parents[2].name, row["split"]) for row in rows}
    assert len(rows) == 12
    assert len(sides) == 6
    assert {split for _, split in sides} == {"train", "test"}
    config = load_config(example / "pixloop.yaml")
    info = prepare(config.data, example / config.data.train, None, tmp_path / "out", tmp_path / "w")
    assert info.classes == ("ellipse", "triangle")


def test_the_layout_of_intel_scenes_is_understood(tmp_path):
    source = tmp_path / "intel"
    for i in range(12):
        scene = ("sea", "forest")[i % 2]
        write_noise(source / f"seg_train/seg_train/{scene}/{i}.jpg", i)
        write_noise(source / f"seg_test/seg_test/{scene}/{i}.jpg", 100 + i)
    write_noise(source / "seg_pred/seg_pred/1.jpg", 200)
    config = load_config(EXAMPLES / "intel-scenes/pixloop.yaml")

    info = prepare(config.data, source, None, tmp_path / "out", tmp_path / "work")

    assert info.classes == ("forest", "sea")
    assert len(Dataset.open(tmp_path / "out").split("test")) == 12
    assert "seg_pred" in (tmp_path / "out/quarantine.jsonl").read_text()
