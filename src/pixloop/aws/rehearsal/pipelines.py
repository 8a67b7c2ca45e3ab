"""SageMaker Pipelines: moto keeps what is submitted, the local engine runs it.

An execution is a process of its own (``execution.py``). Executions of one pipeline run one after
another here, and side by side on AWS.
"""

import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from moto.core import DEFAULT_ACCOUNT_ID
from moto.sagemaker.exceptions import ValidationError
from moto.sagemaker.models import sagemaker_backends
from moto.sagemaker.utils import get_pipeline_execution_from_arn, get_pipeline_from_name

from pixloop.aws.rehearsal.events import Events
from pixloop.aws.rehearsal.execution import REQUEST
from pixloop.aws.rehearsal.execution_steps import list_steps
from pixloop.errors import PipelineError
from pixloop.files import write_json
from pixloop.pipeline.order import bind_parameters
from pixloop.pipeline.runs import RECORD, RunRecord

_EVENT = "SageMaker Model Building Pipeline Execution Status Change"
#: Source: botocore's model, String3072 and PipelineExecutionFailureReason.
_REASON_CHARACTERS = 1300

log = logging.getLogger(__name__)


@dataclass
class _Work:
    """What an execution needs to run, and the process that does it."""

    definition: Mapping[str, Any]
    parameters: Mapping[str, Any]
    folder: Path  #: of the run: run.json is there
    process: subprocess.Popen[bytes] | None = None


