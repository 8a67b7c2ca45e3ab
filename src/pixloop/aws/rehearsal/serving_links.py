"""The links of the chain that answer: workflow, queue, function."""

import io
import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from pixloop.aws.answering.asking import LIVE, PICTURE, ask_endpoint, ask_function
from pixloop.aws.deployment.settle import start, verify_and_settle
from pixloop.aws.deployment.target import Target, read_package
from pixloop.aws.names import ANSWERS, INCOMING
from pixloop.aws.rehearsal.stage import LinkBroken, Stage

_MANY = 6
#: A poisoned picture is tried four times; on AWS six minutes lie between two tries.
_VISIBILITY_S = 3
#: Scores of two servers of the same model on one machine.
_SAME = 1e-5


def run_workflow(stage: Stage) -> str:
    """One picture, then several: the sure ones pass, the others are for people to see."""
    accepted = {
        _put(stage, f"workflow/{number}.png", content): is_sure
        for number, (content, is_sure) in enumerate(_choose(stage))
    }
    first = next(iter(accepted))
    one = _execute(stage, {"picture": first})
    missing = f"s3://{stage.outputs['PicturesBucketName']}/workflow/missing.png"
    results = _execute(stage, {"pictures": [*accepted, missing]})["results"]
    failed = [r.get("error") for r in results if r["picture"] == missing]
    given = {r["picture"]: r["accepted"] for r in results}
    if given != {**accepted, missing: False} or failed != ["PictureNotFound"]:
        raise LinkBroken(f"The endpoint is sure of {accepted}, but the workflow gave {results}.")
    if one["accepted"] is not accepted[first]:
        raise LinkBroken(f"The endpoint is sure of {accepted}, but one picture gave {one}.")
    doubtful = {address for address, is_sure in accepted.items() if not is_sure}
    review: set[str] = set()

    def all_there() -> bool:
        review.update(message["picture"] for message in stage.take_messages("review"))
        return review >= doubtful

    stage.wait(all_there, "the doubtful pictures in the review queue")
    if review != doubtful:
        raise LinkBroken(f"The review queue holds {review} instead of {doubtful}.")
    return (
        f"one picture {'accepted' if accepted[first] else 'referred'}; of {len(results)} pictures "
        f"{sum(given.values())} accepted, {len(doubtful)} ThresholdNotMet and in the review queue, "
        "one not found"
    )


def answer_queue(stage: Stage) -> str:
    """Uploads are answered once each; a duplicate changes nothing, a poisoned one is put aside."""
    sqs, queue = stage.client("sqs"), stage.queue_url("pictures")
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"VisibilityTimeout": str(_VISIBILITY_S)})
    pictures = [path.read_bytes() for path in stage.pictures.asked[:_MANY]]
    keys = [f"{INCOMING}/{number}.png" for number in range(len(pictures))]
    for key, content in zip(keys, pictures, strict=True):
        _put(stage, key, content)
    _put(stage, f"{INCOMING}/poisoned.png", b"no picture at all")
    answers = {
        key: stage.wait(partial(_answer, stage, key), f"the answer to {key}") for key in keys
    }
    for key, content in zip(keys, pictures, strict=True):
        direct = _ask(stage, content)["predictions"][0]
        if answers[key]["prediction"]["label"] != direct["label"]:
            raise LinkBroken(f"{key}: the queue says {answers[key]}, the endpoint {direct}.")
    before = _written(stage, keys[0])
    _send_again(stage, keys[0], answers[keys[0]])
    dead = stage.wait(
        lambda: stage.waiting_messages("pictures-dead"), "the poisoned picture's dead letter"
    )
    stage.wait(lambda: not stage.waiting_messages("pictures"), "an empty queue")
    if dead != 1 or _answer(stage, f"{INCOMING}/poisoned.png"):
        raise LinkBroken(f"There are {dead} dead letters, not the poisoned picture alone.")
    if _written(stage, keys[0]) != before:
        raise LinkBroken(f"The same message again wrote the answer to {keys[0]} again.")
    return (
        f"{len(keys)} uploads answered, as the endpoint answers; the same message again changed "
        "nothing; a file that is no picture is a dead letter after four tries"
    )


