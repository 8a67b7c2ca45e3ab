"""The stacks' life on the stand-in cloud: made, changed, looked at, destroyed, made again."""

import json
import re
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import pytest
from moto.sagemaker.models import sagemaker_backends
from moto.sagemaker.responses import SageMakerResponse
from tests.aws.infrastructure.templates import Template, read_template

from pixloop.aws.deployment.target import Target
from pixloop.aws.infrastructure import teardown
from pixloop.aws.infrastructure.cloudformation import StackEvent, stack_parameters
from pixloop.aws.infrastructure.code_bucket import CodeBucket, bucket_exists
from pixloop.aws.infrastructure.deploy import deploy_stacks
from pixloop.aws.infrastructure.parameters import (
    Options,
    Place,
    learning_parameters,
    serving_parameters,
)
from pixloop.aws.infrastructure.status import Serving, read_status
from pixloop.aws.infrastructure.teardown import destroy_stacks
from pixloop.aws.names import Names
from pixloop.aws.pipeline.definition_check import check_definition
from pixloop.aws.rehearsal.cloud import Cloud
from pixloop.aws.session import Session
from pixloop.config import Config
from pixloop.config_file import parse_config
from pixloop.errors import AwsError, AwsUnreachable

ACCOUNT, REGION = "123456789012", "eu-west-1"
LONGEST = "Aa-" * 20 + "end"
NAMES = Names("vehicles")
#: What AWS takes, from botocore's models and the services' quotas.
LIMITS = {
    r"(Bucket|LogBucket|PicturesBucket|Code)Name": r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]",
    r"(StartRun|Serialize|Classify|FilterSure|AnswerUpload)Name": r"[\w-]{1,64}",
    r"(OnApproved|OnDeployed|ServerFunction)Name": r"[\w-]{1,64}",
    r"(ExecutionRole|FunctionRole)Name": r"[\w+=,.@-]{1,64}",
    r"(Triggers|TriggersDead|Pictures|PicturesDead|Review|DeploymentsDead)Name": r"[\w-]{1,80}",
    r"\w+AlarmName": r".{1,255}",
    r"DashboardName": r"[\w-]{1,255}",
    r"StateMachineName": r"[\w-]{1,80}",
    r"RepositoryName": r"[a-z0-9]+(?:[._/-][a-z0-9]+)*",
    r"PipelineName": r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,255}",
    r"(ModelPackageGroup|Endpoint)Name": r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}",
    r"RekognitionProjectName": r"[a-zA-Z0-9_.-]{1,255}",
    r"ServingStack": r"[a-zA-Z][a-zA-Z0-9-]{0,127}",
}


def ignore(event: StackEvent) -> None:
    pass


def config(*overrides: str, name: str = "vehicles") -> Config:
    return parse_config({"task": "classification", "name": name, "data": "pictures"}, overrides)


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    with Cloud(tmp_path / "cloud") as cloud:
        yield cloud


@pytest.fixture
def session(cloud: Cloud) -> Session:
    return Session(REGION)


