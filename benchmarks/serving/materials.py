"""What is served and what is sent: two bundles, made by pixloop itself, and pictures.

    python materials.py WORK [--data FOLDER] [--untrained]

FOLDER holds class folders of pictures, as ``train`` and ``test`` or together; without one, shapes
are drawn under six colours of light. Training is short and on small pictures, since weights decide
nothing about speed; the bundles are for 224×224. ``--untrained`` leaves the weights random and
takes few pictures: enough where only speed counts. What is there already is not made again.
"""

import argparse
import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from subjects import IMAGE_SIZE, MODELS, SIZE_NAMES, SIZES

from pipeline import Pipeline
from pixloop.bundle import MANIFEST, Bundle
from pixloop.config import Config
from pixloop.data.dataset import Dataset
from pixloop.data.prepare import prepare
from pixloop.data.samples import draw_shapes
from pixloop.export.export import write_graphs
from pixloop.files import atomic_path, write_json
from pixloop.pipeline.calibration import seal_calibrated
from pixloop.training.models import TrainedModel, build_model, save_model
from pixloop.training.train import train

PICTURES = 24  # of each size

_TRAINED_AT = 64  # pixels
_LIGHTS = {
    "red": (1, 0.5, 0.5), "green": (0.5, 1, 0.5), "blue": (0.5, 0.5, 1),
    "cyan": (0.5, 1, 1), "magenta": (1, 0.5, 1), "yellow": (1, 1, 0.5),
}  # fmt: skip
#: Wider than the defaults, so that what the machine computes fastest in may be served with weights
#: that a short training left unsure; RESULTS.md says what the defaults would have served.
_EXPORT = {"max_accuracy_loss": 0.03, "max_reduced_difference": 0.5}
#: Quantising takes a while, and the share of the limit is much the same in any precision.
_QUICK_EXPORT = {"precisions": ["float32", "bfloat16"]}


def make_bundle(name: str, dataset: Path, folder: Path, *, untrained: bool) -> Bundle:
    """Train, export and certify one model.

    Args:
        name: timm's.
        dataset: what ``prepare`` wrote.
        folder: gets ``model/`` with the weights and ``bundle/``.
        untrained: leave the weights random.
    """
    model, bundle = folder / "model", folder / "bundle"
    if (bundle / MANIFEST).exists():
        return Bundle.open(bundle)
    config = Config.model_validate(
        {
            "task": "classification",
            "name": name.replace("_", "-"),
            "data": {"train": str(dataset)},
            "model": {"name": name, "pretrained": False, "image_size": _TRAINED_AT},
            "training": {
                "epochs": 6, "batch_size": 32, "learning_rate": 2e-3, "label_smoothing": 0.0,
                # bfloat16 slows depthwise convolutions down when they learn on a CPU.
                "precision": "float32",
                "augmentations": ["flip", "crop"], "seed": 0,
            },
            "export": {**_EXPORT, **(_QUICK_EXPORT if untrained else {})},
        }
    )  # fmt: skip
    if untrained:
        _save_random(config, dataset, model)
    elif not (model / "training.json").exists():
        train(config, dataset, model, folder / "checkpoints", folder / "logs")
    _set_image_size(model / "model.json")
    return seal_calibrated(config, write_graphs(config, model, dataset, bundle), dataset)


def _save_random(config: Config, dataset: Path, model: Path) -> None:
    classes = Dataset.open(dataset).info.classes
    built = build_model(config.model, len(classes), None)
    model.mkdir(parents=True, exist_ok=True)
    save_model(model, TrainedModel(built.network, config.model.name, classes, built.preprocessing))


def write_reference(folder: Path, pictures: Path) -> None:
    """Write the trained model's top class of every picture, by size, to reference.json.

    Its TorchScript graph answers, which computes as the trained model does.
    """
    pipeline = Pipeline(folder / "bundle", graph="torchscript")
    answers = {
        size: [
            pipeline.labels([path.read_bytes()], alone=True)[0]
            for path in sorted((pictures / size).glob("*.jpg"))
        ]
        for size in SIZE_NAMES
    }
    write_json(folder / "reference.json", answers)


