"""``pixloop aws destroy``: the stacks, and what deployment made beside them; the data if asked."""

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from botocore.exceptions import ClientError

from pixloop.aws.absence import is_absent
from pixloop.aws.deployment.endpoint import remove_old_configs
from pixloop.aws.deployment.endpoint_requests import VARIANT
from pixloop.aws.infrastructure.cloudformation import (
    OnEvent,
    StackEvent,
    delete_stack,
)
from pixloop.aws.infrastructure.code_bucket import CodeBucket, bucket_exists, partition
from pixloop.aws.infrastructure.kept import github_provider, kept_key
from pixloop.aws.infrastructure.parameters import Place, make_target
from pixloop.aws.infrastructure.rekognition_stop import stop_rekognition
from pixloop.aws.page import remove_page
from pixloop.aws.resources import find_outputs
from pixloop.aws.session import Session, translated
from pixloop.config import Config
from pixloop.errors import AwsError

_POLL_S, _TIMEOUT_S = 5.0, 900.0
#: The shortest time that KMS leaves to think it over.
_KEY_WAIT_DAYS = 7


def destroy_stacks(
    session: Session, config: Config, *, keep_data: bool = True, on_event: OnEvent
) -> list[str]:
    """Remove the project from AWS: serving, what was deployed, learning, and the data if asked.

    Args:
        session: clients.
        config: the project's configuration.
        keep_data: leave the buckets with their key, the image's repository and the registry; the
            next deployment uses them again. False removes those that pixloop made.
        on_event: told what happens to each thing, as it happens.

    Returns:
        What remains, a line each.

    Raises:
        AwsError: AWS refuses; doing it again goes on from there.
    """
    code = CodeBucket(session)
    place = Place(config, session.account(), partition(session), code.name)
    names = place.names
    outputs = find_outputs(session, names.learning_stack) or {}
    # After an earlier try, or one that kept the data, the buckets alone know their key.
    key_arn = outputs.get("KeyArn") or kept_key(session, place.locked_buckets)
    remove_page(session, place, on_event)
    # Next, so that no function deploys anew what is removed then.
    delete_stack(session, names.serving_stack, on_event)
    for what, remove in _deployed(session, place):
        _remove(what, remove, on_event)
    _stop_runs(session, names.pipeline, on_event)
    remains = stop_rekognition(session, config.name, on_event)
    # Only a stack that had a role for GitHub made the provider, or found it.
    if "GitHubRoleArn" in outputs and (provider := github_provider(session)):
        remains.append(f"OIDC provider {provider} (all projects of the account use it)")
    delete_stack(session, names.learning_stack, on_event)
    delete_stack(session, names.network_stack, on_event)
    if keep_data:
        return _what_remains(session, place, key_arn) + remains
    for what, remove in _data(session, place, key_arn):
        _remove(what, remove, on_event)
    return _what_remains(session, place, "") + remains


def _deployed(session: Session, place: Place) -> Iterator[tuple[str, Callable[[], Any]]]:
    """What deployment made: scaling, the endpoint with configurations and models, the function."""
    names, sagemaker = place.names, session.client("sagemaker")
    endpoint = names.endpoint
    yield (
        f"scaling of {endpoint}",
        lambda: session.client("application-autoscaling").deregister_scalable_target(
            ServiceNamespace="sagemaker",
            ResourceId=f"endpoint/{endpoint}/variant/{VARIANT}",
            ScalableDimension="sagemaker:variant:DesiredInstanceCount",
        ),
    )
    yield f"endpoint {endpoint}", partial(_delete_endpoint, sagemaker, endpoint)
    yield (
        f"configurations and models of {endpoint}",
        lambda: remove_old_configs(session, make_target(place, "endpoint", ""), set()),
    )
    function = names.server_function
    yield (
        f"function {function}",
        lambda: session.client("lambda").delete_function(FunctionName=function),
    )


def _data(session: Session, place: Place, key_arn: str) -> Iterator[tuple[str, Callable[[], Any]]]:
    """What destroying keeps unless told otherwise; a user's own bucket is none of it."""
    repository = place.names.repository
    yield (
        f"repository {repository}",
        lambda: session.client("ecr").delete_repository(repositoryName=repository, force=True),
    )
    yield f"versions of {place.group}", lambda: _delete_versions(session, place.group)
    if bucket_exists(session, place.code_bucket):
        folder = f"{place.config.name}/"
        yield (
            f"code s3://{place.code_bucket}/{folder}",
            lambda: _empty(session, place.code_bucket, folder),
        )
    # Right before the key: who is stopped on the way finds it by what it encrypts.
    for bucket in (place.own_bucket("logs"), *reversed(place.locked_buckets)):
        if bucket_exists(session, bucket):
            yield f"bucket {bucket}", partial(_delete_bucket, session, bucket)
    if key_arn:
        yield (
            f"key {key_arn}, in {_KEY_WAIT_DAYS} days",
            lambda: session.client("kms").schedule_key_deletion(
                KeyId=key_arn, PendingWindowInDays=_KEY_WAIT_DAYS
            ),
        )


