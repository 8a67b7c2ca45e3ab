import json
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from pixloop.aws.rehearsal.cloud import Cloud

Wait = Callable[[Callable[[], Any], str], Any]
TEMPLATE = """
Parameters:
  Name: {Type: String}
  Level: {Type: Number, Default: 2}
  Email: {Type: String, Default: ""}
Conditions:
  HasEmail: !Not [!Equals [!Ref Email, ""]]
Resources:
  Bucket:
    Type: AWS::S3::Bucket
    DeletionPolicy: RetainExceptOnCreate
    Properties:
      BucketName: !Sub "${Name}-bucket"
      VersioningConfiguration: {Status: Enabled}
      PublicAccessBlockConfiguration: {BlockPublicAcls: true, BlockPublicPolicy: true}
      NotificationConfiguration:
        EventBridgeConfiguration: {EventBridgeEnabled: true}
        QueueConfigurations:
          - Event: s3:ObjectCreated:*
            Queue: !GetAtt Queue.Arn
            Filter: {S3Key: {Rules: [{Name: prefix, Value: in/}]}}
  Policy:
    Type: AWS::S3::BucketPolicy
    Properties:
      Bucket: !Ref Bucket
      PolicyDocument:
        Statement:
          - Effect: Deny
            Principal: "*"
            Action: "s3:*"
            Resource: [!Sub "${Bucket.Arn}/*"]
            Condition: {Bool: {"aws:SecureTransport": "false"}}
  Queue:
    Type: AWS::SQS::Queue
    Properties: {QueueName: !Sub "${Name}-queue"}
  Rule:
    Type: AWS::Events::Rule
    Properties:
      EventPattern: {source: [aws.s3], detail: {object: {key: [{prefix: in/}]}}}
      Targets: [{Id: queue, Arn: !GetAtt Queue.Arn, InputPath: $.detail.object.key}]
  Role:
    Type: AWS::IAM::Role
    Properties:
      RoleName: !Sub "${Name}-role"
      AssumeRolePolicyDocument:
        Statement:
          - {Effect: Allow, Principal: {Service: states.amazonaws.com}, Action: sts:AssumeRole}
      ManagedPolicyArns: [!If [HasEmail, "arn:aws:iam::aws:policy/none", !Ref AWS::NoValue]]
  Machine:
    Type: AWS::StepFunctions::StateMachine
    Properties:
      StateMachineName: !Sub "${Name}-machine"
      RoleArn: !GetAtt Role.Arn
      DefinitionString: >-
        {"StartAt": "A", "States": {"A": {"Type": "Pass", "Result": "${Url}", "End": true}}}
      DefinitionSubstitutions: {Url: !Ref Queue}
  Group:
    Type: AWS::SageMaker::ModelPackageGroup
    Properties: {ModelPackageGroupName: !Ref Name}
  Pipeline:
    Type: AWS::SageMaker::Pipeline
    Properties:
      PipelineName: !Ref Name
      RoleArn: !GetAtt Role.Arn
      PipelineDefinition: {PipelineDefinitionBody: '{"Steps": [{"Name": "A", "Type": "Fail"}]}'}
  Alarm:
    Type: AWS::CloudWatch::Alarm
    Properties:
      AlarmName: !Sub "${Name}-alarm"
      Namespace: pixloop
      MetricName: Drift
      Dimensions: [{Name: Project, Value: !Ref Name}]
      Statistic: Maximum
      Period: 300
      EvaluationPeriods: 1
      Threshold: !Ref Level
      ComparisonOperator: GreaterThanOrEqualToThreshold
  Build:
    Type: AWS::CodeBuild::Project
    Properties: {Name: !Ref Name}
Outputs:
  Machine: {Value: !Ref Machine}
  Alarm: {Value: !GetAtt Alarm.Arn}
  Group: {Value: !Ref Group}
"""


@pytest.fixture
def outputs(cloud: Cloud) -> dict[str, str]:
    cloud.client("cloudformation").create_stack(
        StackName="stack",
        TemplateBody=TEMPLATE,
        Parameters=[{"ParameterKey": "Name", "ParameterValue": "digits"}],
        Capabilities=["CAPABILITY_NAMED_IAM"],
    )
    (stack,) = cloud.client("cloudformation").describe_stacks(StackName="stack")["Stacks"]
    return {each["OutputKey"]: each["OutputValue"] for each in stack["Outputs"]}