@pytest.fixture
def refusing() -> Iterator[str]:
    """The address of a service that refuses everything."""

    class Refusal(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(403)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_POST  # noqa: N815 - http.server's

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Refusal) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.integration
def test_a_project_is_deployed_changed_destroyed_and_deployed_again(
    cloud: Cloud, session: Session
) -> None:
    told: list[StackEvent] = []
    first = deploy_stacks(
        session, config(), on_event=told.append, options=Options(alarm_email="a@example.org")
    )

    assert cloud.stacks.left_out == []
    assert {e.stack for e in told} == {NAMES.learning_stack, NAMES.serving_stack}
    assert told[-1].status == "CREATE_COMPLETE"
    assert set(first) >= {
        "BucketName", "KeyArn", "RepositoryUri", "PipelineName", "ModelPackageGroupName",
        "ExecutionRoleArn", "TriggerQueueUrl", "PicturesBucketName", "StateMachineArn",
        "PicturesQueueUrl", "PicturesDeadQueueUrl", "ReviewQueueUrl", "FunctionRoleArn",
        "DashboardName", "DriftAlarmName",
    }  # fmt: skip
    s3 = session.client("s3")
    bucket = first["BucketName"]
    assert [o["Key"] for o in s3.list_objects_v2(Bucket=bucket)["Contents"]] == [
        "annotations/none.json",
        "champion/none.json",
    ]
    definition = json.loads(
        session.client("sagemaker").describe_pipeline(PipelineName=NAMES.pipeline)[
            "PipelineDefinition"
        ]
    )
    defaults = {p["Name"]: p["DefaultValue"] for p in definition["Parameters"]}
    assert defaults["TrainDataUri"] == f"s3://{bucket}/raw/"
    assert defaults["ChampionUri"] == f"s3://{bucket}/champion/"
    assert check_definition(definition) == []
    assert defaults["RoleArn"] == first["ExecutionRoleArn"]
    assert defaults["ImageUri"] == f"{first['RepositoryUri']}:latest"

    # Changed: what pixloop.yaml says is new, what was said once stays.
    changed = config("aws.capture_percent=7")
    deploy_stacks(session, changed, on_event=ignore)
    told_function = session.client("lambda").get_function_configuration(
        FunctionName=NAMES.function("on_approved")
    )["Environment"]["Variables"]
    assert Target.from_json(told_function["TARGET"]).capture_percent == 7
    assert stack_parameters(session, NAMES.serving_stack)["AlarmEmail"] == "a@example.org"
    # A stack that no longer made its bucket would let go of it.
    assert stack_parameters(session, NAMES.learning_stack)["MakeBucket"] == "yes"

    # Destroyed: the data stay, and are found again.
    s3.put_object(Bucket=bucket, Key="raw/cat/1.jpg", Body=b"1")
    remains = destroy_stacks(session, config(), on_event=ignore)
    assert any(bucket in line for line in remains)
    assert any(first["KeyArn"] in line for line in remains)
    assert session.client("cloudformation").describe_stacks()["Stacks"] == []
    again = deploy_stacks(session, config(), on_event=ignore)
    made = stack_parameters(session, NAMES.learning_stack)
    assert (made["MakeBucket"], made["MakeRepository"]) == ("no", "no")
    assert again["KeyArn"] == first["KeyArn"]
    assert s3.get_object(Bucket=bucket, Key="raw/cat/1.jpg")["Body"].read() == b"1"


@pytest.mark.integration
def test_destroying_the_data_leaves_the_code_bucket_alone(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    # moto has no such operation.
    monkeypatch.setattr(
        SageMakerResponse, "delete_model_package_group", lambda self: "{}", raising=False
    )
    out = deploy_stacks(session, config(), on_event=ignore)
    s3 = session.client("s3")
    for body in (b"1", b"2"):
        s3.put_object(Bucket=out["BucketName"], Key="raw/1.jpg", Body=body)
    s3.delete_object(Bucket=out["BucketName"], Key="raw/1.jpg")

    told: list[StackEvent] = []
    key = out["KeyArn"]

    # The stacks are gone when the data go: nothing but the buckets says which key was theirs.
    for _ in range(2):
        assert any(key in line for line in destroy_stacks(session, config(), on_event=ignore))
    destroy_stacks(session, config(), keep_data=False, on_event=told.append)

    code = CodeBucket(session).name
    assert [b["Name"] for b in s3.list_buckets()["Buckets"]] == [code]
    assert s3.list_objects_v2(Bucket=code)["KeyCount"] == 0
    assert session.client("ecr").describe_repositories()["repositories"] == []
    assert [event.resource for event in told][-2:] == [
        f"bucket {out['BucketName']}", f"key {key}, in 7 days",
    ]  # fmt: skip


def test_the_key_is_found_by_the_pictures_where_the_data_are_in_a_users_bucket(
    aws: Session,
) -> None:
    place = Place(config("aws.bucket=mine"), ACCOUNT, "aws", CodeBucket(aws).name)
    s3, key = aws.client("s3"), aws.client("kms").create_key()["KeyMetadata"]["Arn"]
    pictures = place.own_bucket("pictures")
    s3.create_bucket(Bucket=pictures, CreateBucketConfiguration={"LocationConstraint": REGION})
    rule = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key}
    s3.put_bucket_encryption(
        Bucket=pictures,
        ServerSideEncryptionConfiguration={"Rules": [{"ApplyServerSideEncryptionByDefault": rule}]},
    )

    assert learning_parameters(aws, place, {}, Options(), {})["ExistingKeyArn"] == key


