"""What a run made, and how good it is: read from the outputs of its steps."""

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from pixloop.bundle import Bundle, Task
from pixloop.data.dataset import SPLITS, Dataset
from pixloop.data.findings import REPORT, finding_lines
from pixloop.pipeline.runs import RunRecord


class RunSummary(BaseModel):
    """What a run made, and how good it is."""

    model_config = ConfigDict(frozen=True)

    project: str
    run: str
    version: str  #: the registered model version
    metrics: dict[str, float]
    threshold: dict[str, Any]
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
    evaluation = _output(run, "Evaluate", "evaluation") / "evaluation.json"
    measured = json.loads(evaluation.read_text(encoding="utf-8"))["pixloop"]
    manifest = Bundle.open(_output(run, "Export", "bundle") / "bundle").manifest
    dataset = Dataset.open(_output(run, "Prepare", "dataset"))
    findings = json.loads((dataset.folder / REPORT).read_text(encoding="utf-8"))
    registered = run.registered or {}
    return RunSummary(
        project=project,
        run=run.id,
        version=registered["ModelPackageVersion"],
        metrics={k: v for k, v in measured["metrics"].items() if isinstance(v, float)},
        threshold=manifest.threshold.model_dump(),
        chosen_graph=manifest.chosen_graph,
        task=manifest.task,
        classes=manifest.classes,
        pictures={split: len(dataset.split(split)) for split in SPLITS},
        findings=tuple(finding_lines(findings, least="warning")),
        seconds=run.seconds or 0.0,
        steps={name: step.status for name, step in run.steps.items()},
        report=str(report_of(run)),
    )


def report_of(run: RunRecord) -> Path:
    """Where the HTML report of a run is, or would be."""
    return (_output(run, "Evaluate", "evaluation") / "report.html").resolve()


def _output(run: RunRecord, step: str, output: str) -> Path:
    return run.folder / "steps" / step / "ml" / "processing" / "output" / output
