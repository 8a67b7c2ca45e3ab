"""The links of the chain that learn and deploy: pictures to a version that serves."""

import json
import tempfile
from pathlib import Path

from pixloop.aws.addresses import split_address
from pixloop.aws.infrastructure.deploy import deploy_stacks
from pixloop.aws.infrastructure.parameters import Options
from pixloop.aws.names import NAMESPACE, RAW
from pixloop.aws.pipeline.executions import step_seconds, step_word
from pixloop.aws.pipeline.run import run_on_sagemaker
from pixloop.aws.rehearsal.stage import LinkBroken, Stage
from pixloop.aws.storage import download_file
from pixloop.aws.uploads import upload_file, upload_folder
from pixloop.files import pack, unpack, write_json

#: Five minutes and a quarter of an hour on AWS.
_DEBOUNCE_S, _RETRY_S = 15, 30
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def make_stacks(stage: Stage) -> str:
    """'pixloop aws deploy', and an image in the repository."""
    stage.outputs = deploy_stacks(
        stage.session,
        stage.config,
        on_event=lambda event: None,
        options=Options(debounce_s=_DEBOUNCE_S),
        commit="rehearsal",
    )
    stage.client("sqs").set_queue_attributes(
        QueueUrl=stage.queue_url("triggers"), Attributes={"VisibilityTimeout": str(_RETRY_S)}
    )
    stage.client("ecr").put_image(
        repositoryName=stage.names.repository,
        imageManifest=json.dumps({"schemaVersion": 2, "mediaType": _MANIFEST, "layers": []}),
        imageTag="latest",
    )
    cloudformation = stage.client("cloudformation")
    made = [
        resource["LogicalResourceId"]
        for stack in (stage.names.learning_stack, stage.names.serving_stack)
        for resource in cloudformation.list_stack_resources(StackName=stack)[
            "StackResourceSummaries"
        ]
    ]
    completed = len(stage.cloud.stacks.completed)
    left_out = stage.cloud.stacks.left_out
    return (
        f"two stacks of {len(made)} resources are up; moto alone would have left {completed} of "
        f"them out or unfinished{f'; not acted out: {left_out}' if left_out else ''}"
    )


def add_raw_data(stage: Stage) -> str:
    """Pictures under ``raw/`` start a run, by rule, queue and function."""
    uploaded = upload_folder(stage.session, stage.pictures.first, _raw(stage))
    execution = stage.wait(stage.newest_execution, "an execution of the pipeline")
    return (
        f"{uploaded.sent} pictures in s3://{stage.outputs['BucketName']}/{RAW}/ gave a message "
        f"each; those of {_DEBOUNCE_S} s started one run, "
        f"{execution['PipelineExecutionDescription']}; what comes later would start one after it"
    )


def run_pipeline(stage: Stage) -> str:
    """The run's steps, to their end."""
    executions = stage.wait_for_runs()
    stage.versions["first"] = stage.registered_by(executions[-1])
    longest = max(executions, key=lambda execution: execution.seconds)
    spent = [
        f"{name} {step_seconds(step):.0f} s" if step_word(step) == "done" else f"{name} cached"
        for name, step in longest.steps.items()
    ]
    more = f"; {len(executions) - 1} more for what came meanwhile" if len(executions) > 1 else ""
    return f"the definition that SageMaker gets ran for real: {', '.join(spent)}{more}"


def find_registered(stage: Stage) -> str:
    """The version, which waits for approval with its metrics."""
    arn = stage.versions["first"]
    package = stage.package(arn)
    bucket, key = split_address(package["ModelMetrics"]["ModelQuality"]["Statistics"]["S3Uri"])
    body = stage.client("s3").get_object(Bucket=bucket, Key=key)["Body"]
    metrics = json.load(body)["pixloop"]["metrics"]
    if package["ModelApprovalStatus"] != "PendingManualApproval":
        raise LinkBroken(f"{arn} is {package['ModelApprovalStatus']}, not waiting for approval.")
    return f"{stage.model_name(arn)} waits for approval, with accuracy {metrics['accuracy']:.3f}"


def approve_first(stage: Stage) -> str:
    """Approval deploys; what is deployed is verified and becomes the champion."""
    arn = stage.versions["first"]
    stage.approve(arn)
    return _deployed(stage, arn)


def run_again(stage: Stage) -> str:
    """'pixloop run --on sagemaker' on the same pictures, now against a champion."""
    state = stage.folder / ".pixloop"
    summary = run_on_sagemaker(
        stage.config,
        state,
        train=_raw(stage),
        commit="rehearsal",
        listener=stage.listener,
        session=stage.session,
        interval_s=1.0,
    )
    newest = stage.newest_execution()
    stage.executions += [newest["PipelineExecutionArn"]] if newest else []
    steps = ", ".join(f"{name} {status}" for name, status in summary.steps.items())
    return f"submitted, followed and summed up: version {summary.version} registered; {steps}"


