"""How the resources of a template are made that moto's CloudFormation does not make.

Each is made by the call of its service's API that CloudFormation would make. What ``Ref`` and
``Fn::GetAtt`` give is from the AWS CloudFormation User Guide's page of the type.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

Client = Callable[[str], Any]
Properties = Mapping[str, Any]
#: What ``Ref`` gives, and what ``Fn::GetAtt`` gives by attribute.
Made = tuple[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Kind:
    """A type of resource.

    Attributes:
        type: CloudFormation's name of it.
        name_property: the property that names it; without one a name is made up.
        make: makes it, or brings it up to date: client, name, properties, account → what is made.
        remove: removes it: client, what ``Ref`` gave.
        acted: whether it does anything here.
    """

    type: str
    name_property: str | None
    make: Callable[[Client, str, Properties, str], Made]
    remove: Callable[[Client, str], None]
    acted: bool = True


def _make_group(client: Client, name: str, properties: Properties, account: str) -> Made:
    sagemaker = client("sagemaker")
    try:
        group = sagemaker.describe_model_package_group(ModelPackageGroupName=name)
    except ClientError:
        described = properties.get("ModelPackageGroupDescription", "")
        group = sagemaker.create_model_package_group(
            ModelPackageGroupName=name, ModelPackageGroupDescription=described
        )
    arn = group["ModelPackageGroupArn"]
    return arn, {"ModelPackageGroupArn": arn}


def _make_pipeline(client: Client, name: str, properties: Properties, account: str) -> Made:
    sagemaker, definition = client("sagemaker"), properties["PipelineDefinition"]
    given: dict[str, Any] = {"PipelineName": name, "RoleArn": properties["RoleArn"]}
    if "PipelineDefinitionBody" in definition:
        given["PipelineDefinition"] = definition["PipelineDefinitionBody"]
    else:
        place = definition["PipelineDefinitionS3Location"]
        given["PipelineDefinitionS3Location"] = {
            "Bucket": place["Bucket"],
            "ObjectKey": place["Key"],
        }
    try:
        sagemaker.describe_pipeline(PipelineName=name)
    except ClientError:
        sagemaker.create_pipeline(**given, ClientRequestToken=f"stack-{name}".ljust(32, "-"))
    else:
        sagemaker.update_pipeline(**given)
    return name, {}


def _remove_pipeline(client: Client, name: str) -> None:
    client("sagemaker").delete_pipeline(
        PipelineName=name, ClientRequestToken=f"stack-{name}".ljust(32, "-")
    )


def _make_alarm(client: Client, name: str, properties: Properties, account: str) -> Made:
    client("cloudwatch").put_metric_alarm(**{**properties, "AlarmName": name})
    (alarm,) = client("cloudwatch").describe_alarms(AlarmNames=[name])["MetricAlarms"]
    return name, {"Arn": alarm["AlarmArn"]}


def _make_machine(client: Client, name: str, properties: Properties, account: str) -> Made:
    """A state machine, with its definition's substitutions carried out, which moto forgets."""
    if "DefinitionS3Location" in properties:
        place = properties["DefinitionS3Location"]
        body = client("s3").get_object(Bucket=place["Bucket"], Key=place["Key"])["Body"]
        definition = body.read().decode()
    else:
        definition = properties["DefinitionString"]
    for key, value in properties.get("DefinitionSubstitutions", {}).items():
        definition = definition.replace(f"${{{key}}}", str(value))
    functions = client("stepfunctions")
    known = {
        m["name"]: m["stateMachineArn"] for m in functions.list_state_machines()["stateMachines"]
    }
    if name in known:
        arn = known[name]
        functions.update_state_machine(stateMachineArn=arn, definition=definition)
    else:
        arn = functions.create_state_machine(
            name=name, definition=definition, roleArn=properties["RoleArn"]
        )["stateMachineArn"]
    return arn, {"Arn": arn, "Name": name}


def _make_invoke_config(client: Client, name: str, properties: Properties, account: str) -> Made:
    given = {k: v for k, v in properties.items() if k != "Qualifier"}
    client("lambda").put_function_event_invoke_config(**given)
    return properties["FunctionName"], {}


