"""Accuracy and time of ``pixloop run`` on real pictures, from the same ImageNet weights.

    python benchmarks/accuracy/run.py DATA [--only vehicles] [--seed 0]

DATA holds intel/, shapes/ and vehicles/ (class folders with train and test), bccd/ (Pascal VOC),
weights/mobilenetv2_100.timm.safetensors and weights/mobilenet_v2.torchvision.safetensors. Updates
results.json beside this file.
"""

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from pixloop.files import write_json
from pixloop.project import Project

HERE = Path(__file__).parent
CLASSIFIER = {"name": "mobilenetv2_100", "resize": "squash"}
WEIGHTS = {
    "classification": "mobilenetv2_100.timm.safetensors",
    "detection": "mobilenet_v2.torchvision.safetensors",
}

# Chosen on validation and calibration pictures. These weights' padding suits sizes of 32 n + 1.
SETTINGS = {
    "intel": {
        "model": {**CLASSIFIER, "image_size": 161},
        "training": {"epochs": 6, "augmentations": ["flip", "crop", "color"]},
    },
    "shapes": {
        "model": {**CLASSIFIER, "image_size": 129},
        "training": {
            "epochs": 16,
            "patience": 16,
            "batch_size": 32,
            "learning_rate": 2e-4,
            "augmentations": [
                "flip", "vflip", "rotate", "shift", "perspective", "blur", "brightness",
            ],
        },
    },
    "vehicles": {
        "model": {**CLASSIFIER, "image_size": 97},
        "training": {
            "epochs": 8,
            "batch_size": 32,
            "learning_rate": 1e-3,
            "augmentations": ["flip", "rotate", "color"],
        },
    },
    "bccd": {
        "task": "detection",
        "model": {
            "name": "fasterrcnn_mobilenet_v2_fpn", "image_size": 320, "resize": "squash",
        },
        "training": {
            "epochs": 10,
            "patience": 10,
            "augmentations": ["flip", "vflip", "shift", "color"],
        },
    },
}  # fmt: skip
#: Of accuracy, or of AP50.
GOALS = {"intel": 0.90, "shapes": 0.95, "vehicles": 0.88, "bccd": 0.80}


def measure(name: str, data: Path, folder: Path, seed: int) -> dict[str, object]:
    """Run one project from nothing, as the command line does, and say what came out."""
    settings = SETTINGS[name]
    task = settings.get("task", "classification")
    weights = data / "weights" / WEIGHTS[task]
    Project.init(
        folder,
        str(data / name),
        task,
        settings={
            "model": {**settings["model"], "weights": str(weights)},
            "training": {**settings["training"], "seed": seed},
        },
    )
    command = [sys.executable, "-m", "pixloop", "run", "-C", str(folder), "--json"]
    started = time.monotonic()
    ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    seconds = time.monotonic() - started
    summary = json.loads(ended.stdout)
    return {
        "data": name,
        "seed": seed,
        "metrics": summary["metrics"],
        "goal": GOALS[name],
        "seconds": round(seconds, 1),
        "chosen_graph": summary["chosen_graph"],
        "threshold": summary["threshold"],
        "pictures": summary["pictures"],
        "findings": summary["findings"],
    }


def processor() -> str:
    """The processor's name, as Linux gives it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(": ")[2] for line in lines if "model name" in line), "unknown")


def main() -> None:
    """Measure each data set once and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--only", choices=SETTINGS, action="append")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    file = HERE / "results.json"
    results = {r["data"]: r for r in json.loads(file.read_text())["results"]}
    for name in arguments.only or SETTINGS:
        with tempfile.TemporaryDirectory() as folder:
            data = arguments.data.resolve()
            measured = measure(name, data, Path(folder) / name, arguments.seed)
        results[name] = {**measured, "environment": environment()}
        print(json.dumps(results[name]))
        write_json(file, {"results": list(results.values())})


def environment() -> dict[str, object]:
    """What a result depends on beside its settings."""
    packages = ("pixloop", "torch", "torchvision", "timm", "lightning", "openvino", "onnxruntime")
    return {
        "processor": processor(),
        "python": platform.python_version(),
        "versions": {package: version(package) for package in packages},
    }


if __name__ == "__main__":
    main()