class Pipelines:
    """Every pipeline of the region, with its executions."""

    def __init__(self, folder: Path, region: str, events: Events) -> None:
        """``folder`` holds each pipeline's steps and runs, which stay for the cache."""
        self._folder, self._region, self._events = folder, region, events
        self._works: dict[str, _Work] = {}
        self._locks: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()
        self._closed = False
        self._pool = ThreadPoolExecutor(8, thread_name_prefix="pipelines")

    # ---- what the API does

    def check(self, name: str) -> None:
        """After Create- or UpdatePipeline: the definition must be one; moto takes anything."""
        pipeline = self._backend.pipelines[name]
        definition = pipeline.pipeline_definition
        if not isinstance(definition, str):  # it came from S3
            definition = pipeline.pipeline_definition = json.dumps(definition)
        try:
            if not json.loads(definition)["Steps"]:
                raise ValueError("there are no steps")
        except (ValueError, KeyError, TypeError) as e:
            raise ValidationError(message=f"Unable to parse pipeline definition: {e}") from e

    def start(self, name: str, token: str | None, **others: Any) -> str:
        """StartPipelineExecution; gives the execution's ARN. The same token starts it once."""
        pipeline = get_pipeline_from_name(self._backend.pipelines, name)
        with self._lock:
            for arn, execution in pipeline.pipeline_executions.items():
                if token and execution.client_request_token == token:
                    return str(arn)
            definition = json.loads(pipeline.pipeline_definition)
            given = {p["Name"]: p["Value"] for p in others.get("pipeline_parameters") or []}
            try:
                bind_parameters(definition, given)
            except PipelineError as e:
                raise ValidationError(message=str(e)) from e
            arn = str(
                self._backend.start_pipeline_execution(
                    pipeline_name=name, client_request_token=token, **others
                )["PipelineExecutionArn"]
            )
            identity = arn.rpartition("/")[2]
            folder = self._folder / name / "runs" / identity
            self._works[arn] = _Work(definition, given, folder)
            self._set(arn, "Executing")
        self._pool.submit(self._run, arn, name, identity)
        return arn

    def stop(self, arn: str) -> None:
        """StopPipelineExecution."""
        execution = self._execution(arn)
        with self._lock:
            if execution.pipeline_execution_status != "Executing":
                status = execution.pipeline_execution_status
                raise ValidationError(
                    message=f"Only an execution that is executing can be "
                    f"stopped; this one is {status}."
                )
            self._set(arn, "Stopping")
            process = self._works[arn].process
        if process is not None:
            process.terminate()

    def describe(self, arn: str) -> dict[str, Any]:
        """DescribePipelineExecution."""
        execution = self._execution(arn)
        described = dict(self._backend.describe_pipeline_execution(arn))
        if execution.pipeline_execution_failure_reason:
            described["FailureReason"] = execution.pipeline_execution_failure_reason
        else:
            described.pop("FailureReason")
        return {k: v for k, v in described.items() if v is not None}

    def summaries(self, name: str, ascending: bool = False) -> list[dict[str, Any]]:
        """ListPipelineExecutions, the newest first unless told otherwise."""
        summaries = self._backend.list_pipeline_executions(name)["PipelineExecutionSummaries"]
        for summary in summaries:
            if summary["PipelineExecutionFailureReason"] == "None":
                del summary["PipelineExecutionFailureReason"]
        kept = [{k: v for k, v in each.items() if v is not None} for each in summaries]
        return kept if ascending else kept[::-1]

    def steps(self, arn: str) -> list[dict[str, Any]]:
        """ListPipelineExecutionSteps, in the order in which they started."""
        self._execution(arn)
        work = self._works[arn]
        record = _read_record(work.folder)
        return list_steps(work.definition, record, arn) if record else []

    def close(self) -> None:
        """Stop what runs, and start nothing more."""
        with self._lock:
            self._closed = True
            processes = [work.process for work in self._works.values() if work.process]
        for process in processes:
            process.terminate()
        self._pool.shutdown(wait=True)  # those that wait find it closed

    # ---- inside

    @property
    def _backend(self) -> Any:
        return sagemaker_backends[DEFAULT_ACCOUNT_ID][self._region]

    def _execution(self, arn: str) -> Any:
        return get_pipeline_execution_from_arn(self._backend.pipelines, arn)

    def _run(self, arn: str, name: str, identity: str) -> None:
        with self._lock:
            turn = self._locks.setdefault(name, threading.Lock())
        try:
            with turn:
                self._execute(arn, name, identity)
        except Exception as e:  # nobody else hears of it, and who follows would wait for ever
            log.exception("%s", arn)
            self._set(arn, "Failed", f"{type(e).__name__}: {e}"[:_REASON_CHARACTERS])

    def _execute(self, arn: str, name: str, identity: str) -> None:
        work = self._works[arn]
        request = {
            "region": self._region,
            "pipeline": name,
            "execution": identity,
            "state": str(self._folder / name),
            "definition": work.definition,
            "parameters": work.parameters,
        }
        write_json(work.folder / REQUEST, request)
        log_file = work.folder / "log.txt"
        with self._lock, log_file.open("wb") as output:
            if self._closed or self._execution(arn).pipeline_execution_status == "Stopping":
                self._set(arn, "Stopped")
                return
            work.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "pixloop.aws.rehearsal.execution",
                    str(work.folder / REQUEST),
                ],
                env={**os.environ, "PIXLOOP_PARENT": str(os.getpid())},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        work.process.wait()
        self._end(arn, work.process.returncode, log_file)

    def _end(self, arn: str, code: int, log_file: Path) -> None:
        record = _read_record(log_file.parent)
        stopping = self._execution(arn).pipeline_execution_status == "Stopping"
        if stopping:
            self._set(arn, "Stopped")
        elif code == 0 and record and record.status == "done":
            self._set(arn, "Succeeded")
        else:
            said = log_file.read_text(encoding="utf-8", errors="replace").strip()
            reason = (record and record.failure) or said or f"it ended with exit code {code}"
            self._set(arn, "Failed", reason[:_REASON_CHARACTERS])

    def _set(self, arn: str, status: str, reason: str | None = None) -> None:
        execution = self._execution(arn)
        before, now = execution.pipeline_execution_status, datetime.now(UTC)
        execution.pipeline_execution_status = status
        execution.pipeline_execution_failure_reason = reason
        execution.last_modified_time = now.replace(tzinfo=None)
        detail = {
            "pipelineExecutionDescription": execution.pipeline_execution_description,
            "pipelineExecutionDisplayName": execution.pipeline_execution_display_name,
            "currentPipelineExecutionStatus": status,
            "previousPipelineExecutionStatus": None if status == "Executing" else before,
            "executionStartTime": execution.start_time,
            "pipelineArn": arn.rpartition("/execution/")[0],
            "pipelineExecutionArn": arn,
        }
        if status in ("Succeeded", "Failed", "Stopped"):
            detail["executionEndTime"] = now
        self._events.emit("aws.sagemaker", _EVENT, detail, [arn])


def _read_record(folder: Path) -> RunRecord | None:
    file = folder / RECORD
    return (
        RunRecord.model_validate_json(file.read_text(encoding="utf-8")) if file.exists() else None
    )