def drift(stage: Stage) -> str:
    """New pictures and the drift alarm start one run, whose version is deployed, too."""
    added = _add_later(stage)
    stage.client("cloudwatch").put_metric_data(
        Namespace=NAMESPACE,
        MetricData=[
            {
                "MetricName": "Drift",
                "Value": 1.0,
                "Dimensions": [{"Name": "Project", "Value": stage.config.name}],
            }
        ],
    )
    (alarm,) = stage.client("cloudwatch").describe_alarms(
        AlarmNames=[stage.outputs["DriftAlarmName"]]
    )["MetricAlarms"]
    if alarm["StateValue"] != "ALARM":
        raise LinkBroken(f"The drift alarm is {alarm['StateValue']}.")
    executions = stage.wait_for_runs()
    started_by = "; then ".join(stage.description(execution.arn) for execution in executions)
    if "drift alarm" not in started_by:
        raise LinkBroken(f"The run was started by {started_by}, not by the drift alarm.")
    stage.versions["retrained"] = stage.registered_by(executions[-1])
    return f"{added} more pictures and the alarm started a run: {started_by}"


def approve_retrained(stage: Stage) -> str:
    """The endpoint goes over to the new version."""
    arn = stage.versions["retrained"]
    stage.approve(arn)
    return _deployed(stage, arn)


def deploy_bad_version(stage: Stage) -> str:
    """A version that prepares pictures otherwise than it learned is found out and undone."""
    good = stage.versions["retrained"]
    bad = _make_bad_version(stage, good)
    stage.approve(bad)
    stage.wait(
        lambda: stage.package(bad)["ModelApprovalStatus"] == "Rejected",
        "the rejection of the bad version",
    )
    stage.wait(lambda: _serves(stage, good), "the endpoint with the version before")
    if stage.champion() != stage.model_name(good):
        raise LinkBroken(f"The champion is {stage.champion()}, not {stage.model_name(good)}.")
    reason = str(stage.package(bad)["ApprovalDescription"])
    return f"rejected and rolled back to {stage.model_name(good)}: {reason[:300]}"


def _add_later(stage: Stage) -> int:
    """Put the later pictures beside the first ones; how many they are."""
    files = [path for path in stage.pictures.later.rglob("*") if path.is_file()]
    for path in files:
        place = path.relative_to(stage.pictures.later).as_posix()
        upload_file(stage.session, path, f"{_raw(stage)}/{place}")
    return len(files)


def _raw(stage: Stage) -> str:
    return f"s3://{stage.outputs['BucketName']}/{RAW}"


def _deployed(stage: Stage, arn: str) -> str:
    """Wait until a version serves and is the champion; what happened."""
    name = stage.model_name(arn)
    stage.wait(lambda: _settled(stage, arn), f"{name} on the endpoint", 180)
    stage.wait(lambda: stage.champion() == name, f"{name} as the champion", 60)
    server = stage.names.server_function  # an image, whose start loads the model
    starts = [t for f, t in stage.cloud.lambdas.cold_starts.items() if f != server]
    slowest = max(ms for times in starts for ms in times)
    return (
        f"{name} was deployed by on_approved, answers as its certificate says by on_deployed, and "
        f"is the champion; the slowest function started in {slowest:.0f} ms"
    )


def _settled(stage: Stage, arn: str) -> bool:
    package = stage.package(arn)
    if package["ModelApprovalStatus"] == "Rejected":
        raise LinkBroken(f"{arn} was rejected: {package.get('ApprovalDescription')}")
    return _serves(stage, arn)


def _serves(stage: Stage, arn: str) -> bool:
    """Whether the endpoint is in service with a version."""
    endpoint = stage.endpoint()
    if endpoint is None or endpoint["EndpointStatus"] != "InService":
        return False
    sagemaker = stage.client("sagemaker")
    config = sagemaker.describe_endpoint_config(EndpointConfigName=endpoint["EndpointConfigName"])
    model = sagemaker.describe_model(ModelName=config["ProductionVariants"][0]["ModelName"])
    named = model["PrimaryContainer"]["Environment"]["PIXLOOP_MODEL_NAME"]
    return bool(named == stage.model_name(arn))


def _make_bad_version(stage: Stage, good: str) -> str:
    """Register a copy of a version whose pictures are normalised otherwise."""
    specification = stage.package(good)["InferenceSpecification"]
    container = specification["Containers"][0]
    address = f"s3://{stage.outputs['BucketName']}/{stage.config.name}/bad/model.tar.gz"
    with tempfile.TemporaryDirectory() as temporary:
        archive, bundle = Path(temporary) / "model.tar.gz", Path(temporary) / "bundle"
        download_file(stage.session, container["ModelDataUrl"], archive)
        unpack(archive, bundle)
        manifest = json.loads((bundle / "bundle.json").read_text(encoding="utf-8"))
        manifest["preprocessing"]["std"] = [3 * s for s in manifest["preprocessing"]["std"]]
        write_json(bundle / "bundle.json", manifest)
        pack(bundle, archive)
        bucket, key = split_address(address)
        stage.client("s3").upload_file(str(archive), bucket, key)
    made = stage.client("sagemaker").create_model_package(
        ModelPackageGroupName=stage.outputs["ModelPackageGroupName"],
        ModelApprovalStatus="PendingManualApproval",
        InferenceSpecification={
            **specification,
            "Containers": [{"Image": container["Image"], "ModelDataUrl": address}],
        },
    )
    return str(made["ModelPackageArn"])
