"""Does tuning beat the defaults on the test pictures, and a random search of the same budget?

    python benchmarks/tuning/run.py --data DATA                   # all: about 90 min on two cores
    python benchmarks/tuning/run.py --minutes 1 --quick           # the digits, to see that it works

On intel (DATA/intel, DATA/weights/mobilenetv2_100.timm.safetensors): a search of --minutes with TPE
and one at random, each from nothing; then both winners and the defaults trained in full and scored
on the test pictures. Writes results.json and RESULTS.md beside this file, or to --output.
"""

import argparse
import os
import platform
import tempfile
import time
from pathlib import Path
from typing import Any

from pixloop.config import flatten
from pixloop.data.samples import write_digits
from pixloop.files import write_json, write_text
from pixloop.pipeline.display import display as display_steps
from pixloop.project import Project
from pixloop.tuning.display import display
from pixloop.tuning.tune import TuningResult

INTEL = {
    "model.name": "mobilenetv2_100",
    "model.image_size": 128,
    "training.epochs": 5,
    "tuning.trial_epochs": 3,
    "tuning.parallel": 1,
    "tuning.learning_rate": [0.00003, 0.01],
    "tuning.optimizers": ["adamw", "lamb", "sgd"],
    "tuning.space": {
        "training.weight_decay": {"low": 0.0005, "high": 0.5, "log": True},
        "training.label_smoothing": {"low": 0.0, "high": 0.2},
        "training.batch_size": [16, 32, 64, 128],
        "training.augmentations": [["flip"], ["flip", "rotate", "color", "noise", "blur"]],
    },
}
QUICK = {
    "model.name": "test_resnet",
    "model.pretrained": False,
    "model.image_size": 32,
    "model.resize": "squash",
    "training.learning_rate": 0.003,
    "training.epochs": 3,
    "tuning.trial_epochs": 2,
    "tuning.parallel": 1,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--work", type=Path)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent)
    options = parser.parse_args()
    if not options.quick and options.data is None:
        parser.error("--data is needed, or --quick")
    with tempfile.TemporaryDirectory() as temporary:
        work = options.work or Path(temporary)
        project = make_project(work, options)
        results: dict[str, Any] = {
            "data": "digits" if options.quick else "intel",
            "minutes": options.minutes,
            "cores": os.cpu_count(),
            "processor": platform.processor() or platform.machine(),
            "settings": named_places(flatten(project.config), options.data),
        }
        for sampler in ("tpe", "random"):
            started = time.monotonic()
            result = search(Path(project.folder), sampler, options.minutes)
            results[sampler] = {
                **result.model_dump(mode="json", exclude={"report"}),
                "seconds_with_full_trainings": round(time.monotonic() - started),
            }
    write_json(options.output / "results.json", results)
    write_text(options.output / "RESULTS.md", render(results))


def make_project(work: Path, options: argparse.Namespace) -> Project:
    folder = work / "project"
    if (folder / "pixloop.yaml").exists():
        return Project.open(folder)
    settings: dict[str, Any] = {}
    for key, value in (QUICK if options.quick else INTEL).items():
        section, _, name = key.partition(".")
        settings.setdefault(section, {})[name] = value
    if options.quick:
        source = work / "digits"
        write_digits(source)
        return Project.init(folder, str(source), settings=settings)
    weights = options.data / "weights" / "mobilenetv2_100.timm.safetensors"
    settings["model"]["weights"] = str(weights.resolve())
    return Project.init(folder, str(options.data / "intel"), settings=settings)


def named_places(settings: dict[str, Any], data: Path | None) -> dict[str, Any]:
    """Settings without the folders of the machine."""
    folder = str(data.resolve()) if data else ""
    return {
        key: value.replace(folder, "DATA") if folder and isinstance(value, str) else value
        for key, value in settings.items()
    }


def search(folder: Path, sampler: str, minutes: float) -> TuningResult:
    project = Project.open(
        folder,
        [f"tuning.sampler={sampler}", f"tuning.minutes={minutes}", "tuning.trials=500"],
    )
    return project.tuning().run(display_steps, display)


def render(results: dict[str, Any]) -> str:
    rows = []
    for sampler in ("tpe", "random"):
        found = results[sampler]
        verdict = found["verdict"] or {}
        test = f"{verdict['best']:.4f}" if verdict else "–"
        p = f"{verdict['p']:.3f}" if verdict else "–"
        rows.append(
            f"| {sampler} | {found['trials']} | {found['pruned']} | {found['best_score']:.4f} | "
            f"{test} | {p} |"
        )
    first = next((results[s]["verdict"] for s in ("tpe", "random") if results[s]["verdict"]), None)
    current = f"{first['current']:.4f}" if first else "–"
    scores = [results[s]["current_score"] for s in ("tpe", "random")]
    words = [
        f"- {sampler}: "
        + (results[sampler]["verdict"] or {}).get(
            "words", "nothing better than the defaults was found on the validation pictures."
        )
        for sampler in ("tpe", "random")
    ]
    table = "\n".join(rows)
    return f"""# Tuning against the defaults and against chance

{results["data"]}, {results["minutes"]:g} minutes a search, {results["cores"]} cores
({results["processor"]}). Trials are judged on the validation pictures; both winners and the
defaults were then trained in full and scored on the test pictures.

| search | trials | stopped early | validation F1 | test accuracy | p against the defaults |
|---|---|---|---|---|---|
{table}
| defaults | | | {scores[0] or 0:.4f} | {current} | |

{chr(10).join(words)}

Made by `python benchmarks/tuning/run.py`; one run, one seed.
"""


if __name__ == "__main__":
    main()