def test_destroying_removes_what_deployment_made(aws: Session) -> None:
    sagemaker, name = aws.client("sagemaker"), f"{NAMES.endpoint}-0123456789ab"
    sagemaker.create_model(
        ModelName=name, ExecutionRoleArn="arn:aws:iam::1:role/r", PrimaryContainer={"Image": "i"}
    )
    variant = {"VariantName": "AllTraffic", "ModelName": name, "InstanceType": "ml.m5.large"}
    sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
    sagemaker.create_endpoint(EndpointName=NAMES.endpoint, EndpointConfigName=name)
    aws.client("application-autoscaling").register_scalable_target(
        ServiceNamespace="sagemaker",
        ResourceId=f"endpoint/{NAMES.endpoint}/variant/AllTraffic",
        ScalableDimension="sagemaker:variant:DesiredInstanceCount",
        MinCapacity=1,
        MaxCapacity=2,
    )
    told: list[StackEvent] = []

    destroy_stacks(aws, config(), on_event=told.append)

    assert sagemaker.list_endpoints()["Endpoints"] == []
    assert sagemaker.list_endpoint_configs()["EndpointConfigs"] == []
    assert sagemaker.list_models()["Models"] == []
    assert any(e.resource == f"endpoint {NAMES.endpoint}" for e in told)


