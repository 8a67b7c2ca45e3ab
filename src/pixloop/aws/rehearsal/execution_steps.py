"""The steps of an execution as ListPipelineExecutionSteps gives them, from the engine's record."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import PurePosixPath
from typing import Any

from pixloop.pipeline.runs import RunRecord, StepRecord

_STATUSES = {
    "running": "Executing",
    "done": "Succeeded",
    "cached": "Succeeded",
    "refused": "Succeeded",  # a condition that does not hold has been decided all the same
    "failed": "Failed",
    "interrupted": "Stopped",
}
#: Source: botocore's model, StepStatus' FailureReason.
_REASON_CHARACTERS = 1024


def list_steps(definition: Mapping[str, Any], record: RunRecord, arn: str) -> list[dict[str, Any]]:
    """The steps that have started, in that order.

    Args:
        definition: the pipeline's.
        record: how far the execution is.
        arn: the execution's.
    """
    types = _types(definition["Steps"])
    started = [(name, step) for name, step in record.steps.items() if step.started]
    listed = [
        _describe(name, types[name]["Type"], step, record, arn)
        for name, step in sorted(started, key=lambda item: item[1].started or "")
    ]
    if record.status == "refused":
        listed += [_refusal(step, record) for step in types.values() if step["Type"] == "Fail"]
    return listed


def _types(steps: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    found: dict[str, Mapping[str, Any]] = {}
    for step in steps:
        found[step["Name"]] = step
        arguments = step.get("Arguments", {})
        if step["Type"] == "Condition":
            found |= _types(arguments["IfSteps"]) | _types(arguments["ElseSteps"])
    return found


def _describe(
    name: str, kind: str, step: StepRecord, record: RunRecord, arn: str
) -> dict[str, Any]:
    start = datetime.fromisoformat(step.started or record.started)
    described: dict[str, Any] = {
        "StepName": name,
        "StepStatus": _STATUSES[step.status],
        "StartTime": start,
        "Metadata": _metadata(kind, step, record, arn),
        "AttemptCount": 1,
    }
    if step.status != "running" and step.seconds is not None:
        described["EndTime"] = start + timedelta(seconds=step.seconds)
    if step.status == "cached":
        described["CacheHitResult"] = {"SourcePipelineExecutionArn": arn}
    if step.status == "failed":
        described["FailureReason"] = (step.failure or "")[:_REASON_CHARACTERS]
    return described


def _metadata(kind: str, step: StepRecord, record: RunRecord, arn: str) -> dict[str, Any]:
    account = arn.rpartition(":")[0]  # arn:aws:sagemaker:<region>:<account>
    job = PurePosixPath(step.folder or "").name
    if kind in ("Training", "Processing") and job:
        return {f"{kind}Job": {"Arn": f"{account}:{kind.lower()}-job/{job.lower()}"}}
    if kind == "Condition" and step.status in ("done", "refused"):
        return {"Condition": {"Outcome": "True" if step.status == "done" else "False"}}
    if kind == "RegisterModel" and record.registered:
        return {"RegisterModel": {"Arn": record.registered["ModelPackageArn"]}}
    return {}


def _refusal(step: Mapping[str, Any], record: RunRecord) -> dict[str, Any]:
    return {
        "StepName": step["Name"],
        "StepStatus": "Failed",
        "FailureReason": (record.failure or "")[:_REASON_CHARACTERS],
        "Metadata": {"Fail": {"ErrorMessage": record.failure or ""}},
    }
