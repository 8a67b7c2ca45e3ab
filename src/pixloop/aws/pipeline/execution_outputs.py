"""What an execution left on S3, brought into a run's folder; and why it was refused or failed."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pixloop.aws.pipeline.definition_check import all_steps
from pixloop.aws.pipeline.executions import (
    Execution,
    is_fail,
    read_execution,
    step_seconds,
    step_word,
)
from pixloop.aws.session import Session
from pixloop.aws.storage import download_file
from pixloop.errors import AwsError, GateRefused, PipelineError
from pixloop.pipeline.expressions import Scope, judge, resolve
from pixloop.pipeline.runs import RunRecord, StepRecord
from pixloop.run_summary import SUMMARY_FILES, RunSummary, output_of, summarise

Json = Mapping[str, Any]


def conclude(session: Session, execution: Execution, state: Path, project: str) -> RunSummary:
    """The summary of an execution that has ended, whose record and report are kept here.

    Args:
        session: where it ran.
        execution: one that has ended.
        state: the project's ``.pixloop`` folder; ``pixloop report`` finds the report there.
        project: its name.

    Raises:
        GateRefused: the definition failed on purpose, because the model is not good enough.
        PipelineError: a step failed, or the execution was stopped.
        AwsError: an output cannot be read.
    """
    record = _record(execution, state)
    failed = [step for step in execution.steps.values() if step["StepStatus"] == "Failed"]
    if execution.status == "Succeeded":
        _fetch(session, execution, record)
        record.status = "done"
        record.save()
        return summarise(project, record)
    for step in failed:
        if is_fail(execution, step["StepName"]):
            _fetch(session, execution, record)
            record.status, record.failure = "refused", _refusal(execution, record, step)
            record.save()
            raise GateRefused(record.failure)
    record.status = "interrupted" if execution.status == "Stopped" else "failed"
    record.failure = _explain(execution, failed)
    record.save()
    raise PipelineError(record.failure)


def output_address(session: Session, execution: Execution, step: str, output: str) -> str:
    """Where a step's output lies on S3; a cached one is where the execution that made it put it.

    Raises:
        AwsError: there is no such output.
    """
    origin, seen = execution, {execution.arn}
    while (source := _source(origin, step)) not in (None, *seen):
        seen.add(str(source))
        origin = read_execution(session, str(source))
    for known in all_steps(origin.definition["Steps"]):
        outputs = known.get("Arguments", {}).get("ProcessingOutputConfig", {}).get("Outputs", [])
        for each in outputs:
            if (known["Name"], each["OutputName"]) == (step, output):
                return str(resolve(each["S3Output"]["S3Uri"], _scope(origin)))
    raise AwsError(f"The step {step} of {origin.arn} has no output {output!r}.")


def _source(execution: Execution, step: str) -> str | None:
    """The execution that a step's results were taken from."""
    listed = execution.steps.get(step, {})
    taken = listed.get("CacheHitResult") or listed.get("SelectiveExecutionResult") or {}
    return taken.get("SourcePipelineExecutionArn")


def _scope(execution: Execution) -> Scope:
    facts = {
        "PipelineName": execution.arn.split(":pipeline/")[1].split("/")[0],
        "PipelineArn": execution.arn.split("/execution/")[0],
        "PipelineExecutionId": execution.id,
        "PipelineExecutionArn": execution.arn,
        "StartDateTime": execution.started.isoformat(),
    }
    return Scope(execution.parameters, facts)


def _record(execution: Execution, state: Path) -> RunRecord:
    steps = {
        name: StepRecord.model_validate(
            {
                "status": step_word(step),
                "started": step["StartTime"].isoformat() if "StartTime" in step else None,
                "seconds": step_seconds(step),
                "failure": step.get("FailureReason"),
            }
        )
        for name, step in execution.steps.items()
        if not is_fail(execution, name)
    }
    versions = [step.get("Metadata", {}).get("RegisterModel") for step in execution.steps.values()]
    arns = [version["Arn"] for version in versions if version]
    registered = (
        {"ModelPackageArn": arns[0], "ModelPackageVersion": arns[0].rpartition("/")[2]}
        if arns
        else None
    )
    return RunRecord(
        id=execution.run_id,
        pid=os.getpid(),
        started=execution.started.isoformat(timespec="seconds"),
        seconds=execution.seconds,
        parameters=dict(execution.parameters),
        steps=steps,
        registered=registered,
        folder=state / "runs" / execution.run_id,
    )


def _fetch(session: Session, execution: Execution, record: RunRecord) -> None:
    """Bring the files of a summary to where a run here has them."""
    for step, output, name in SUMMARY_FILES:
        address = output_address(session, execution, step, output)
        target = output_of(record, step, output) / name
        download_file(session, f"{address.rstrip('/')}/{name}", target)


def _refusal(execution: Execution, record: RunRecord, fail: Json) -> str:
    """Why the gate refuses, in the words of the local engine: it judges the same conditions."""
    scope = _scope(execution)
    steps = list(all_steps(execution.definition["Steps"]))
    for step in steps:
        scope.property_files[step["Name"]] = {
            file["PropertyFileName"]: output_of(record, step["Name"], file["OutputName"])
            / file["FilePath"]
            for file in step.get("PropertyFiles", [])
        }
    reasons = [
        verdict.reason
        for step in steps
        if step["Type"] == "Condition"
        and fail["StepName"] in [other["Name"] for other in step["Arguments"].get("ElseSteps", [])]
        for verdict in (judge(each, scope) for each in step["Arguments"]["Conditions"])
        if not verdict.holds
    ]
    if reasons:
        return f"The model is not good enough: {'; '.join(reasons)}."
    told = fail.get("Metadata", {}).get("Fail", {}).get("ErrorMessage")
    return f"{fail['StepName']}: {told or fail.get('FailureReason', '')}"


def _explain(execution: Execution, failed: list[Json]) -> str:
    """Why an execution failed: the step, its reason, and where its log is."""
    if not failed:
        ending = "was stopped" if execution.status == "Stopped" else "failed"
        reason = f": {execution.failure}" if execution.failure else ""
        return f"The execution {execution.arn} {ending}{reason}"
    lines = []
    for step in failed:
        lines.append(
            f"The step {step['StepName']} failed: {step.get('FailureReason', 'no reason')}"
        )
        for kind in ("TrainingJob", "ProcessingJob"):
            arn = step.get("Metadata", {}).get(kind, {}).get("Arn")
            if arn:
                job = arn.rpartition("/")[2]
                lines.append(f"Its log: CloudWatch, /aws/sagemaker/{kind}s, {job}/…")
    return "\n".join(lines)
