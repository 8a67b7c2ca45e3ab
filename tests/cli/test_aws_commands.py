"""The commands about AWS as a user types them, over the stand-in cloud."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pixloop.aws.names import Names
from pixloop.aws.rehearsal.cloud import Cloud
from pixloop.cli.app import main
from pixloop.errors import RegistryError
from pixloop.project import Project

Json = dict[str, Any]
Run = Callable[..., tuple[int, Json, str]]
NAMES = Names("colours")


@pytest.fixture
def pixloop(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command with --json; gives its exit code, its answer and what it said."""

    def run(*arguments: str) -> tuple[int, Json, str]:
        monkeypatch.setattr("sys.argv", ["pixloop", *arguments, "--json"])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), json.loads(out) if out else {}, err

    return run


@pytest.fixture
def here(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """The finished project, with a test of its own, as the current folder."""
    (project.folder / "verify").mkdir()
    (project.folder / "verify/test_red.py").write_text(
        "from pathlib import Path\n"
        f"RED = Path({str(red_picture(project))!r}).read_bytes()\n"
        "def test_red_is_red(deployment):\n"
        "    assert deployment.ask(RED)['predictions'][0]['label'] == 'red'\n"
    )
    monkeypatch.chdir(project.folder)
    return project


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    with Cloud(tmp_path / "cloud") as standing:
        yield standing


def red_picture(project: Project) -> Path:
    return Path(project.config.data.train) / "red" / "3.png"


def push_image(cloud: Cloud) -> None:
    """What 'pixloop aws image' would, if there were a registry that takes layers."""
    kind = "application/vnd.oci.image.manifest.v1+json"
    manifest = json.dumps({"schemaVersion": 2, "mediaType": kind, "layers": []})
    cloud.client("ecr").put_image(
        repositoryName=NAMES.repository, imageManifest=manifest, imageTag="latest"
    )


def wait_until_serving(pixloop: Run, model: str) -> Json:
    for _ in range(120):
        code, status, _ = pixloop("aws", "status")
        assert code == 0
        if {"name": NAMES.endpoint, "status": "InService", "model": model} in status["serving"]:
            return status
        time.sleep(1)
    raise AssertionError(status)


@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.timeout(900)
def test_the_loop_on_aws_by_its_commands(here: Project, cloud: Cloud, pixloop: Run) -> None:
    code, deployed, err = pixloop("aws", "deploy")
    assert code == 0, err
    assert deployed["outputs"]["PipelineName"] == NAMES.pipeline

    code, answer, _ = pixloop("run", "--on", "sagemaker")
    assert code == 1
    assert "push one with 'pixloop aws image'" in answer["error"]["message"]

    push_image(cloud)
    code, summary, err = pixloop("run", "--on", "sagemaker")
    assert code == 0, err
    assert summary["version"] == "1"
    assert summary["metrics"]["accuracy"] > 0.9
    assert Path(summary["report"]).is_file()

    code, listed, _ = pixloop("models", "list", "--on", "sagemaker")
    assert [each["status"] for each in listed["versions"]][-1] == "pending"

    code, approved, err = pixloop("models", "approve", "1", "--on", "sagemaker")
    assert (code, approved["status"]) == (0, "approved"), err
    wait_until_serving(pixloop, "colours:1")

    code, verified, err = pixloop("verify", "endpoint")
    assert (code, verified["ok"], verified["failed"]) == (0, True, []), err
    # The suite has a test for each picture of the certificate, ours comes on top.
    assert verified["passed"] > 8

    red = str(red_picture(here))
    code, predicted, err = pixloop("predict", red, "--on", "sagemaker")
    assert (code, predicted["predictions"][0]["label"]) == (0, "red"), err

    code, settled, err = pixloop("deploy", "--on", "lambda", "--from", "here", "--version", "1")
    assert (code, settled["serves"]) == (0, "colours:here-1"), err
    assert settled["url"].startswith("https://")
    code, verified, err = pixloop("verify", "function")
    assert (code, verified["ok"]) == (0, True), err
    code, predicted, err = pixloop("predict", red, "--on", "lambda")
    assert (code, predicted["predictions"][0]["label"]) == (0, "red"), err

    code, estimate, err = pixloop("aws", "cost")
    assert code == 0, err
    assert estimate["run"]["total"] > 0

    code, answer, err = pixloop("aws", "destroy", "--yes", "--with-data")
    assert code == 0, err
    assert cloud.client("cloudformation").describe_stacks()["Stacks"] == []
    assert not cloud.endpoints.running


def test_what_excludes_one_another_is_said(here: Project, pixloop: Run) -> None:
    code, answer, _ = pixloop("deploy", "--on", "sagemaker", "--serverless", "--async")
    assert code == 2
    assert "exclude one another" in answer["error"]["message"]
    code, answer, _ = pixloop("deploy", "--on", "lambda", "--serverless")
    assert (code, "SageMaker's" in answer["error"]["message"]) == (2, True)
    code, answer, _ = pixloop("verify", "somewhere")
    assert (code, "no URL" in answer["error"]["message"]) == (2, True)
    (here.folder / "empty").mkdir()
    code, answer, _ = pixloop("verify", "http://127.0.0.1:9", "--tests", "empty")
    assert (code, "holds no test_*.py" in answer["error"]["message"]) == (2, True)
    code, answer, _ = pixloop("verify", "http://127.0.0.1:9")
    assert (code, "Is the server running?" in answer["error"]["message"]) == (1, True)
    code, answer, _ = pixloop("run", "--tune")
    assert (code, "--on sagemaker" in answer["error"]["message"]) == (2, True)


def test_the_cost_is_known_without_aws(here: Project, pixloop: Run) -> None:
    code, estimate, _ = pixloop("aws", "cost", "--requests", "0")
    assert code == 0
    assert any("last run here" in sentence for sentence in estimate["assumptions"])
    assert estimate["serving"]["lambda"]["total"] == 0


def test_a_folder_of_tests_that_is_not_there_switches_nothing_off(pixloop: Run) -> None:
    code, _, err = pixloop("verify", "http://127.0.0.1:9", "--tests", "nowhere")
    assert (code, "does not exist" in err) == (2, True)


def test_an_empty_execution_starts_no_run(here: Project, pixloop: Run) -> None:
    for option in ("--follow", "--stop"):
        code, answer, _ = pixloop("run", "--on", "sagemaker", option, "")
        assert (code, "'' is no ARN" in answer["error"]["message"]) == (2, True)


def test_impossible_amounts_are_refused(here: Project, pixloop: Run) -> None:
    assert pixloop("aws", "cost", "--requests", "-1")[0] == 2
    assert pixloop("aws", "cost", "--pictures", "0")[0] == 2


@pytest.fixture
def new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A project that nothing has been done with, as the current folder."""
    Project.init(tmp_path, str(tmp_path))
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("new")
@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("aws image --build-arg x", "--build-arg 'x': expected NAME=VALUE"),
        ("aws deploy --github x", "--github 'x': expected OWNER/NAME"),
        ("aws deploy --repository a/b", "give both, or neither"),
        ("aws deploy --connection arn:c", "give both, or neither"),
        ("aws deploy --github-branch=", "--github-branch '': expected a branch"),
        ("aws github --branch=", "--branch '': expected a branch"),
        ("aws cost --requests inf", "--requests inf: expected a finite number"),
        ("aws deploy --repository a/b/c", "--repository 'a/b/c': expected OWNER/NAME"),
        ("aws deploy --alarm-email me", "'me' is no mail address"),
        ("deploy --on sagemaker --batch here", "--batch: 'here' is no S3 address"),
        ("deploy --on sagemaker --batch s3://b/in/ --out here", "--out: 'here' is no S3 address"),
        ("deploy --on sagemaker --out s3://b/out/", "there is no --batch"),
        ("deploy --on sagemaker --batch s3://b/in/ --rollback", "leaves nothing behind"),
        ("run --on sagemaker --follow arn:a --stop arn:b", "exclude one another"),
        ("run --on sagemaker --follow arn:a --tune", "exclude one another"),
        ("run --on sagemaker --stop nothing", "is no ARN"),
        ("predict a.jpg --url http://127.0.0.1:9 --on lambda", "give one of them"),
        ("run --follow arn", "add --on sagemaker"),
        ("run --stop arn", "add --on sagemaker"),
    ],
)
def test_a_wrong_option_is_refused_before_aws_is_asked(
    pixloop: Run, command: str, says: str
) -> None:
    code, answer, _ = pixloop(*command.split())
    assert code == 2
    assert says in answer["error"]["message"]


@pytest.mark.usefixtures("new")
@pytest.mark.parametrize(
    "command", ["list", "show 1", "approve 1", "reject 1", "rollback", "compare 1 2"]
)
def test_every_command_about_versions_can_ask_sagemakers_registry(
    pixloop: Run, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    class Elsewhere:
        def __getattr__(self, name: str) -> Any:
            raise RegistryError("asked there")

    on_aws = SimpleNamespace(registry=Elsewhere())
    monkeypatch.setattr(Project, "on_aws", property(lambda _: on_aws))
    code, answer, _ = pixloop("models", *command.split(), "--on", "sagemaker")
    assert (code, answer["error"]["message"]) == (1, "asked there")