def serve_by_function(stage: Stage) -> str:
    """The same version in a Lambda function gives the same answers."""
    target = Target(
        project=stage.config.name,
        to="function",
        name=stage.names.server_function,
        role=stage.outputs["FunctionRoleArn"],
        bucket=stage.outputs["BucketName"],
        memory_mb=stage.config.aws.memory_mb,
    )
    source = read_package(stage.session, target, stage.versions["first"])
    deployed = start(stage.session, target, source)
    settled = verify_and_settle(stage.session, target, deployed.version)
    if settled is None or not settled.ok:
        raise LinkBroken(f"The function is not verified: {settled and settled.differences}")
    for path in stage.pictures.asked[:_MANY]:
        content = path.read_bytes()
        by_function = ask_function(stage.client("lambda"), target.name, content, PICTURE, LIVE)[
            "predictions"
        ][0]
        by_endpoint = _ask(stage, content)["predictions"][0]
        if _furthest(by_function, by_endpoint) > _SAME:
            raise LinkBroken(f"{path.name}: {by_function} by the function, {by_endpoint} else.")
    (started_ms,) = stage.cloud.lambdas.cold_starts[target.name][-1:]
    return (
        f"{source.name} in a function is verified and answers {_MANY} pictures as the endpoint "
        f"does; it started in {started_ms / 1000:.1f} s"
    )


def _choose(stage: Stage) -> list[tuple[bytes, bool]]:
    """Pictures, and whether the model is sure of each: of both kinds where there are both."""
    sure: list[bytes] = []
    doubtful: list[bytes] = []
    for path in stage.pictures.asked:
        content = path.read_bytes()
        (sure if _is_sure(stage, content) else doubtful).append(content)
        if len(sure) >= _MANY and doubtful:
            break
    if not doubtful:
        # Where it is sure of all, something that is two things at once.
        mixed = (_mix(sure[0], other) for other in sure[1:])
        doubtful = [each for each in mixed if not _is_sure(stage, each)]
    chosen = [*((each, True) for each in sure[:_MANY]), *((each, False) for each in doubtful[:1])]
    return chosen or [(each, False) for each in doubtful[:_MANY]]


def _is_sure(stage: Stage, content: bytes) -> bool:
    return bool(_ask(stage, content)["predictions"][0]["decision"] == "accept")


def _mix(first: bytes, second: bytes) -> bytes:
    a = Image.open(io.BytesIO(first)).convert("RGB")
    b = Image.open(io.BytesIO(second)).convert("RGB").resize(a.size)
    mixed = io.BytesIO()
    Image.blend(a, b, 0.5).save(mixed, "PNG")
    return mixed.getvalue()


def _ask(stage: Stage, content: bytes) -> Mapping[str, Any]:
    return ask_endpoint(stage.client("sagemaker-runtime"), stage.names.endpoint, content)


def _put(stage: Stage, key: str, content: bytes) -> str:
    bucket = stage.outputs["PicturesBucketName"]
    stage.client("s3").put_object(Bucket=bucket, Key=key, Body=content)
    return f"s3://{bucket}/{key}"


def _execute(stage: Stage, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """The output of the state machine."""
    states = stage.client("stepfunctions")
    started = states.start_execution(
        stateMachineArn=stage.outputs["StateMachineArn"],
        name=f"rehearsal-{abs(hash(json.dumps(given)))}",
        input=json.dumps(given),
    )

    def ended() -> Mapping[str, Any] | None:
        execution = states.describe_execution(executionArn=started["executionArn"])
        return None if execution["status"] == "RUNNING" else execution

    execution = stage.wait(ended, "the end of the workflow")
    if execution["status"] != "SUCCEEDED":
        raise LinkBroken(f"The workflow is {execution['status']}: {execution.get('cause')}")
    return dict(json.loads(execution["output"]))


def _answer_key(key: str) -> str:
    return f"{ANSWERS}/{Path(key).relative_to(INCOMING)}.json"


def _answer(stage: Stage, key: str) -> Mapping[str, Any] | None:
    s3 = stage.client("s3")
    try:
        body = s3.get_object(Bucket=stage.outputs["PicturesBucketName"], Key=_answer_key(key))[
            "Body"
        ]
    except s3.exceptions.NoSuchKey:
        return None
    return dict(json.load(body))


def _written(stage: Stage, key: str) -> str:
    """The version of an answer: another one each time that it is written."""
    head = stage.client("s3").head_object(
        Bucket=stage.outputs["PicturesBucketName"], Key=_answer_key(key)
    )
    return str(head["VersionId"])


def _send_again(stage: Stage, key: str, answer: Mapping[str, Any]) -> None:
    """The message of an upload once more, as SQS may deliver it."""
    bucket = stage.outputs["PicturesBucketName"]
    uploaded = {
        "key": key,
        "eTag": answer["etag"],
        "versionId": answer["version_id"],
        "sequencer": "0" * 16,
    }
    record = {
        "eventSource": "aws:s3",
        "eventName": "ObjectCreated:Put",
        "s3": {"bucket": {"name": bucket}, "object": uploaded},
    }
    stage.client("sqs").send_message(
        QueueUrl=stage.queue_url("pictures"), MessageBody=json.dumps({"Records": [record]})
    )


def _furthest(a: Mapping[str, Any], b: Mapping[str, Any]) -> float:
    """The largest difference of a probability."""
    other = b["probabilities"]
    return max(
        abs(float(share) - float(other[label])) for label, share in a["probabilities"].items()
    )