def _make_bucket_policy(client: Client, name: str, properties: Properties, account: str) -> Made:
    client("s3").put_bucket_policy(
        Bucket=properties["Bucket"], Policy=json.dumps(properties["PolicyDocument"])
    )
    return properties["Bucket"], {}


def _make_queue_policy(client: Client, name: str, properties: Properties, account: str) -> Made:
    for url in properties["Queues"]:
        client("sqs").set_queue_attributes(
            QueueUrl=url, Attributes={"Policy": json.dumps(properties["PolicyDocument"])}
        )
    return name, {"Id": name}


def _make_topic_policy(client: Client, name: str, properties: Properties, account: str) -> Made:
    for topic in properties["Topics"]:
        client("sns").set_topic_attributes(
            TopicArn=topic,
            AttributeName="Policy",
            AttributeValue=json.dumps(properties["PolicyDocument"]),
        )
    return name, {"Id": name}


def _make_subscription(client: Client, name: str, properties: Properties, account: str) -> Made:
    made = client("sns").subscribe(
        TopicArn=properties["TopicArn"],
        Protocol=properties["Protocol"],
        Endpoint=properties["Endpoint"],
    )
    return made["SubscriptionArn"], {"Arn": made["SubscriptionArn"]}


def _nothing(client: Client, name: str) -> None:
    """What goes with the thing that it is a part of."""


KINDS = (
    Kind(
        "AWS::SageMaker::ModelPackageGroup",
        "ModelPackageGroupName",
        _make_group,
        _nothing,  # the stacks keep it
    ),
    Kind("AWS::SageMaker::Pipeline", "PipelineName", _make_pipeline, _remove_pipeline),
    Kind(
        "AWS::CloudWatch::Alarm",
        "AlarmName",
        _make_alarm,
        lambda client, name: client("cloudwatch").delete_alarms(AlarmNames=[name]),
    ),
    Kind(
        "AWS::StepFunctions::StateMachine",
        "StateMachineName",
        _make_machine,
        lambda client, arn: client("stepfunctions").delete_state_machine(stateMachineArn=arn),
    ),
    Kind("AWS::Lambda::EventInvokeConfig", None, _make_invoke_config, _nothing),
    Kind("AWS::S3::BucketPolicy", None, _make_bucket_policy, _nothing),
    Kind("AWS::SQS::QueuePolicy", None, _make_queue_policy, _nothing),
    Kind("AWS::SNS::TopicPolicy", None, _make_topic_policy, _nothing),
    Kind(
        "AWS::SNS::Subscription",
        None,
        _make_subscription,
        lambda client, arn: client("sns").unsubscribe(SubscriptionArn=arn),
    ),
)


def complete_bucket(client: Client, bucket: str, properties: Properties) -> list[str]:
    """Give a bucket of moto's what its template asks for; the names of what was added."""
    s3, made = client("s3"), []
    if versioning := properties.get("VersioningConfiguration"):
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration=versioning)
        made.append("versioning")
    if block := properties.get("PublicAccessBlockConfiguration"):
        s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=block)
        made.append("no public access")
    if notification := properties.get("NotificationConfiguration"):
        s3.put_bucket_notification_configuration(
            Bucket=bucket, NotificationConfiguration=_notification(notification)
        )
        made.append("notifications")
    return made


def _notification(properties: Properties) -> dict[str, Any]:
    """A bucket's notifications as the API words them."""
    told: dict[str, Any] = {}
    if properties.get("EventBridgeConfiguration", {}).get("EventBridgeEnabled", False):
        told["EventBridgeConfiguration"] = {}
    for kind, target, word in (
        ("QueueConfigurations", "Queue", "QueueArn"),
        ("LambdaConfigurations", "Function", "LambdaFunctionArn"),
        ("TopicConfigurations", "Topic", "TopicArn"),
    ):
        name = "LambdaFunctionConfigurations" if kind == "LambdaConfigurations" else kind
        for each in properties.get(kind, []):
            one = {word: each[target], "Events": [each["Event"]]}
            if rules := each.get("Filter", {}).get("S3Key", {}).get("Rules"):
                one["Filter"] = {"Key": {"FilterRules": rules}}
            told.setdefault(name, []).append(one)
    return told