def test_destroying_stops_the_runs_that_are_not_stopping_and_waits_for_all(
    aws: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    sagemaker = aws.client("sagemaker")
    sagemaker.create_pipeline(
        PipelineName=NAMES.pipeline, PipelineDefinition="{}", ClientRequestToken="t" * 32,
        RoleArn=f"arn:aws:iam::{ACCOUNT}:role/execution",
    )  # fmt: skip
    runs = [
        sagemaker.start_pipeline_execution(PipelineName=NAMES.pipeline)["PipelineExecutionArn"]
        for _ in range(3)
    ]
    pipeline = sagemaker_backends[ACCOUNT][REGION].pipelines[NAMES.pipeline]
    states = dict(zip(runs, ("Stopping", "Succeeded", "Executing"), strict=True))
    stops, waits = [], []

    def set_states() -> None:
        for arn, state in states.items():
            pipeline.pipeline_executions[arn].pipeline_execution_status = state

    def stop(self: SageMakerResponse) -> str:
        stops.append(self._get_param("PipelineExecutionArn"))
        return "{}"

    def wait(seconds: float) -> None:
        waits.append(seconds)
        states[runs[0]] = "Stopped"
        states[runs[2]] = "Stopping" if len(waits) == 1 else "Stopped"
        set_states()

    set_states()
    monkeypatch.setattr(SageMakerResponse, "stop_pipeline_execution", stop, raising=False)
    clock = SimpleNamespace(monotonic=time.monotonic, sleep=wait)  # the server sleeps, too
    monkeypatch.setattr(teardown, "time", clock)

    destroy_stacks(aws, config(), on_event=ignore)

    assert stops == [runs[2]]
    assert len(waits) == 2


@pytest.mark.integration
def test_a_bucket_of_the_users_is_used_and_what_it_lacks_is_told(session: Session) -> None:
    s3 = session.client("s3")
    for bucket in ("mine", "my-pictures"):
        s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
    own = config("aws.bucket=mine", "aws.pictures_bucket=my-pictures")
    first: list[StackEvent] = []
    second: list[StackEvent] = []

    outputs = deploy_stacks(session, own, on_event=first.append)
    queue = f"arn:aws:sqs:{REGION}:{ACCOUNT}:{NAMES.queue('pictures')}"
    s3.put_bucket_notification_configuration(
        Bucket="my-pictures",
        NotificationConfiguration={
            "QueueConfigurations": [{"QueueArn": queue, "Events": ["s3:ObjectCreated:*"]}]
        },
    )
    deploy_stacks(session, own, on_event=second.append)
    destroy_stacks(session, own, on_event=ignore)

    assert (outputs["BucketName"], outputs["PicturesBucketName"]) == ("mine", "my-pictures")
    assert _lacking(first) == ["bucket mine", "bucket my-pictures"]
    assert _lacking(second) == ["bucket mine"]  # moto does not say that EventBridge is on
    assert {"mine", "my-pictures"} < {b["Name"] for b in s3.list_buckets()["Buckets"]}


@pytest.mark.integration
def test_status_says_what_waits_and_what_it_cannot_read(
    session: Session, refusing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = deploy_stacks(session, config(), on_event=ignore)
    sqs = session.client("sqs")
    sqs.send_message(QueueUrl=out["PicturesDeadQueueUrl"], MessageBody="{}")
    session.client("sagemaker").create_model_package(
        ModelPackageGroupName="vehicles", ModelApprovalStatus="PendingManualApproval"
    )
    session.client("cloudwatch").set_alarm_state(
        AlarmName=NAMES.alarm("queue-age"), StateValue="ALARM", StateReason="a test"
    )

    status = read_status(session, config())

    assert set(status.stacks.values()) == {"CREATE_COMPLETE"}
    assert status.queues["pictures-dead"].waiting == 1
    assert [version.version for version in status.pending] == [1]
    assert status.alarms == [NAMES.alarm("queue-age")]
    assert (status.execution, status.serving, status.unknown) == (None, [], [])

    monkeypatch.setenv("AWS_ENDPOINT_URL_CLOUDWATCH", refusing)
    status = read_status(Session(REGION), config())

    assert [line.partition(":")[0] for line in status.unknown] == ["the alarms"]
    assert status.queues["pictures-dead"].waiting == 1


def test_status_tells_the_last_run_and_what_serves(aws: Session) -> None:
    sagemaker = aws.client("sagemaker")
    sagemaker.create_pipeline(
        PipelineName=NAMES.pipeline, PipelineDefinition="{}", ClientRequestToken="t" * 32,
        RoleArn=f"arn:aws:iam::{ACCOUNT}:role/execution",
    )  # fmt: skip
    run = sagemaker.start_pipeline_execution(PipelineName=NAMES.pipeline)["PipelineExecutionArn"]
    environment = {"PIXLOOP_MODEL_NAME": "vehicles:3"}
    container = {"Image": "i", "ModelDataUrl": "s3://b/m.tar.gz", "Environment": environment}
    sagemaker.create_model(
        ModelName="m", ExecutionRoleArn="arn:aws:iam::1:role/r", PrimaryContainer=container
    )
    variant = {"VariantName": "AllTraffic", "ModelName": "m", "InstanceType": "ml.m5.large"}
    sagemaker.create_endpoint_config(EndpointConfigName="c", ProductionVariants=[variant])
    sagemaker.create_endpoint(EndpointName=NAMES.endpoint, EndpointConfigName="c")

    status = read_status(aws, config())

    assert status.unknown == []
    assert status.execution is not None
    assert (status.execution.arn, status.execution.status) == (run, "Succeeded")
    assert status.serving == [Serving(NAMES.endpoint, "InService", "vehicles:3")]


def test_status_tells_all_versions_that_wait(aws: Session) -> None:
    sagemaker = aws.client("sagemaker")
    sagemaker.create_model_package_group(ModelPackageGroupName="vehicles")
    for _ in range(101):  # a page has at most 100
        sagemaker.create_model_package(
            ModelPackageGroupName="vehicles", ModelApprovalStatus="PendingManualApproval"
        )

    versions = [each.version for each in read_status(aws, config()).pending]

    assert sorted(versions) == list(range(1, 102))


def test_every_name_fits_where_the_project_has_the_longest_name(aws: Session) -> None:
    place = Place(config(name=LONGEST), ACCOUNT, "aws", CodeBucket(aws).name)
    learning = learning_parameters(aws, place, {}, Options(), {})
    serving = serving_parameters(
        aws, place, {}, Options(), {}, dict.fromkeys(_LEARNING_OUTPUTS, "x")
    )
    values = {**serving, **learning}

    checked = set()
    for parameter, value in values.items():
        for names, pattern in LIMITS.items():
            if re.fullmatch(names, parameter):
                assert re.fullmatch(pattern, value), f"{parameter}: {value}"
                checked.add(parameter)
    named = {parameter for parameter in values if parameter.endswith("Name")}
    assert named <= checked
    queues = [
        v for k, v in values.items() if k.endswith(("DeadName", "TriggersName", "ReviewName"))
    ]
    assert len(set(queues)) == len(queues)
    assert len(values["Target"]) < 3000  # a function's environment has 4096 bytes
    for parameter in ("StartRunName", "ClassifyName", "DriftAlarmName", "ServingStack"):
        assert values[parameter].startswith(learning["NamePrefix"])


def test_the_policies_fit_with_the_longest_names(aws: Session) -> None:
    place = Place(config(name=LONGEST), ACCOUNT, "aws", CodeBucket(aws).name)
    options = Options(github_repository="o" * 39 + "/" + "r" * 100)
    parameters = learning_parameters(aws, place, {}, options, {})
    parameters |= {"PipelineDefinitionKey": "k", "StartRunKey": "k"}
    policy = Template("learning", **parameters).resources["DeployPolicy"]["Properties"]

    assert len(json.dumps(policy["PolicyDocument"], separators=(",", ":"))) < 6144


@pytest.mark.parametrize("name", ["learning", "serving"])
def test_parameters_and_templates_agree(aws: Session, name: str) -> None:
    place = Place(config(), ACCOUNT, "aws", CodeBucket(aws).name)
    if name == "learning":
        given = learning_parameters(aws, place, {}, Options(), {})
    else:
        outputs = dict.fromkeys(_LEARNING_OUTPUTS, "x")
        given = serving_parameters(aws, place, {}, Options(), {}, outputs)
    declared = read_template(name)["Parameters"]
    keys = {key for key in declared if key.endswith("Key")}

    assert set(given) <= set(declared)
    assert {k for k, p in declared.items() if "Default" not in p} <= set(given) | keys


def test_an_accounts_only_provider_for_github_is_used(aws: Session) -> None:
    place = Place(config(), ACCOUNT, "aws", CodeBucket(aws).name)
    options = Options(github_repository="owner/pictures")
    first = learning_parameters(aws, place, {}, options, {})
    arn = aws.client("iam").create_open_id_connect_provider(
        Url="https://token.actions.githubusercontent.com", ClientIDList=["sts.amazonaws.com"]
    )["OpenIDConnectProviderArn"]
    second = learning_parameters(aws, place, {}, options, {})
    third = learning_parameters(aws, place, {}, Options(), first)

    assert first["GitHubProviderArn"] == ""
    assert second["GitHubProviderArn"] == arn
    assert third["GitHubProviderArn"] == ""  # the stack's own, which it must go on making
    assert third["GitHubRepository"] == "owner/pictures"


def test_the_code_bucket_is_private_and_keeps_content_once(aws: Session) -> None:
    code, s3 = CodeBucket(aws), aws.client("s3")
    code.prepare()
    code.prepare()
    policy = json.loads(s3.get_bucket_policy(Bucket=code.name)["Policy"])
    # moto takes the policy's condition for met.
    s3.delete_bucket_policy(Bucket=code.name)
    keys = {code.put("vehicles/functions/classify", b"code", ".zip") for _ in range(2)}

    assert policy["Statement"][0]["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert s3.get_public_access_block(Bucket=code.name)["PublicAccessBlockConfiguration"] == {
        "BlockPublicAcls": True, "IgnorePublicAcls": True,
        "BlockPublicPolicy": True, "RestrictPublicBuckets": True,
    }  # fmt: skip
    assert s3.get_bucket_versioning(Bucket=code.name)["Status"] == "Enabled"
    assert len(keys) == 1
    assert re.fullmatch(r"vehicles/functions/classify-[0-9a-f]{16}\.zip", keys.pop())
    assert len(s3.list_object_versions(Bucket=code.name)["Versions"]) == 1


def test_what_cannot_be_asked_for_is_no_missing_bucket(
    aws: Session, refusing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not bucket_exists(aws, "nowhere")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", refusing)
    with pytest.raises(AwsError, match="lack s3:ListBucket"):
        bucket_exists(Session(REGION), "someone-elses")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")
    with pytest.raises(AwsUnreachable, match="the bucket anyones: AWS cannot be reached"):
        bucket_exists(Session(REGION), "anyones")


_LEARNING_OUTPUTS = ("BucketName", "LogBucketName", "KeyArn")


def _lacking(told: list[StackEvent]) -> list[str]:
    return [event.resource for event in told if event.status == "SET_IT_UP_YOURSELF"]