def test_a_stack_is_made_as_its_template_says(
    cloud: Cloud, outputs: dict[str, str], wait: Wait
) -> None:
    s3, sqs = cloud.client("s3"), cloud.client("sqs")
    assert s3.get_bucket_versioning(Bucket="digits-bucket")["Status"] == "Enabled"
    s3.put_object(Bucket="digits-bucket", Key="in/a.jpg", Body=b"picture")
    queue = sqs.get_queue_url(QueueName="digits-queue")["QueueUrl"]
    wait(lambda: cloud.events.deliveries, "the event")
    received = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10)["Messages"]
    bodies = [json.loads(message["Body"]) for message in received]
    assert "in/a.jpg" in bodies  # by EventBridge
    records = [body["Records"][0] for body in bodies if "Records" in body]
    assert records[0]["s3"]["object"]["key"] == "in%2Fa.jpg"

    states = cloud.client("stepfunctions")
    started = states.start_execution(stateMachineArn=outputs["Machine"], name="one")
    done = wait(
        lambda: (
            (d := states.describe_execution(executionArn=started["executionArn"]))["status"]
            == "SUCCEEDED"
            and d
        ),
        "the state machine",
    )
    assert done["output"].strip('"').endswith("/123456789012/digits-queue")

    (alarm,) = cloud.client("cloudwatch").describe_alarms()["MetricAlarms"]
    assert (alarm["AlarmArn"], alarm["Threshold"]) == (outputs["Alarm"], 2)
    sagemaker = cloud.client("sagemaker")
    assert json.loads(sagemaker.describe_pipeline(PipelineName="digits")["PipelineDefinition"])
    group = sagemaker.describe_model_package_group(ModelPackageGroupName="digits")
    assert group["ModelPackageGroupArn"] == outputs["Group"]


def test_what_was_completed_and_what_was_left_out_is_said(
    cloud: Cloud, outputs: dict[str, str]
) -> None:
    assert "AWS::SageMaker::Pipeline digits" in cloud.stacks.completed
    assert (
        "AWS::S3::Bucket digits-bucket (versioning, no public access, notifications)"
        in cloud.stacks.completed
    )
    assert cloud.stacks.left_out == ["AWS::CodeBuild::Project Build"]


def test_an_update_changes_what_the_template_says_otherwise(
    cloud: Cloud, outputs: dict[str, str]
) -> None:
    cloud.client("cloudformation").update_stack(
        StackName="stack",
        TemplateBody=TEMPLATE.replace('"Fail"', '"Fail", "Arguments": {}'),
        Parameters=[
            {"ParameterKey": "Name", "ParameterValue": "digits"},
            {"ParameterKey": "Level", "ParameterValue": "5"},
        ],
        Capabilities=["CAPABILITY_NAMED_IAM"],
    )
    pipeline = cloud.client("sagemaker").describe_pipeline(PipelineName="digits")
    assert "Arguments" in pipeline["PipelineDefinition"]
    (alarm,) = cloud.client("cloudwatch").describe_alarms()["MetricAlarms"]
    assert alarm["Threshold"] == 5


def test_a_deleted_stack_is_gone_but_for_what_it_keeps(
    cloud: Cloud, outputs: dict[str, str]
) -> None:
    cloud.client("s3").put_object(Bucket="digits-bucket", Key="kept", Body=b"picture")
    cloud.client("cloudformation").delete_stack(StackName="stack")
    assert cloud.client("cloudformation").describe_stacks()["Stacks"] == []
    assert cloud.client("cloudwatch").describe_alarms()["MetricAlarms"] == []
    assert cloud.client("sagemaker").list_pipelines()["PipelineSummaries"] == []
    assert cloud.client("stepfunctions").list_state_machines()["stateMachines"] == []
    assert cloud.client("s3").get_object(Bucket="digits-bucket", Key="kept")
    with pytest.raises(ClientError, match="NonExistentQueue"):
        cloud.client("sqs").get_queue_url(QueueName="digits-queue")
