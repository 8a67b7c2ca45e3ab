"""The whole of ``run --on sagemaker`` on moto, with steps whose outputs the test puts on S3."""

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.small_bundles import manifest

from pixloop.aws.pipeline.run import follow_on_sagemaker, run_on_sagemaker
from pixloop.aws.session import Session
from pixloop.aws.storage import list_objects, put_json
from pixloop.aws.uploads import upload_file
from pixloop.bundle import Graph, write_bundle
from pixloop.config import Config
from pixloop.config_file import parse_config
from pixloop.errors import AwsError, GateRefused, PipelineError
from pixloop.pipeline.runs import list_runs
from pixloop.run_summary import SUMMARY_FILES, report_of

Json = dict[str, Any]
ROLE = "arn:aws:iam::123456789012:role/jobs"
IMAGE = "registry.example/pixloop:1"
PACKAGE = "arn:aws:sagemaker:eu-west-1:123456789012:model-package/vehicles/7"
START = datetime(2026, 1, 1, tzinfo=UTC)
COUNTS = {"train": 5, "validation": 2, "calibration": 2, "test": 1}


@pytest.fixture
def config(bucket: str) -> Config:
    raw = {"task": "classification", "name": "vehicles", "data": "pictures"}
    return parse_config(raw, [f"aws.bucket={bucket}", f"aws.role={ROLE}", f"aws.image={IMAGE}"])


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    for name in ("car/1.jpg", "car/2 é.jpg", "bus/1.jpg"):
        file = tmp_path / "pictures" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(name.encode())
    return tmp_path / "pictures"


def step(name: str, status: str = "Succeeded", **more: Any) -> Json:
    return {
        "StepName": name,
        "StepStatus": status,
        "StartTime": START,
        "EndTime": START + timedelta(seconds=3),
        **more,
    }


def succeeded(**more: Json) -> list[Json]:
    outcome = {"Metadata": {"Condition": {"Outcome": "True"}}}
    registered = {"Metadata": {"RegisterModel": {"Arn": PACKAGE}}}
    return [
        step("Prepare", **more.get("Prepare", {})),
        *(step("Train"), step("Export"), step("Evaluate")),
        *(step("Gate", **outcome), step("Register", **registered)),
    ]


def write_outputs(folder: Path, f1: float = 0.91) -> Path:
    """What the steps leave: output → its files."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "evaluation").mkdir(parents=True)
    metrics = {"f1_macro": f1, "accuracy": 0.92, "ece_before": None}
    measured = {
        "metrics": metrics,
        "comparison": {"champion_value": 0.9},
        "promotion": {"best_difference": -0.05, "allowed_difference": -0.01},
        "graph": "onnx",
    }
    content = json.dumps({"pixloop": measured})
    (folder / "evaluation" / "evaluation.json").write_text(content)
    (folder / "evaluation" / "report.html").write_text("<html>the report</html>")
    (folder / "evaluation" / "predictions.parquet").write_bytes(b"many")
    bundle = folder / "bundle" / "bundle"
    bundle.mkdir(parents=True)
    (bundle / "model.onnx").write_bytes(b"graph")
    write_bundle(
        bundle,
        manifest(
            name="vehicles",
            classes=("bus", "car"),
            graphs=(Graph(format="onnx", file="model.onnx"),),
            lineage={"model": "resnet18", "weights": "file resnet18.safetensors"},
        ),
    )
    dataset = folder / "dataset"
    dataset.mkdir()
    info = {
        "format_version": 2,
        "classes": ["bus", "car"],
        "counts": {split: {"bus": 0, "car": n} for split, n in COUNTS.items()},
        "pictures": COUNTS,
        "sha256": "0" * 64,
        "shards": [
            {"split": split, "file": f"{split}/00000.parquet", "rows": n}
            for split, n in COUNTS.items()
        ],
    }
    (dataset / "dataset.json").write_text(json.dumps(info))
    (dataset / "data_report.json").write_text(json.dumps({"findings": []}))
    return folder


class Steps:
    """Puts outputs where an execution's definition says, as soon as it has started."""

    def __init__(self, session: Session, folder: Path) -> None:
        self.folder = folder
        self.session = session

    def leave(self, execution_id: str, *outputs: str) -> None:
        for _, output, name in SUMMARY_FILES:
            if output in outputs:
                address = f"s3://pixloop-test/vehicles/{output}/{execution_id}/{name}"
                upload_file(self.session, self.folder / output / name, address)


ALL = ("evaluation", "bundle", "dataset")


