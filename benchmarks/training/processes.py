"""One, two and four processes learn the same: loss by step, final scores, and after a kill.

    python benchmarks/training/processes.py DATASET WEIGHTS [--pictures 240] [--out processes.json]

Every run is a training job as SageMaker starts it, on the CPU (gloo). ``DATASET`` is a prepared
data set; some of its pictures are taken. With ``WEIGHTS`` batch normalisation keeps their
statistics; once more without, it takes each batch's own, over all processes.

What may differ is the order in which numbers are added: in float32 6e-8 of a number each time (half
a unit in its last place). AdamW makes that larger: it divides each gradient by its size, so that
one that is nothing but rounding moves its weight as well, and after some steps losses can differ by
percents. So the proof is in float64, where a slice left out, counted twice or weighed wrongly would
differ as much and rounding does not: losses to 1e-6 of themselves, scores to 1e-6. In float32 the
first step's loss, before anything was learned, is held to 1e-6, and how differences grow is told.

A resumed run of two processes adds in the same order as one that was not killed, and has to give
the same scores exactly.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from pixloop.config import flatten
from pixloop.config_file import parse_config
from pixloop.data.dataset import Dataset, DatasetWriter
from pixloop.files import write_json

LOSSES = "losses.jsonl"
DOUBLE = "BENCHMARK_FLOAT64"
TOLERANCE = 1e-6


def main() -> int:
    """The exit code says whether all is within the tolerances."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--model", default="mobilenetv2_100")
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--pictures", type=int, default=240, help="to learn from; half to validate")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "processes.json")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measured = measure(asked, Path(folder))
    write_json(asked.out, measured)
    print(json.dumps(measured["verdict"], indent=2))
    return 0 if all(measured["verdict"].values()) else 1


def measure(asked: argparse.Namespace, work: Path) -> dict[str, Any]:
    """Every run's losses and scores, and how far they are from those of one process."""
    data = take_some(asked.dataset, work / "dataset", asked.pictures)
    kinds = {
        "float64, fixed statistics": (asked.weights, True),
        "float64, own statistics": (None, True),
        "float32, fixed statistics": (asked.weights, False),
    }
    found: dict[str, Any] = {"model": asked.model, "size": asked.size, "pictures": asked.pictures}
    verdict = {}
    for kind, (weights, double) in kinds.items():
        runs = {}
        for processes in asked.processes:
            root = lay_out(work / f"{kind}-{processes}", asked, data, weights)
            finish(start(root, processes, double))
            runs[processes] = read_run(root)
        found[kind] = compare(runs)
        for name in ("losses", "scores") if double else ("first_loss",):
            verdict[f"{kind}: {name} within {TOLERANCE:g}"] = all(
                run["largest_difference"][name] <= TOLERANCE for run in runs.values()
            )
    root = lay_out(work / "killed", asked, data, asked.weights)
    found["killed"] = kill_one(root, 2)
    finish(start(root, 2))
    found["killed"] |= read_run(root)
    whole = found["float32, fixed statistics"][2]
    verdict["killed and resumed: the same scores"] = found["killed"]["scores"] == whole["scores"]
    return {"verdict": verdict} | found


