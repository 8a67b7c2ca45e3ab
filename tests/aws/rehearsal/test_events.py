import io
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest

from pixloop.aws.rehearsal.cloud import Cloud
from pixloop.aws.rehearsal.transformer import target_input

Wait = Callable[[Callable[[], Any], str], Any]
TEMPLATE = '{"trigger": "new raw data", "event": <id>, "said": "key <key>", "detail": <detail>}'


@pytest.fixture
def queue(cloud: Cloud) -> str:
    return str(cloud.client("sqs").create_queue(QueueName="triggers")["QueueUrl"])


def messages(cloud: Cloud, queue: str) -> list[Any]:
    received = cloud.client("sqs").receive_message(QueueUrl=queue, MaxNumberOfMessages=10)
    return [json.loads(message["Body"]) for message in received.get("Messages", [])]


def add_rule(cloud: Cloud, pattern: dict[str, Any] | None, target: str, **how: Any) -> None:
    events = cloud.client("events")
    what = (
        {"EventPattern": json.dumps(pattern)} if pattern else {"ScheduleExpression": "rate(1 day)"}
    )
    name = f"rule-{len(events.list_rules()['Rules'])}"
    events.put_rule(Name=name, **what)
    events.put_targets(Rule=name, Targets=[{"Id": "1", "Arn": target, **how}])


def arn(service: str, name: str) -> str:
    return f"arn:aws:{service}:eu-west-1:123456789012:{name}"


def test_an_upload_becomes_a_message_in_the_words_of_the_template(
    cloud: Cloud, bucket: str, queue: str, wait: Wait
) -> None:
    s3 = cloud.client("s3")
    s3.put_bucket_notification_configuration(
        Bucket=bucket, NotificationConfiguration={"EventBridgeConfiguration": {}}
    )
    pattern = {
        "source": ["aws.s3"],
        "detail-type": ["Object Created"],
        "detail": {"bucket": {"name": [bucket]}, "object": {"key": [{"prefix": "raw/"}]}},
    }
    paths = {"id": "$.id", "key": "$.detail.object.key", "detail": "$.detail.object"}
    transformer = {"InputPathsMap": paths, "InputTemplate": TEMPLATE}
    add_rule(cloud, pattern, arn("sqs", "triggers"), InputTransformer=transformer)
    add_rule(cloud, None, arn("sqs", "triggers"))
    for key in ("other/a.jpg", 'raw/train/a "b".jpg', "raw/b.jpg"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"picture")
    wait(lambda: len(cloud.events.deliveries) == 2, "two deliveries")
    got = {message["detail"]["key"]: message for message in messages(cloud, queue)}
    assert set(got) == {'raw/train/a "b".jpg', "raw/b.jpg"}
    assert got['raw/train/a "b".jpg']["said"] == 'key raw/train/a "b".jpg'
    assert len({message["event"] for message in got.values()}) == 2
    assert not cloud.events.failures


def test_a_schedule_fires_when_it_is_told_to(cloud: Cloud, queue: str, wait: Wait) -> None:
    add_rule(cloud, None, arn("sqs", "triggers"), Input='{"trigger": "schedule"}')
    cloud.events.run_schedule("rule-0")
    wait(lambda: cloud.events.deliveries, "the delivery")
    assert messages(cloud, queue) == [{"trigger": "schedule"}]


def test_a_rule_reaches_a_state_machine_a_function_and_a_queue(
    cloud: Cloud, queue: str, wait: Wait
) -> None:
    package = io.BytesIO()
    with zipfile.ZipFile(package, "w") as file:
        file.writestr("answer.py", "def handler(event, context): return event['detail']['n'] + 1")
    policy = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}}
    role = cloud.client("iam").create_role(
        RoleName="any", AssumeRolePolicyDocument=json.dumps({"Statement": [policy]})
    )["Role"]["Arn"]
    cloud.client("lambda").create_function(
        FunctionName="add",
        Runtime="python3.12",
        Role=role,
        Handler="answer.handler",
        Code={"ZipFile": package.getvalue()},
    )
    machine = {"StartAt": "Pass", "States": {"Pass": {"Type": "Pass", "End": True}}}
    made = cloud.client("stepfunctions").create_state_machine(
        name="echo", definition=json.dumps(machine), roleArn=role
    )
    for target in (made["stateMachineArn"], arn("lambda", "function:add"), arn("sqs", "triggers")):
        add_rule(cloud, {"source": ["test"]}, target)
    cloud.client("events").put_events(
        Entries=[{"Source": "test", "DetailType": "a test", "Detail": '{"n": 1}'}]
    )
    wait(lambda: len(cloud.events.deliveries) == 3, "three deliveries")
    assert not cloud.events.failures
    answers = {delivery.target: delivery.answer for delivery in cloud.events.deliveries}
    assert answers[arn("lambda", "function:add")] == "2"
    execution = answers[made["stateMachineArn"]]
    client = cloud.client("stepfunctions")
    described = wait(
        lambda: (
            (d := client.describe_execution(executionArn=execution))["status"] == "SUCCEEDED" and d
        ),
        "the state machine",
    )
    assert json.loads(described["output"])["detail"] == {"n": 1}
    assert messages(cloud, queue)[0]["detail-type"] == "a test"


def test_what_happens_after_the_end_is_delivered_nowhere(cloud: Cloud, queue: str) -> None:
    add_rule(cloud, None, arn("sqs", "triggers"), Input="{}")
    cloud.events.close()
    cloud.events.run_schedule("rule-0")
    assert cloud.events.quiet
    assert messages(cloud, queue) == []