def _set_image_size(description: Path) -> None:
    content = json.loads(description.read_text())
    content["preprocessing"]["image_size"] = IMAGE_SIZE
    write_json(description, content)


def draw_data(folder: Path, count: int) -> Path:
    """Drawn shapes under six colours of light, as class folders."""
    for number, (rgb, _) in enumerate(draw_shapes(count, seed=0)):
        label = list(_LIGHTS)[number % len(_LIGHTS)]
        split = "test" if number % 5 == 0 else "train"
        target = folder / split / label / f"{number:04d}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((rgb * np.array(_LIGHTS[label])).astype(np.uint8)).save(target, quality=95)
    return folder


def write_pictures(dataset: Path, folder: Path) -> None:
    """Write test pictures in the sizes that are sent, as JPEGs of quality 90."""
    for name, (width, height) in zip(SIZE_NAMES, SIZES, strict=True):
        target = folder / name
        target.mkdir(parents=True, exist_ok=True)
        for number, image in enumerate(_pictures(dataset, width, height)):
            with atomic_path(target / f"{number:02d}.jpg") as temporary:
                image.save(temporary, "JPEG", quality=90)


def _pictures(dataset: Path, width: int, height: int) -> Iterator[Image.Image]:
    """Test pictures of every class in turn. Four of a class make one larger than they are.

    An enlarged picture has no detail, so that its JPEG is small and quickly decoded; four side by
    side, each enlarged less, are as heavy as a photograph.
    """
    test = Dataset.open(dataset).split("test")
    of_class = [np.flatnonzero(test.labels == label) for label in np.unique(test.labels)]
    for number in range(PICTURES):
        indices = of_class[number % len(of_class)]
        rows = [test.read(int(indices[(4 * number + i) % len(indices)])) for i in range(4)]
        images = [_decode(row.image) for row in rows]
        if images[0].width >= width / 2:
            yield images[0].resize((width, height), Image.Resampling.LANCZOS)
            continue
        whole = Image.new("RGB", (width, height))
        for i, image in enumerate(images):
            half = image.resize((width // 2, height // 2), Image.Resampling.LANCZOS)
            whole.paste(_grained(half, number), (width // 2 * (i % 2), height // 2 * (i // 2)))
        yield whole


def _decode(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGB")


def _grained(image: Image.Image, seed: int) -> Image.Image:
    """With the fine grain that a camera's sensor leaves and that enlarging has smoothed away."""
    pixels = np.asarray(image, np.float32)
    grain = np.random.default_rng(seed).normal(0, 4, pixels.shape[:2])[..., None]
    return Image.fromarray((pixels + grain).clip(0, 255).astype(np.uint8))


def main() -> None:
    """Make whatever is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--model", choices=MODELS, action="append")
    parser.add_argument("--untrained", action="store_true")
    arguments = parser.parse_args()
    work: Path = arguments.work
    dataset, pictures = work / "dataset", work / "pictures"
    if not (dataset / "dataset.json").exists():
        drawn = 120 if arguments.untrained else 1200
        source = arguments.data or draw_data(work / "drawn", drawn)
        data = Config.model_validate({"task": "classification", "data": str(source)}).data
        prepare(data, source, None, dataset, work / "inspections")
    if not (pictures / "written").exists():
        write_pictures(dataset, pictures)
        (pictures / "written").touch()
    for name in arguments.model or MODELS:
        bundle = make_bundle(name, dataset, work / name, untrained=arguments.untrained)
        if not (work / name / "reference.json").exists():
            write_reference(work / name, pictures)
        print(f"{name}: {bundle.manifest.chosen_graph} is served", flush=True)


if __name__ == "__main__":
    main()
