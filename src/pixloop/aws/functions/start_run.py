"""Start one run of the pipeline for all the triggers that came together.

Its queue holds what EventBridge's rules send. While a run is at work its messages are handed back,
so that whatever arrived during a run gives one more run after it.
"""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Sequence
from typing import Any

from pixloop.aws.function_clients import client, error_code
from pixloop.aws.names import CHAMPION

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
        print(f"{pipeline} is at work; {len(records)} trigger(s) wait for its end")
        return {"batchItemFailures": [{"itemIdentifier": each["messageId"]} for each in records]}
    # The same messages again give the same token, and SageMaker starts no second run for it.
    ids = sorted(each["messageId"] for each in records)
    token = hashlib.sha256("\n".join(ids).encode()).hexdigest()
    parameters = {"DataVersion": token, "ChampionVersion": _champion(os.environ["BUCKET"])}
    started = client("sagemaker").start_pipeline_execution(
        PipelineName=pipeline,
        ClientRequestToken=token,
        PipelineExecutionDescription=describe_triggers([each["body"] for each in records]),
        PipelineParameters=[{"Name": name, "Value": text} for name, text in parameters.items()],
    )
    print(f"started {started['PipelineExecutionArn']}")
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


def _at_work(pipeline: str) -> bool:
    """Whether one of the latest executions still runs."""
    listed = client("sagemaker").list_pipeline_executions(
        PipelineName=pipeline, SortBy="CreationTime", SortOrder="Descending", MaxResults=20
    )
    statuses = [each["PipelineExecutionStatus"] for each in listed["PipelineExecutionSummaries"]]
    return any(status in _AT_WORK for status in statuses)


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
