"""What runs in moto's account. moto finishes jobs at once: those that run are set running in it.

moto has no Rekognition Custom Labels; there botocore's stubber answers, and checks the requests.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.stub import Stubber
from moto.core import DEFAULT_ACCOUNT_ID
from moto.sagemaker.models import sagemaker_backends

from pixloop.aws.cost.prices import read_prices
from pixloop.aws.cost.running import RunningCosts, running_costs
from pixloop.aws.session import Session
from pixloop.config import Config

ROLE = f"arn:aws:iam::{DEFAULT_ACCOUNT_ID}:role/execution"
CONFIG = Config.model_validate(
    {"task": "classification", "name": "vehicles", "data": {"train": "pictures"}}
)


@pytest.fixture
def rekognition(aws: Session) -> Iterator[Stubber]:
    """No projects, unless a test adds some before it asks."""
    with Stubber(aws.client("rekognition")) as stub:
        yield stub


def ask(aws: Session) -> RunningCosts:
    return running_costs(aws, CONFIG, read_prices())


def no_projects(stub: Stubber) -> None:
    stub.add_response("describe_projects", {"ProjectDescriptions": []}, {})


def make_endpoint(aws: Session, name: str, variant: dict[str, Any]) -> None:
    sagemaker = aws.client("sagemaker")
    sagemaker.create_model(
        ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer={"Image": "image"}
    )
    sagemaker.create_endpoint_config(
        EndpointConfigName=name,
        ProductionVariants=[{"VariantName": "all", "ModelName": name, **variant}],
    )
    sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)


def test_nothing_runs(aws: Session, rekognition: Stubber) -> None:
    no_projects(rekognition)
    found = ask(aws)
    assert found == RunningCosts((), ())
    assert found.per_hour == 0


def test_an_endpoint_costs_for_each_instance(aws: Session, rekognition: Stubber) -> None:
    no_projects(rekognition)
    instances = {"InstanceType": "ml.m5.xlarge", "InitialInstanceCount": 3}
    make_endpoint(aws, "pixloop-vehicles", instances)
    (thing,) = ask(aws).things
    assert thing.what == "endpoint pixloop-vehicles"
    assert thing.detail == "3 × ml.m5.xlarge"
    # Ireland's own price.
    assert thing.per_hour == pytest.approx(3 * 0.257)
    assert thing.ours


def test_scaled_endpoints_and_mixed_trainings_cost_what_is_there(
    aws: Session, rekognition: Stubber
) -> None:
    no_projects(rekognition)
    instances = {"InstanceType": "ml.m5.xlarge", "InitialInstanceCount": 1}
    make_endpoint(aws, "pixloop-vehicles", instances)
    make_jobs(aws, "mixed", running=True)
    backend = sagemaker_backends[DEFAULT_ACCOUNT_ID][aws.region]
    variants = backend.endpoints["pixloop-vehicles"].production_variants
    variants[0]["CurrentInstanceCount"] = 4
    groups = [
        {"InstanceGroupName": "a", "InstanceType": "ml.g5.xlarge", "InstanceCount": 1},
        {"InstanceGroupName": "b", "InstanceType": "ml.m5.xlarge", "InstanceCount": 2},
    ]
    machines = {"InstanceGroups": groups, "VolumeSizeInGB": 50}
    backend.training_jobs["mixed"].resource_config = machines
    told = [(each.what.split()[0], each.detail) for each in ask(aws).things]
    assert told[:3] == [
        ("endpoint", "4 × ml.m5.xlarge"),
        ("training", "1 × ml.g5.xlarge"),
        ("training", "2 × ml.m5.xlarge"),
    ]


def test_what_others_have_is_listed_and_not_ours(aws: Session, rekognition: Stubber) -> None:
    no_projects(rekognition)
    instances = {"InstanceType": "ml.m5.24xlarge", "InitialInstanceCount": 1}
    make_endpoint(aws, "another", instances)
    make_endpoint(aws, "pixloop-vehicles2", instances)
    found = ask(aws)
    assert sorted((thing.what, thing.per_hour, thing.ours) for thing in found.things) == [
        ("endpoint another", None, False),
        ("endpoint pixloop-vehicles2", None, False),
    ]
    assert found.per_hour == 0


def test_serverless_and_failed_endpoints_cost_nothing_by_the_hour(
    aws: Session, rekognition: Stubber
) -> None:
    no_projects(rekognition)
    serverless = {"ServerlessConfig": {"MemorySizeInMB": 3072, "MaxConcurrency": 5}}
    make_endpoint(aws, "pixloop-vehicles", serverless)
    make_endpoint(aws, "failed", {"InstanceType": "ml.m5.large", "InitialInstanceCount": 1})
    backend = sagemaker_backends[DEFAULT_ACCOUNT_ID][aws.region]
    backend.endpoints["failed"].endpoint_status = "Failed"
    assert ask(aws).things == ()


def test_jobs_cost_while_they_run(aws: Session, rekognition: Stubber) -> None:
    no_projects(rekognition)
    make_jobs(aws, "pipelines-a1-Prepare", running=True)
    make_jobs(aws, "done", running=False)
    found = ask(aws)
    assert {thing.what: (thing.detail, thing.per_hour) for thing in found.things} == {
        "training job pipelines-a1-Prepare": ("2 × ml.g5.xlarge", pytest.approx(2 * 1.57)),
        "processing job pipelines-a1-Prepare": ("4 × ml.m5.xlarge", pytest.approx(4 * 0.257)),
        "transform job pipelines-a1-Prepare": ("1 × ml.m5.large", pytest.approx(0.115)),
    }
    assert found.per_hour == pytest.approx(2 * 1.57 + 4 * 0.257 + 0.115)


def test_a_transform_job_bears_the_name_of_what_serves(aws: Session, rekognition: Stubber) -> None:
    no_projects(rekognition)
    make_jobs(aws, "pixloop-vehicles-20260101-120000", running=True)
    make_jobs(aws, "pixloop-vehicles2-20260101-120000", running=True)
    ours = {thing.what for thing in ask(aws).things if thing.ours}
    assert "transform job pixloop-vehicles-20260101-120000" in ours
    assert not any("vehicles2" in what for what in ours)


def make_jobs(aws: Session, name: str, running: bool) -> None:
    sagemaker = aws.client("sagemaker")
    sagemaker.create_training_job(
        TrainingJobName=name,
        AlgorithmSpecification={"TrainingImage": "image", "TrainingInputMode": "File"},
        RoleArn=ROLE,
        OutputDataConfig={"S3OutputPath": "s3://b/out"},
        ResourceConfig={
            "InstanceType": "ml.g5.xlarge",
            "InstanceCount": 2,
            "VolumeSizeInGB": 50,
        },
        StoppingCondition={"MaxRuntimeInSeconds": 3600},
    )
    machines = {"InstanceType": "ml.m5.xlarge", "InstanceCount": 4, "VolumeSizeInGB": 50}
    sagemaker.create_processing_job(
        ProcessingJobName=name,
        ProcessingResources={"ClusterConfig": machines},
        AppSpecification={"ImageUri": "image"},
        RoleArn=ROLE,
    )
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://b/in"}}
    sagemaker.create_transform_job(
        TransformJobName=name,
        ModelName="model",
        TransformInput={"DataSource": source},
        TransformOutput={"S3OutputPath": "s3://b/out"},
        TransformResources={"InstanceType": "ml.m5.large", "InstanceCount": 1},
    )
    if running:
        backend = sagemaker_backends[DEFAULT_ACCOUNT_ID][aws.region]
        backend.training_jobs[name].training_job_status = "InProgress"
        backend.processing_jobs[name].processing_job_status = "InProgress"
        # moto forgets this part of the request.
        backend.processing_jobs[name].processing_resources = {"ClusterConfig": machines}
        backend.transform_jobs[name].transform_job_status = "InProgress"


def test_a_rekognition_model_costs_while_it_runs(aws: Session, rekognition: Stubber) -> None:
    start = f"arn:aws:rekognition:{aws.region}:{DEFAULT_ACCOUNT_ID}:project/pixloop-vehicles"
    project = f"{start}/1700000000000"
    rekognition.add_response(
        "describe_projects", {"ProjectDescriptions": [{"ProjectArn": project}]}, {}
    )
    versions = [
        {
            "ProjectVersionArn": f"{start}/version/{name}/1700000000000",
            "Status": status,
            "MinInferenceUnits": 2,
        }
        for name, status in (("v1", "RUNNING"), ("v2", "STOPPED"), ("v3", "TRAINING_COMPLETED"))
    ]
    rekognition.add_response(
        "describe_project_versions",
        {"ProjectVersionDescriptions": versions},
        {"ProjectArn": project},
    )
    (thing,) = ask(aws).things
    assert thing.what == "Rekognition model pixloop-vehicles v1"
    assert (thing.detail, thing.per_hour, thing.ours) == ("2 × inference unit", 8.0, True)


def test_where_rekognition_cannot_be_asked_the_rest_is_told(
    aws: Session, rekognition: Stubber
) -> None:
    rekognition.add_client_error("describe_projects", "AccessDeniedException", "no")
    make_endpoint(
        aws, "pixloop-vehicles", {"InstanceType": "ml.m5.xlarge", "InitialInstanceCount": 1}
    )
    found = ask(aws)
    assert len(found.things) == 1
    (note,) = found.notes
    assert "could not be asked for models that run at Rekognition: " in note
    assert "AccessDenied" in note


def test_the_network_stack_s_interface_endpoints_cost_in_each_zone(
    aws: Session, rekognition: Stubber
) -> None:
    no_projects(rekognition)
    ec2 = aws.client("ec2")
    subnets = [subnet["SubnetId"] for subnet in ec2.describe_subnets()["Subnets"][:2]]
    vpc = ec2.describe_subnets()["Subnets"][0]["VpcId"]

    def make(kind: str, service: str, **more: Any) -> str:
        name = f"com.amazonaws.{aws.region}.{service}"
        made = ec2.create_vpc_endpoint(VpcEndpointType=kind, VpcId=vpc, ServiceName=name, **more)
        return str(made["VpcEndpoint"]["VpcEndpointId"])

    make("Interface", "sts", SubnetIds=subnets)  # another's
    ours = [make("Gateway", "s3"), *(make("Interface", s, SubnetIds=subnets) for s in "ab")]
    listed = [
        {
            "LogicalResourceId": f"E{number}",
            "PhysicalResourceId": made,
            "ResourceType": "AWS::EC2::VPCEndpoint",
            "LastUpdatedTimestamp": datetime(2026, 1, 1, tzinfo=UTC),
            "ResourceStatus": "CREATE_COMPLETE",
        }
        for number, made in enumerate(ours)
    ]
    with Stubber(aws.client("cloudformation")) as stub:
        stub.add_response(
            "list_stack_resources",
            {"StackResourceSummaries": listed},
            {"StackName": "pixloop-vehicles-network"},
        )
        (thing,) = ask(aws).things
    assert thing.what == "network pixloop-vehicles-network"
    assert (thing.detail, thing.ours) == ("4 × interface endpoint and zone", True)
    assert thing.per_hour == pytest.approx(4 * 0.01)


def test_where_vpc_endpoints_cannot_be_asked_for_a_note_says_so(
    aws: Session, rekognition: Stubber
) -> None:
    no_projects(rekognition)
    with Stubber(aws.client("cloudformation")) as stub:
        stub.add_client_error("list_stack_resources", "AccessDenied", "no")
        (note,) = ask(aws).notes
    assert "could not be asked for VPC endpoints: " in note