def _what_remains(session: Session, place: Place, key_arn: str) -> list[str]:
    config = place.config
    buckets = [*map(place.own_bucket, ("data", "pictures", "logs"))]
    buckets += [b for b in (config.aws.bucket, config.aws.pictures_bucket) if b]
    remains = [f"bucket {name}" for name in buckets if bucket_exists(session, name)]
    if key_arn:
        remains += [
            f"key {key_arn} (without it the buckets cannot be read)",
            f"repository {place.names.repository}",
            f"model package group {place.group}",
        ]
    if bucket_exists(session, place.code_bucket):
        remains.append(f"bucket {place.code_bucket} (code; all projects of the account use it)")
    remains.append("logs of jobs and endpoints under /aws/sagemaker/ in CloudWatch")
    return remains


def _remove(what: str, remove: Callable[[], Any], on_event: OnEvent) -> None:
    """Remove one thing; that it is not there is fine."""
    with translated(what):
        try:
            remove()
        except ClientError as e:
            if not is_absent(e):
                raise
            return
    on_event(StackEvent("", what, "", "DELETE_COMPLETE", ""))


def _stop_runs(session: Session, pipeline: str, on_event: OnEvent) -> None:
    """Stop what runs: SageMaker does not delete a pipeline that is at work."""
    sagemaker = session.client("sagemaker")
    deadline = time.monotonic() + _TIMEOUT_S
    stopped: set[str] = set()
    with translated(f"the pipeline {pipeline}"):
        while running := _running(sagemaker, pipeline):
            for arn in [arn for arn, status in running.items() if status == "Executing"]:
                if arn not in stopped:
                    sagemaker.stop_pipeline_execution(PipelineExecutionArn=arn)
                    on_event(StackEvent("", f"run {arn}", "", "STOP_IN_PROGRESS", ""))
                    stopped.add(arn)
            if time.monotonic() > deadline:
                raise AwsError(f"Runs of {pipeline} do not stop: {', '.join(sorted(running))}")
            time.sleep(_POLL_S)


def _running(sagemaker: Any, pipeline: str) -> dict[str, str]:
    """The runs that are at work → ``Executing``, or ``Stopping``, which may not be stopped."""
    pages = sagemaker.get_paginator("list_pipeline_executions").paginate(PipelineName=pipeline)
    try:
        listed = [each for page in pages for each in page["PipelineExecutionSummaries"]]
    except ClientError as e:
        if is_absent(e):
            return {}
        raise
    return {
        each["PipelineExecutionArn"]: each["PipelineExecutionStatus"]
        for each in listed
        if each["PipelineExecutionStatus"] in ("Executing", "Stopping")
    }


def _delete_endpoint(sagemaker: Any, endpoint: str) -> None:
    sagemaker.delete_endpoint(EndpointName=endpoint)
    # Its configuration must not go before it.
    sagemaker.get_waiter("endpoint_deleted").wait(EndpointName=endpoint)


def _delete_bucket(session: Session, bucket: str) -> None:
    _empty(session, bucket, "")
    session.client("s3").delete_bucket(Bucket=bucket)


def _empty(session: Session, bucket: str, prefix: str) -> None:
    """Remove every version of every object below a prefix, and the marks of deleted ones."""
    s3 = session.client("s3")
    pages = s3.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=prefix)
    for page in pages:
        found = [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
        if not found:
            continue
        objects = [{"Key": each["Key"], "VersionId": each["VersionId"]} for each in found]
        answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": objects, "Quiet": True})
        if errors := answer.get("Errors"):
            first = errors[0]
            raise AwsError(
                f"{len(errors)} objects of s3://{bucket} cannot be removed, the first of them "
                f"{first['Key']}: {first['Code']}: {first['Message']}"
            )


def _delete_versions(session: Session, group: str) -> None:
    sagemaker = session.client("sagemaker")
    pages = sagemaker.get_paginator("list_model_packages").paginate(ModelPackageGroupName=group)
    for package in [each for page in pages for each in page["ModelPackageSummaryList"]]:
        sagemaker.delete_model_package(ModelPackageName=package["ModelPackageArn"])
    sagemaker.delete_model_package_group(ModelPackageGroupName=group)
