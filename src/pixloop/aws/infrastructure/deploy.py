"""``pixloop aws deploy``: code to the code bucket, then the two stacks, learning before serving."""

import json
from typing import Any

from pixloop.aws.infrastructure.cloudformation import (
    OnEvent,
    StackEvent,
    deploy_stack,
    stack_parameters,
)
from pixloop.aws.infrastructure.code_bucket import CodeBucket, partition
from pixloop.aws.infrastructure.network import network_parameters
from pixloop.aws.infrastructure.packages import build_package
from pixloop.aws.infrastructure.parameters import (
    Options,
    Place,
    camel,
    learning_parameters,
    serving_parameters,
)
from pixloop.aws.names import (
    ANNOTATIONS,
    CHAMPION,
    INCOMING,
    LEARNING_FUNCTIONS,
    RAW,
    SERVING_FUNCTIONS,
)
from pixloop.aws.pipeline.inputs import place_annotations, place_champion, stays_on_s3
from pixloop.aws.session import Session, translated
from pixloop.aws.stacks import read_text
from pixloop.config import Config
from pixloop.pipeline.definition import build_definition


def deploy_stacks(
    session: Session,
    config: Config,
    *,
    on_event: OnEvent,
    options: Options | None = None,
    definition: dict[str, Any] | None = None,
    commit: str = "",
    vpc_endpoints: bool = False,
) -> dict[str, str]:
    """Make the project's stacks, or change what differs; the outputs of both.

    Doing it again changes nothing. What an earlier deployment kept (buckets, their key, the image's
    repository, the registry) is used again.

    Args:
        session: clients.
        config: the project's configuration.
        on_event: told what happens to each resource, as it happens.
        options: what pixloop.yaml does not say; what is not given stays as it is.
        definition: the pipeline's; without it, one over what lies in the bucket under ``raw/``.
        commit: the project's git commit, for the lineage.
        vpc_endpoints: also make the VPC endpoints that the subnets of pixloop.yaml need.

    Raises:
        AwsError: AWS refuses; the message has the first resource that failed, and why.
    """
    options = options or Options()
    code = CodeBucket(session)
    code.prepare()
    place = Place(config, session.account(), partition(session), code.name)
    names = place.names

    def deploy(stack: str, template: str, parameters: dict[str, str]) -> dict[str, str]:
        url = _upload_template(code, config.name, template)
        return deploy_stack(session, stack, url, parameters, on_event)

    if vpc_endpoints:
        deploy(names.network_stack, "network", network_parameters(session, config))

    keys = _upload_learning(code, config.name, definition or pipeline_definition(place, commit))
    before = stack_parameters(session, names.learning_stack)
    parameters = learning_parameters(session, place, keys, options, before)
    learning = deploy(names.learning_stack, "learning", parameters)
    place_champion(session, place.bucket)
    place_annotations(session, place.bucket, always=True)

    keys = _upload_serving(code, config.name)
    before = stack_parameters(session, names.serving_stack)
    parameters = serving_parameters(session, place, keys, options, before, learning)
    serving = deploy(names.serving_stack, "serving", parameters)
    _check_own_buckets(session, place, on_event)
    return {**learning, **serving}


def pipeline_definition(place: Place, commit: str) -> dict[str, Any]:
    """The definition for runs that triggers start: over ``raw/``, against the champion."""
    aws = place.config.aws.model_copy(
        update={"bucket": place.bucket, "role": place.execution_role, "image": place.image}
    )
    data = place.config.data
    return build_definition(
        place.config.model_copy(update={"aws": aws}),
        train=data.train if stays_on_s3(data.train) else f"s3://{place.bucket}/{RAW}/",
        test=data.test if data.test and stays_on_s3(data.test) else None,
        champion=f"s3://{place.bucket}/{CHAMPION}/",
        annotations=f"s3://{place.bucket}/{ANNOTATIONS}/",
        commit=commit or "none",  # a model package's properties may not be empty
    )


def _upload_learning(code: CodeBucket, project: str, definition: dict[str, Any]) -> dict[str, str]:
    """The keys of what the learning stack is made of, by parameter."""
    text = json.dumps(definition, indent=1, sort_keys=True)
    key = code.put(f"{project}/pipeline", text.encode(), ".json")
    return {**_upload_functions(code, project, LEARNING_FUNCTIONS), "PipelineDefinitionKey": key}


def _upload_serving(code: CodeBucket, project: str) -> dict[str, str]:
    """The keys of what the serving stack is made of, by parameter."""
    key = code.put(f"{project}/workflow", read_text("workflow.asl.json").encode(), ".asl.json")
    return {**_upload_functions(code, project, SERVING_FUNCTIONS), "WorkflowKey": key}


def _upload_functions(code: CodeBucket, project: str, modules: tuple[str, ...]) -> dict[str, str]:
    """The keys of functions' packages, by the parameter that takes each."""
    return {
        f"{camel(module)}Key": code.put(
            f"{project}/functions/{module}", build_package(module), ".zip"
        )
        for module in modules
    }


def _upload_template(code: CodeBucket, project: str, name: str) -> str:
    """The address of a template, which is too large to be sent with a request."""
    return code.url(code.put(f"{project}/{name}", read_text(f"{name}.yaml").encode(), ".yaml"))


def _check_own_buckets(session: Session, place: Place, on_event: OnEvent) -> None:
    """Tell what a bucket that the user has chosen lacks: the stacks change only what they made."""
    aws, queue = place.config.aws, place.names.queue("pictures")
    if aws.bucket and "EventBridgeConfiguration" not in _notifications(session, aws.bucket):
        _tell_missing(aws.bucket, "EventBridge is not on; no upload starts a run", on_event)
    if aws.pictures_bucket:
        told = _notifications(session, aws.pictures_bucket).get("QueueConfigurations", [])
        if not any(each["QueueArn"].endswith(f":{queue}") for each in told):
            why = f"uploads below {INCOMING}/ are not sent to the queue {queue}"
            _tell_missing(aws.pictures_bucket, why, on_event)


def _notifications(session: Session, bucket: str) -> dict[str, Any]:
    with translated(f"the bucket {bucket}"):
        return dict(session.client("s3").get_bucket_notification_configuration(Bucket=bucket))


def _tell_missing(bucket: str, why: str, on_event: OnEvent) -> None:
    on_event(StackEvent("", f"bucket {bucket}", "AWS::S3::Bucket", "SET_IT_UP_YOURSELF", why))
