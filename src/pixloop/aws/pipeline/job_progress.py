"""What a job of a pipeline is doing, in a few words: its last line of progress, or its status."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from pixloop.aws.session import Session

Json = Mapping[str, Any]

#: ``progress.py`` writes such lines to a container's log: "training: 17/18 epoch 3/3 loss 3.04".
_LINE = re.compile(r"(?P<description>[^:]+): (?P<done>\d+)(?:/(?P<total>\d+)(?: (?P<note>.*))?)?")
_LINES = 20


@dataclass(frozen=True, slots=True)
class Progress:
    """As ``Listener.step_advanced`` takes it."""

    description: str
    done: int = 0
    total: int | None = None
    note: str = ""


def read_progress(session: Session, step: Json) -> Progress | None:
    """What a step that is at work does, or None where that cannot be known.

    It is for the eye: a log that is not there yet or may not be read is no error.

    Args:
        session: where the job runs.
        step: as ListPipelineExecutionSteps gives it.
    """
    for kind, read in _READERS.items():
        arn = step.get("Metadata", {}).get(kind, {}).get("Arn")
        if arn:
            try:
                return read(session, arn.rpartition("/")[2])
            except (ClientError, BotoCoreError):
                return None
    return None


def _read_training(session: Session, name: str) -> Progress:
    job = session.client("sagemaker").describe_training_job(TrainingJobName=name)
    status = job.get("SecondaryStatus", job["TrainingJobStatus"])
    line = _last_line(session, "/aws/sagemaker/TrainingJobs", name)
    return line or Progress(_in_words(status))


def _read_processing(session: Session, name: str) -> Progress:
    line = _last_line(session, "/aws/sagemaker/ProcessingJobs", name)
    if line is not None:
        return line
    job = session.client("sagemaker").describe_processing_job(ProcessingJobName=name)
    return Progress(_in_words(job["ProcessingJobStatus"]))


def _read_tuning(session: Session, name: str) -> Progress:
    job = session.client("sagemaker").describe_hyper_parameter_tuning_job(
        HyperParameterTuningJobName=name
    )
    counts = job["TrainingJobStatusCounters"]
    done = counts.get("Completed", 0) + counts.get("Stopped", 0)
    done += counts.get("NonRetryableError", 0)
    best = job.get("BestTrainingJob", {}).get("FinalHyperParameterTuningJobObjectiveMetric")
    note = f"best {best['MetricName']} {best['Value']:.3f}" if best else ""
    total = job["HyperParameterTuningJobConfig"]["ResourceLimits"].get("MaxNumberOfTrainingJobs")
    return Progress("trainings", done, total, note)


_READERS: Mapping[str, Callable[[Session, str], Progress | None]] = {
    "TrainingJob": _read_training,
    "ProcessingJob": _read_processing,
    "TuningJob": _read_tuning,
}


def _last_line(session: Session, group: str, job: str) -> Progress | None:
    """The last line of progress in the log of a job's first instance."""
    logs = session.client("logs")
    try:
        streams = logs.describe_log_streams(
            logGroupName=group, logStreamNamePrefix=f"{job}/algo-1", limit=1
        )["logStreams"]
        if not streams:
            return None
        events = logs.get_log_events(
            logGroupName=group,
            logStreamName=streams[0]["logStreamName"],
            limit=_LINES,
            startFromHead=False,
        )["events"]
    except ClientError:
        return None  # no log yet, or no right to read it
    for event in reversed(events):
        match = _LINE.fullmatch(event["message"].strip())
        if match:
            total = int(match["total"]) if match["total"] else None
            return Progress(match["description"], int(match["done"]), total, match["note"] or "")
    return None


def _in_words(status: str) -> str:
    """A status of SageMaker as people write it.

    >>> _in_words("LaunchingMLInstances"), _in_words("InProgress")
    ('launching ml instances', 'in progress')
    """
    return " ".join(re.findall(r"[A-Z]{2,}(?=[A-Z][a-z])|[A-Z]+[a-z]*|[a-z]+", status)).lower()