def take_some(source: Path, folder: Path, pictures: int) -> Path:
    """A data set of some of the pictures, evenly spread."""
    data = Dataset.open(source)
    writer = DatasetWriter(folder, data.info.classes)
    for split, wanted in (("train", pictures), ("validation", pictures // 2)):
        rows = data.split(split)
        for row in range(0, len(rows), max(1, len(rows) // wanted))[:wanted]:
            writer.add(split, rows.read(row))  # type: ignore[arg-type]
    writer.finish()
    return folder


def lay_out(root: Path, asked: argparse.Namespace, data: Path, weights: Path | None) -> Path:
    """A job's ``/opt/ml``."""
    config = parse_config(
        {
            "task": "classification",
            "data": "given",
            "model": {"name": asked.model, "pretrained": False, "image_size": asked.size},
            "training": {
                "epochs": asked.epochs,
                "batch_size": 32,
                "precision": "float32",
                "workers": 0,
                "learning_rate": 3e-4,
                "augmentations": ["flip"],
            },
        }
    )
    channels = {"dataset": data} | ({"weights": weights} if weights else {})
    for name, path in channels.items():
        place = root / "input" / "data" / name
        place = place / path.name if path.is_file() else place
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(path.resolve())
    settings = {
        key: json.dumps(value)
        for key, value in flatten(config).items()
        if key.startswith(("task", "model.", "training."))
    }
    documents: dict[str, Any] = {
        "hyperparameters": settings,
        "inputdataconfig": {name: {} for name in channels},
        "resourceconfig": {"current_host": "algo-1", "hosts": ["algo-1"]},
    }
    for document, content in documents.items():
        write_json(root / "input" / "config" / f"{document}.json", content)
    return root


def start(root: Path, processes: int, double: bool = False) -> "subprocess.Popen[str]":
    """The job, in processes of one thread each: more would add in another order."""
    environment = {
        "PIXLOOP_ML": str(root),
        "PIXLOOP_PROCESSES": str(processes),
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": "1",
        DOUBLE: str(int(double)),
    }
    return subprocess.Popen(
        [sys.executable, __file__, "--as-job"],
        env=os.environ | environment,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: "subprocess.Popen[str]") -> None:
    """Wait for it; it must end well."""
    _, printed = process.communicate()
    if process.returncode:
        raise SystemExit(printed)


def kill_one(root: Path, processes: int) -> dict[str, Any]:
    """Kill the last process by SIGKILL as soon as there is a checkpoint; what the job then says."""
    job = start(root, processes)
    while not (root / "checkpoints" / "last.ckpt").exists():
        if job.poll() is not None:
            raise SystemExit(job.communicate()[1])
        time.sleep(0.01)
    workers = psutil.Process(job.pid).children()
    next(w for w in workers if w.environ().get("RANK") == str(processes - 1)).kill()
    job.communicate()
    if (root / "model").exists():
        raise SystemExit("The run was over before it could be killed.")
    return {"exit_code": job.returncode, "said": (root / "output" / "failure").read_text()}


def read_run(root: Path) -> dict[str, Any]:
    """Losses by step (of a step that was repeated, the last), and the final scores."""
    told = [json.loads(line) for line in (root / LOSSES).read_text().splitlines()]
    losses = dict(sorted((step, loss) for step, loss in told))
    summary = json.loads((root / "model" / "training.json").read_text())
    return {"losses": list(losses.values()), "scores": summary["history"][-1]["validation"]}


def compare(runs: dict[int, dict[str, Any]]) -> dict[int, dict[str, Any]]:
    """Each run, with its largest differences from the first: relative of losses, of scores not."""
    first = next(iter(runs.values()))
    for run in runs.values():
        pairs = zip(run["losses"], first["losses"], strict=True)
        losses = [abs(mine / other - 1) for mine, other in pairs]
        scores = [abs(score - first["scores"][name]) for name, score in run["scores"].items()]
        run["largest_difference"] = {
            "first_loss": losses[0],
            "losses": max(losses),
            "scores": max(scores),
        }
    return runs


def train_as_job() -> int:
    """What every process of a job runs: the training, with each step's loss noted."""
    import torch

    from pixloop.pipeline.steps import main as run_command
    from pixloop.training.distributed import mean, rank
    from pixloop.training.learner import Learner

    if os.environ[DOUBLE] == "1":
        torch.set_default_dtype(torch.float64)
        torch.Tensor.float = torch.Tensor.double  # type: ignore[method-assign]
    note_loss = Learner.note_loss
    file = Path(os.environ["PIXLOOP_ML"]) / LOSSES

    def noted(self: Any, loss: Any, batch_idx: int) -> Any:
        weighted = note_loss(self, loss, batch_idx)
        whole = mean(float(weighted.detach()))
        if rank() == 0:
            with file.open("a") as lines:
                lines.write(f"[{self.global_step}, {whole!r}]\n")
        return weighted

    Learner.note_loss = noted  # type: ignore[method-assign]
    return run_command(["train"])


if __name__ == "__main__":
    sys.exit(train_as_job() if "--as-job" in sys.argv else main())
