"""A project's verbs on Rekognition, and who is asked while a version runs."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.stub import Stubber
from tests.small_bundles import by_class

from pixloop.acceptance import Acceptance
from pixloop.aws.project import AwsProject
from pixloop.aws.rehearsal.cloud import Cloud
from pixloop.aws.rekognition import project as rekognition_project
from pixloop.aws.rekognition.data import Written
from pixloop.aws.rekognition.project import RekognitionProject
from pixloop.aws.rekognition.versions import RekognitionVersion
from pixloop.aws.session import Session
from pixloop.config import Config
from pixloop.config_file import parse_config
from pixloop.data.dataset import Dataset
from pixloop.errors import AwsError, ImageError
from pixloop.files import write_json

ARN = "arn:aws:rekognition:eu-west-1:123456789012:project/pixloop-cats/version/data-1/1600"


def config(*overrides: str) -> Config:
    return parse_config({"task": "classification", "name": "cats", "data": "p"}, overrides)


@pytest.fixture
def project(aws: Session, bucket: str, tmp_path: Path) -> RekognitionProject:
    return RekognitionProject(aws, config(f"aws.bucket={bucket}"), tmp_path, poll_s=0.0)


@pytest.fixture
def running(project: RekognitionProject, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    version = RekognitionVersion(name="data-1", arn=ARN, status="RUNNING")
    monkeypatch.setattr(project, "list", lambda: [version])
    return


def test_nothing_is_started_where_nobody_could_stop_it(project: RekognitionProject) -> None:
    with pytest.raises(AwsError, match="Without it nothing is started"):
        project.start("latest", 1.0, lambda _: None)


def test_without_a_running_version_nobody_answers(
    project: RekognitionProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(project, "list", lambda: [])
    with pytest.raises(AwsError, match="No version runs"):
        project.ask(b"picture")


@pytest.mark.parametrize(("score", "decision"), [(0.9, "accept"), (0.99, "refer"), (None, "refer")])
def test_the_threshold_that_was_noted_decides(
    project: RekognitionProject,
    running: None,
    aws: Session,
    tmp_path: Path,
    score: float | None,
    decision: str,
) -> None:
    write_json(tmp_path / "rekognition/data-1/threshold.json", {"score": score})
    with Stubber(aws.client("rekognition")) as stub:
        found: dict[str, Any] = {"CustomLabels": [{"Name": "cat", "Confidence": 95.0}]}
        stub.add_response("detect_custom_labels", found)
        answer = project.ask(b"picture")
    assert answer["model"] == "cats:data-1"
    assert answer["predictions"][0]["decision"] == decision


def test_the_thresholds_that_were_noted_for_classes_decide(
    project: RekognitionProject, running: None, aws: Session, tmp_path: Path
) -> None:
    noted = by_class(cat=0.9, dog=None).model_dump()
    write_json(tmp_path / "rekognition/data-1/threshold.json", noted)
    with Stubber(aws.client("rekognition")) as stub:
        for name in ("cat", "dog"):
            found: dict[str, Any] = {"CustomLabels": [{"Name": name, "Confidence": 95.0}]}
            stub.add_response("detect_custom_labels", found)
        decided = [project.ask(b"p")["predictions"][0]["decision"] for _ in range(2)]
    assert decided == ["accept", "refer"]


def test_pictures_that_rekognition_does_not_take_are_the_pictures_fault(
    project: RekognitionProject, running: None, aws: Session
) -> None:
    with pytest.raises(ImageError, match="larger than 4 MiB"):
        project.ask(b"p" * (4 * 1024 * 1024 + 1))
    with Stubber(aws.client("rekognition")) as stub:
        stub.add_client_error("detect_custom_labels", "InvalidImageFormatException", "no")
        with pytest.raises(ImageError, match="InvalidImageFormat"):
            project.ask(b"p")


@pytest.fixture
def trained(
    project: RekognitionProject, monkeypatch: pytest.MonkeyPatch, dataset: Path
) -> RekognitionProject:
    """A project whose one version trains and starts at once."""

    class Versions:
        def train(self, folder: Path, on_status: object) -> tuple[RekognitionVersion, Written]:
            assert folder == dataset
            return RekognitionVersion("data-1", ARN, "TRAINING_COMPLETED"), Written()

        def start(self, *told: object) -> RekognitionVersion:
            return RekognitionVersion("data-1", ARN, "RUNNING")

    monkeypatch.setattr(RekognitionProject, "_versions", Versions())
    monkeypatch.setattr(project, "_dataset", lambda: dataset)
    outputs = {"StopRoleArn": "arn:aws:iam::123456789012:role/stop"}
    monkeypatch.setattr(rekognition_project, "find_outputs", lambda *_: outputs)
    return project


def test_metrics_of_a_training_are_kept(
    trained: RekognitionProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = {"pixloop": {"metrics": {"accuracy": 0.5}}}
    monkeypatch.setattr(rekognition_project, "read_evaluation", lambda *_: said)
    found = trained.train(lambda _: None)
    assert (found.version, found.metrics) == ("data-1", {"accuracy": 0.5})
    assert json.loads(Path(found.evaluation).read_text()) == said


def test_a_threshold_is_chosen_once(
    trained: RekognitionProject, aws: Session, dataset: Path
) -> None:
    pictures = sum(row.width >= 64 for row in Dataset.open(dataset).split("calibration"))
    with Stubber(aws.client("rekognition")) as stub:
        for _ in range(pictures):
            stub.add_response("detect_custom_labels", {"CustomLabels": []})
        first = trained.start("latest", 1.0, lambda _: None)
        stub.assert_no_pending_responses()
        again = trained.start("latest", 1.0, lambda _: None)  # asks nothing
    assert first == again == {"version": "data-1", "arn": ARN, "threshold": None, "classes": {}}


def test_without_a_run_there_is_nothing_to_train_on(project: RekognitionProject) -> None:
    with pytest.raises(AwsError, match="no prepared data set"):
        project.train(lambda _: None)


@pytest.mark.integration
def test_queue_and_workflow_ask_it_until_they_are_told_otherwise(tmp_path: Path) -> None:
    def told(cloud: Cloud) -> set[tuple[str, str]]:
        functions = [
            cloud.client("lambda").get_function_configuration(FunctionName=f"pixloop-cats-{name}")
            for name in ("classify", "answer-upload")
        ]
        variables = [each["Environment"]["Variables"] for each in functions]
        return {(v["REKOGNITION_VERSION"], v["REKOGNITION_THRESHOLD"]) for v in variables}

    def no_bundle(version: str) -> Any:
        raise AssertionError(version)

    def ignore(event: object) -> None:
        pass

    with Cloud(tmp_path / "cloud") as cloud:
        project = AwsProject(config(), tmp_path, "", no_bundle)
        project.deploy_stacks(ignore)
        assert told(cloud) == {("", "")}
        project.let_rekognition_answer(ignore, ARN, Acceptance(0.9))
        assert told(cloud) == {(ARN, "0.9")}
        project.deploy_stacks(ignore)  # what is not said stays as it is
        assert told(cloud) == {(ARN, "0.9")}
        project.let_rekognition_answer(ignore)
        assert told(cloud) == {("", "")}
