"""Start one run of the pipeline for all the triggers that came together.

Its queue holds what EventBridge's rules send. While a run is at work its messages are handed back,
so that whatever arrived during a run gives one more run after it. Where nothing has changed since
the last run that succeeded (neither pictures nor champion nor pipeline), none is started: it would
give the same version once more.
"""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from pixloop.aws.data_version import data_version
from pixloop.aws.function_clients import client, error_code
from pixloop.aws.names import CHAMPION
from pixloop.errors import AwsError

_AT_WORK = ("Executing", "Stopping")


def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    """Which messages SQS shall keep: none where a run was started, else all.

    Args:
        event: a batch of SQS messages, each ``{"trigger": …, "event": …}``.
        context: Lambda's.
    """
    records = event["Records"]
    pipeline = os.environ["PIPELINE_NAME"]
    if _at_work(pipeline):
        return _hand_back(records, f"{pipeline} is at work")
    token = _token(records)
    described = client("sagemaker").describe_pipeline(PipelineName=pipeline)
    parameters = {
        "DataVersion": _data_version(described["PipelineDefinition"]) or token,
        "ChampionVersion": _champion(os.environ["BUCKET"]),
    }
    if _was_run(pipeline, parameters, since=described["LastModifiedTime"]):
        print(f"{len(records)} trigger(s): nothing has changed since the last run of {pipeline}")
        return {"batchItemFailures": []}
    started = client("sagemaker").start_pipeline_execution(
        PipelineName=pipeline,
        ClientRequestToken=token,
        PipelineExecutionDescription=describe_triggers([each["body"] for each in records]),
        PipelineParameters=[{"Name": name, "Value": text} for name, text in parameters.items()],
    )
    arn = started["PipelineExecutionArn"]
    if _at_work(pipeline)[-1:] not in ([], [arn]):
        # Lambda reads a queue with several pollers: another batch was a moment quicker.
        client("sagemaker").stop_pipeline_execution(
            PipelineExecutionArn=arn, ClientRequestToken=token
        )
        return _hand_back(records, f"another batch has just started {pipeline}")
    print(f"started {arn}")
    return {"batchItemFailures": []}


def describe_triggers(bodies: Sequence[str]) -> str:
    """What started a run, for people.

    >>> describe_triggers(['{"trigger": "new raw data"}'] * 2 + ['{"trigger": "schedule"}', "?"])
    'new raw data (2), schedule (1), unknown (1)'
    """
    counts = Counter(_trigger(body) for body in bodies)
    return ", ".join(f"{trigger} ({count})" for trigger, count in sorted(counts.items()))


def _trigger(body: str) -> str:
    try:
        return str(json.loads(body)["trigger"])[:100]
    except (ValueError, KeyError, TypeError):
        return "unknown"


def _hand_back(records: Sequence[dict[str, Any]], why: str) -> dict[str, Any]:
    print(f"{why}; {len(records)} trigger(s) wait for the end of its run")
    return {"batchItemFailures": [{"itemIdentifier": each["messageId"]} for each in records]}


def _token(records: Sequence[dict[str, Any]]) -> str:
    """Of these messages in this delivery, so that a request that is repeated starts one run.

    A later delivery has another: its run may be a new one, as the first was perhaps stopped.
    """
    received = sorted(
        f"{each['messageId']} {each.get('attributes', {}).get('ApproximateReceiveCount', 1)}"
        for each in records
    )
    return hashlib.sha256("\n".join(received).encode()).hexdigest()


def _at_work(pipeline: str) -> list[str]:
    """The executions that still run among the latest, the oldest last."""
    return [
        each["PipelineExecutionArn"]
        for each in _latest(pipeline)
        if each["PipelineExecutionStatus"] in _AT_WORK
    ]


def _was_run(pipeline: str, parameters: Mapping[str, str], since: datetime) -> bool:
    """Whether the last run that succeeded was of this pipeline as it is, with these parameters."""
    for each in _latest(pipeline):
        if each["PipelineExecutionStatus"] != "Succeeded" or each["StartTime"] < since:
            continue
        listed = client("sagemaker").list_pipeline_parameters_for_execution(
            PipelineExecutionArn=each["PipelineExecutionArn"]
        )
        given = {each["Name"]: each["Value"] for each in listed.get("PipelineParameters") or []}
        return all(given.get(name) == value for name, value in parameters.items())
    return False


def _latest(pipeline: str) -> list[dict[str, Any]]:
    """The latest executions, the newest first."""
    listed = client("sagemaker").list_pipeline_executions(
        PipelineName=pipeline, SortBy="CreationTime", SortOrder="Descending", MaxResults=20
    )
    return sorted(
        listed["PipelineExecutionSummaries"],
        key=lambda each: (each["StartTime"], each["PipelineExecutionArn"]),
        reverse=True,
    )


def _data_version(definition: str) -> str | None:
    """Of the pictures that a pipeline's parameters name; None where they cannot be listed."""
    parameters = json.loads(definition).get("Parameters", [])
    defaults = {each["Name"]: str(each.get("DefaultValue")) for each in parameters}
    addresses = [defaults.get(name, "") for name in ("TrainDataUri", "TestDataUri")]
    addresses += [defaults[name] for name in ("AnnotationsUri",) if name in defaults]
    s3 = client("s3")
    try:
        return data_version(s3, addresses)
    except (AwsError, s3.exceptions.ClientError) as e:  # in a bucket of somebody else's, perhaps
        print(f"the pictures cannot be listed, so they count as new: {e}")
        return None


def _champion(bucket: str) -> str:
    """The ETag of the archive of the version that is served; "none" before there is one."""
    s3 = client("s3")
    try:
        answer = s3.head_object(Bucket=bucket, Key=f"{CHAMPION}/model.tar.gz")
    except s3.exceptions.ClientError as e:
        if error_code(e) in ("404", "NoSuchKey"):
            return "none"
        raise
    return str(answer["ETag"]).strip('"')
