"""What a run made, and how good it is: read from the outputs of its steps.

A run on SageMaker leaves its outputs on S3; ``SUMMARY_FILES`` are then fetched into the run's
folder, where a run here has them, and the rest is the same.
"""

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from pixloop.bundle import MANIFEST as BUNDLE_MANIFEST
from pixloop.bundle import Bundle, Task
from pixloop.data.dataset import MANIFEST, SPLITS, DatasetInfo
from pixloop.data.findings import REPORT, finding_lines
from pixloop.pipeline.runs import RunRecord

# As evaluation.evaluate calls them, which would bring the plotting library along.
EVALUATION, PAGE, CARD = "evaluation.json", "report.html", "model_card.html"
#: What a summary is read from, and the report: step, output, file in the output.
SUMMARY_FILES = (
    ("Evaluate", "evaluation", EVALUATION),
    ("Evaluate", "evaluation", PAGE),
    ("Export", "bundle", f"bundle/{BUNDLE_MANIFEST}"),
    ("Prepare", "dataset", MANIFEST),
    ("Prepare", "dataset", REPORT),
)


class RunSummary(BaseModel):
    """What a run made, and how good it is."""

    model_config = ConfigDict(frozen=True)

    project: str
    run: str
    version: str  #: the registered model version
    metrics: dict[str, float]
    threshold: dict[str, Any]
    model: str
    weights: str  #: where the model's first weights come from, in words
    chosen_graph: str
    task: Task
    classes: tuple[str, ...]
    pictures: dict[str, int]  #: kept pictures of each split
    findings: tuple[str, ...]  #: what the data report found, a line each
    seconds: float
    steps: dict[str, str]  #: "done" or "cached", by step
    report: str


def summarise(project: str, run: RunRecord) -> RunSummary:
    """The summary of a run that registered a version."""
    evaluation = output_of(run, "Evaluate", "evaluation") / EVALUATION
    measured = json.loads(evaluation.read_text(encoding="utf-8"))["pixloop"]
    manifest = Bundle.open(output_of(run, "Export", "bundle") / "bundle").manifest
    dataset = output_of(run, "Prepare", "dataset")
    info = DatasetInfo.model_validate_json((dataset / MANIFEST).read_text(encoding="utf-8"))
    findings = json.loads((dataset / REPORT).read_text(encoding="utf-8"))
    registered = run.registered or {}
    return RunSummary(
        project=project,
        run=run.id,
        version=registered["ModelPackageVersion"],
        metrics={k: v for k, v in measured["metrics"].items() if isinstance(v, float)},
        threshold=manifest.threshold.model_dump(),
        model=manifest.lineage["model"],
        weights=manifest.lineage["weights"],
        chosen_graph=manifest.chosen_graph,
        task=manifest.task,
        classes=manifest.classes,
        pictures=_count_pictures(info),
        findings=tuple(finding_lines(findings, least="warning")),
        seconds=run.seconds or 0.0,
        steps={name: step.status for name, step in run.steps.items()},
        report=str(report_of(run)),
    )


def report_of(run: RunRecord) -> Path:
    """Where the HTML report of a run is, or would be."""
    return (output_of(run, "Evaluate", "evaluation") / PAGE).resolve()


def output_of(run: RunRecord, step: str, output: str) -> Path:
    """The folder of a run that holds, or would hold, an output of a step."""
    return run.folder / "steps" / step / "ml" / "processing" / "output" / output


def _count_pictures(info: DatasetInfo) -> dict[str, int]:
    """Pictures of each split. By its shards, which descriptions of every format list."""
    return {
        split: sum(shard.rows for shard in info.shards if shard.split == split) for split in SPLITS
    }