def test_a_delivery_that_fails_is_kept_with_its_cause(cloud: Cloud, wait: Wait) -> None:
    add_rule(cloud, {"source": ["test"]}, arn("sqs", "missing"))
    add_rule(cloud, {"source": ["test"]}, arn("kinesis", "stream/x"))
    cloud.client("events").put_events(
        Entries=[{"Source": "test", "DetailType": "a test", "Detail": "{}"}]
    )
    wait(lambda: len(cloud.events.failures) == 2, "two failures")
    said = " ".join(str(each.failure) for each in cloud.events.failures)
    assert "NonExistentQueue" in said
    assert "kinesis" in said


def test_approving_a_version_is_an_event_and_forgets_nothing(
    cloud: Cloud, queue: str, wait: Wait
) -> None:
    sagemaker = cloud.client("sagemaker")
    sagemaker.create_model_package_group(ModelPackageGroupName="vehicles")
    made = sagemaker.create_model_package(
        ModelPackageGroupName="vehicles",
        ModelApprovalStatus="PendingManualApproval",
        CustomerMetadataProperties={"task": "classification"},
    )["ModelPackageArn"]
    pattern = {
        "source": ["aws.sagemaker"],
        "detail-type": ["SageMaker Model Package State Change"],
        "detail": {"ModelPackageGroupName": ["vehicles"], "ModelApprovalStatus": ["Approved"]},
    }
    add_rule(cloud, pattern, arn("sqs", "triggers"))
    sagemaker.update_model_package(ModelPackageArn=made, ModelApprovalStatus="Approved")
    sagemaker.update_model_package(
        ModelPackageArn=made, CustomerMetadataProperties={"verified": "yes"}
    )
    wait(lambda: cloud.events.deliveries, "the event")
    (event,) = messages(cloud, queue)
    assert event["detail"]["ModelPackageArn"] == made
    assert event["detail"]["ModelPackageVersion"] == 1
    assert event["resources"] == [made]
    described = sagemaker.describe_model_package(ModelPackageName=made)
    assert described["ModelApprovalStatus"] == "Approved"
    assert described["CustomerMetadataProperties"] == {"task": "classification", "verified": "yes"}


def test_a_metric_sets_its_alarm_and_takes_it_back(cloud: Cloud, queue: str, wait: Wait) -> None:
    cloudwatch, dimensions = cloud.client("cloudwatch"), [{"Name": "Project", "Value": "digits"}]
    topic = cloud.client("sns").create_topic(Name="alarms")["TopicArn"]
    cloud.client("sns").subscribe(
        TopicArn=topic,
        Protocol="sqs",
        Endpoint=arn("sqs", "triggers"),
        Attributes={"RawMessageDelivery": "true"},
    )
    cloudwatch.put_metric_alarm(
        AlarmName="drift",
        Namespace="pixloop",
        MetricName="Drift",
        Dimensions=dimensions,
        Statistic="Maximum",
        Period=300,
        EvaluationPeriods=1,
        Threshold=1,
        ComparisonOperator="GreaterThanOrEqualToThreshold",
        AlarmActions=[topic],
    )
    pattern = {"source": ["aws.cloudwatch"], "detail": {"alarmName": ["drift"]}}
    mail = cloud.client("sqs").create_queue(QueueName="alarm-events")["QueueUrl"]
    add_rule(cloud, pattern, arn("sqs", "alarm-events"))

    def put(value: float, project: str = "digits") -> str:
        datum = {
            "MetricName": "Drift",
            "Dimensions": [{"Name": "Project", "Value": project}],
            "Value": value,
        }
        cloudwatch.put_metric_data(Namespace="pixloop", MetricData=[datum])
        return str(cloudwatch.describe_alarms()["MetricAlarms"][0]["StateValue"])

    assert put(0) == "OK"
    assert put(1, project="another") == "OK"
    assert put(1) == "ALARM"
    wait(lambda: len(cloud.events.deliveries) == 2, "the event and the mail")
    assert not cloud.events.failures
    (event,) = messages(cloud, mail)
    assert event["detail"]["state"]["value"] == "ALARM"
    assert event["detail"]["previousState"]["value"] == "OK"
    body = cloud.client("sqs").receive_message(QueueUrl=queue)["Messages"][0]["Body"]
    assert body.startswith("drift is ALARM")


def test_leaving_gives_the_environment_back(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("AWS_PROFILE", "mine")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "https://elsewhere.example")
    before = dict(os.environ)
    with Cloud(tmp_path / "cloud") as cloud:
        assert "AWS_PROFILE" not in os.environ
        address = boto3.client("s3").meta.endpoint_url
        assert address == os.environ["AWS_ENDPOINT_URL"] == cloud.environment["AWS_ENDPOINT_URL"]
        assert os.environ["MOTO_PORT"] in address
        boto3.client("s3", region_name="us-east-1").create_bucket(Bucket="left-behind")
    assert dict(os.environ) == before
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3")
    with Cloud(tmp_path / "cloud") as cloud:
        assert cloud.client("s3").list_buckets()["Buckets"] == []


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ({}, '{"a": {"b": [1, "x"]}}'),
        ({"Input": "{}"}, "{}"),
        ({"InputPath": "$.a.b[1]"}, '"x"'),
        ({"InputPath": "$.a['b'][0]"}, "1"),
        ({"InputPath": "$.a.nothing"}, "null"),
        (
            {
                "InputTransformer": {
                    "InputPathsMap": {"b": "$.a.b"},
                    "InputTemplate": r'{"b": <b>, "s": "<b> \" <c>"}',
                }
            },
            r'{"b": [1, "x"], "s": "[1, \"x\"] \" <c>"}',
        ),
    ],
)
def test_what_a_target_is_sent(target: dict[str, Any], text: str) -> None:
    assert target_input(target, {"a": {"b": [1, "x"]}}) == text