@pytest.fixture
def steps(aws: Session, executions: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Steps:
    """Steps that leave their outputs when the execution starts."""
    made = Steps(aws, write_outputs(tmp_path / "outputs"))
    started = aws.client("sagemaker").start_pipeline_execution

    def start(**request: Any) -> Any:
        answer = started(**request)
        made.leave(answer["PipelineExecutionArn"].rpartition("/")[2], *ALL)
        return answer

    monkeypatch.setattr(aws.client("sagemaker"), "start_pipeline_execution", start)
    return made


def keys(session: Session, prefix: str) -> list[str]:
    return [found.key for found in list_objects(session, f"s3://pixloop-test/{prefix}")]


def test_pictures_go_up_and_the_summary_comes_back(
    aws: Session, executions: Any, steps: Steps, config: Config, pictures: Path, tmp_path: Path
) -> None:
    executions.scenes = [executions.scene("Executing"), executions.scene("Succeeded", *succeeded())]
    (tmp_path / "w.safetensors").write_bytes(b"weights")
    state = tmp_path / ".pixloop"
    summary = run_on_sagemaker(
        config,
        state,
        train=pictures,
        weights=tmp_path / "w.safetensors",
        session=aws,
        interval_s=0,
    )
    assert summary.version == "7"
    assert summary.metrics == {"f1_macro": 0.91, "accuracy": 0.92}
    assert summary.pictures == COUNTS
    assert (summary.chosen_graph, summary.classes, summary.seconds) == ("onnx", ("bus", "car"), 90)
    assert (summary.model, summary.weights) == ("resnet18", "file resnet18.safetensors")
    assert summary.steps["Gate"] == "done"
    assert Path(summary.report).read_text() == "<html>the report</html>"
    assert [str(report_of(run)) for run in list_runs(state)] == [summary.report]
    assert keys(aws, "raw/") == [
        "raw/train/bus/1.jpg",
        "raw/train/car/1.jpg",
        "raw/train/car/2 é.jpg",
    ]
    assert keys(aws, "champion/") == ["champion/none.json"]
    (weights,) = keys(aws, "weights/")
    assert weights.endswith("/w.safetensors")
    client = aws.client("sagemaker")
    assert client.describe_model_package_group(ModelPackageGroupName="vehicles")


def test_the_versions_of_data_and_champion_change_with_them_only(
    aws: Session, executions: Any, steps: Steps, config: Config, pictures: Path, tmp_path: Path
) -> None:
    executions.scenes = [executions.scene("Succeeded", *succeeded())]

    def run() -> dict[str, str]:
        client, before = aws.client("sagemaker"), set[str]()
        pages = client.list_pipelines()["PipelineSummaries"]
        if pages:
            listed = client.list_pipeline_executions(PipelineName="pixloop-vehicles")
            before = {e["PipelineExecutionArn"] for e in listed["PipelineExecutionSummaries"]}
        run_on_sagemaker(config, tmp_path / "s", train=pictures, session=aws, interval_s=0)
        listed = client.list_pipeline_executions(PipelineName="pixloop-vehicles")
        (arn,) = {e["PipelineExecutionArn"] for e in listed["PipelineExecutionSummaries"]} - before
        found = client.list_pipeline_parameters_for_execution(PipelineExecutionArn=arn)
        return {each["Name"]: each["Value"] for each in found["PipelineParameters"]}

    first, second = run(), run()
    assert first == second
    assert first["ChampionVersion"] == "none"
    put_json(aws, "s3://pixloop-test/champion/model.tar.gz", "a model")
    (pictures / "car" / "3.jpg").write_bytes(b"new")
    third = run()
    assert third["DataVersion"] != first["DataVersion"]
    assert third["ChampionVersion"] not in ("none", "")


def test_a_refusal_says_the_numbers_as_a_local_run_does(
    aws: Session, executions: Any, steps: Steps, config: Config, pictures: Path, tmp_path: Path
) -> None:
    write_outputs(steps.folder, f1=0.71)
    refused = {"Metadata": {"Condition": {"Outcome": "False"}}}
    fail = step("Refused", "Failed", Metadata={"Fail": {"ErrorMessage": "needs more"}})
    scene = [*succeeded()[:4], step("Gate", **refused), fail]
    executions.scenes = [executions.scene("Failed", *scene, failure="a step failed")]
    with pytest.raises(GateRefused) as error:
        run_on_sagemaker(config, tmp_path / "s", train=pictures, session=aws, interval_s=0)
    assert str(error.value) == (
        "The model is not good enough: f1_macro is 0.71, 0.09 below the minimum 0.80; "
        "best_difference is -0.05, 0.04 below the allowed difference -0.01."
    )
    (run,) = list_runs(tmp_path / "s")
    assert (run.status, run.steps["Gate"].status) == ("refused", "refused")
    assert "Refused" not in run.steps
    assert report_of(run).is_file()


def test_a_failure_says_which_step_why_and_where_the_log_is(
    aws: Session, executions: Any, config: Config, pictures: Path, tmp_path: Path
) -> None:
    job = "arn:aws:sagemaker:eu-west-1:123456789012:training-job/pipelines-abc-train-1"
    failed = step(
        "Train",
        "Failed",
        FailureReason="AlgorithmError: no memory, exit code: 1",
        Metadata={"TrainingJob": {"Arn": job}},
    )
    executions.scenes = [executions.scene("Failed", step("Prepare"), failed)]
    with pytest.raises(PipelineError) as error:
        run_on_sagemaker(config, tmp_path / "s", train=pictures, session=aws, interval_s=0)
    assert not isinstance(error.value, GateRefused)
    assert str(error.value) == (
        "The step Train failed: AlgorithmError: no memory, exit code: 1\n"
        "Its log: CloudWatch, /aws/sagemaker/TrainingJobs, pipelines-abc-train-1/…"
    )
    assert list_runs(tmp_path / "s")[0].status == "failed"


@pytest.mark.parametrize(
    ("status", "says"), [("Stopped", "was stopped"), ("Failed", "failed: no right to start")]
)
def test_an_execution_without_a_failed_step(
    aws: Session,
    executions: Any,
    config: Config,
    pictures: Path,
    tmp_path: Path,
    status: str,
    says: str,
) -> None:
    failure = "no right to start" if status == "Failed" else None
    executions.scenes = [executions.scene(status, failure=failure)]
    with pytest.raises(PipelineError, match=says):
        run_on_sagemaker(config, tmp_path / "s", train=pictures, session=aws, interval_s=0)


def test_outputs_of_cached_steps_are_found_where_they_were_made(
    aws: Session, executions: Any, steps: Steps, config: Config, pictures: Path, tmp_path: Path
) -> None:
    """The third takes Prepare from the second, which took it from the first."""
    executions.scenes = [executions.scene("Succeeded", *succeeded())]
    arns: list[str] = []
    started = aws.client("sagemaker").start_pipeline_execution

    def start(**request: Any) -> Any:
        answer = started(**request)
        arn = answer["PipelineExecutionArn"]
        if arns:
            hit = {"CacheHitResult": {"SourcePipelineExecutionArn": arns[-1]}}
            executions.of[arn] = [executions.scene("Succeeded", *succeeded(Prepare=hit))]
            for name in ("dataset.json", "data_report.json"):
                key = f"vehicles/dataset/{arn.rpartition('/')[2]}/{name}"
                aws.client("s3").delete_object(Bucket="pixloop-test", Key=key)
        arns.append(arn)
        return answer

    aws.client("sagemaker").start_pipeline_execution = start
    for _ in range(3):
        summary = run_on_sagemaker(
            config, tmp_path / "s", train=pictures, session=aws, interval_s=0
        )
    assert len(set(arns)) == 3
    assert summary.steps["Prepare"] == "cached"
    assert summary.pictures == COUNTS


def test_what_ended_can_be_followed_afterwards(
    aws: Session, executions: Any, steps: Steps, config: Config, pictures: Path, tmp_path: Path
) -> None:
    executions.scenes = [executions.scene("Succeeded", *succeeded())]
    first = run_on_sagemaker(config, tmp_path / "s", train=pictures, session=aws, interval_s=0)
    client = aws.client("sagemaker")
    listed = client.list_pipeline_executions(PipelineName="pixloop-vehicles")
    arn = listed["PipelineExecutionSummaries"][0]["PipelineExecutionArn"]
    again = follow_on_sagemaker(config, tmp_path / "other", arn, session=aws, interval_s=0)
    assert again.model_copy(update={"report": first.report}) == first


def test_what_is_missing_on_aws_is_said_before_anything_is_sent(
    aws: Session, pictures: Path, tmp_path: Path
) -> None:
    raw = {"task": "classification", "name": "vehicles", "data": "pictures"}
    with pytest.raises(AwsError, match="no bucket, no role, no image on AWS"):
        run_on_sagemaker(parse_config(raw, []), tmp_path / "s", train=pictures, session=aws)
