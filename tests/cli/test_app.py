import json
import re
import shutil
import subprocess
import sys
from importlib import util
from pathlib import Path

import httpx
import pytest
import typer
from tests.conftest import QUICK
from typer.testing import CliRunner

from pixloop import __version__
from pixloop.cli.app import app, main
from pixloop.pipeline.runs import Cause
from pixloop.project import Project

ROOT = Path(__file__).parents[2]


@pytest.fixture
def pixloop(monkeypatch, capsys):
    """Run the command as the shell would; gives its exit code, output and errors."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["pixloop", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run


def commands() -> list[list[str]]:
    def walk(command, path):
        inner = getattr(command, "commands", None)
        return (
            [path] if inner is None else [p for n, c in inner.items() for p in walk(c, [*path, n])]
        )

    return walk(typer.main.get_command(app), [])


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_every_command_explains_itself_with_an_example(command):
    result = CliRunner().invoke(app, [*command, "--help"])

    assert result.exit_code == 0
    assert f"Example: pixloop {' '.join(command)}" in " ".join(
        result.output.replace("`", "").split()
    )
    assert "--json" in result.output


def test_the_version_is_told():
    assert CliRunner().invoke(app, ["--version"]).output == f"pixloop {__version__}\n"


def test_a_missing_project_is_an_error_with_advice(pixloop, tmp_path):
    code, out, err = pixloop("run", "-C", str(tmp_path))

    assert code == 2
    assert "pixloop init" in err
    assert out == ""


def test_with_json_an_error_is_one_object(pixloop, tmp_path):
    code, out, _ = pixloop("run", "-C", str(tmp_path), "--json")

    assert code == json.loads(out)["error"]["exit_code"] == 2


def test_init_makes_a_project_that_opens(pixloop, tmp_path):
    (tmp_path / "pictures").mkdir()

    code, out, _ = pixloop(
        "init", str(tmp_path / "p"), "--data", str(tmp_path / "pictures"), "--json"
    )

    assert code == 0
    assert json.loads(out)["folder"] == str(tmp_path / "p")
    assert Project.open(tmp_path / "p").config.task == "classification"


def test_show_holds_what_programs_rely_on(pixloop, finished):
    code, out, _ = pixloop("models", "show", "latest", "-C", str(finished[0].folder), "--json")

    shown = json.loads(out)
    assert code == 0
    assert shown["version"] == "1"
    assert shown["status"] == "pending"
    assert 0 <= shown["metrics"]["accuracy"] <= 1
    assert 0 <= shown["metrics"]["f1_macro"] <= 1
    assert shown["chosen_graph"] in ("torchscript", "onnx", "openvino")
    assert shown["lineage"]["dataset_sha256"]


def test_versions_are_approved_rejected_and_listed(pixloop, project):
    at = ("-C", str(project.folder), "--json")

    def answer(*arguments: str) -> dict:
        return json.loads(pixloop("models", *arguments, *at)[1])

    assert answer("reject", "1", "--reason", "blurred")["status"] == "rejected"
    assert answer("show", "1")["reason"] == "blurred"
    assert answer("approve", "latest")["champion"] is True
    assert answer("show", "champion")["version"] == "1"
    assert answer("compare", "1", "latest")["overall"]["difference"] == 0
    assert len(answer("list")["versions"]) == 1
    for impossible in (("show", "7"), ("rollback",), ("reject", "1")):
        assert answer(*impossible)["error"]["type"] == "RegistryError"


@pytest.mark.slow
def test_a_refused_model_ends_with_exit_code_3(pixloop, project):
    code, out, err = pixloop(
        "run",
        "-C",
        str(project.folder),
        "--json",
        "--set",
        "gate.minimum=1.0",
        "--set",
        "training.epochs=1",
        "--set",
        "training.learning_rate=1e-9",
    )

    assert code == json.loads(out)["error"]["exit_code"] == 3
    assert "below the minimum" in " ".join(err.split())
    assert "report.html" in err


# With two, Inspect is the first step.
@pytest.mark.parametrize("instances", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_misspelt_names_are_found_before_anything_is_prepared(
    pixloop, finished, tmp_path, instances
):
    settings = QUICK | {
        "model": {"name": "resnet81"},
        "aws": {"processing_instances": instances},
    }
    Project.init(tmp_path, str(finished[0].folder / "pictures"), settings=settings)

    code, out, _ = pixloop(
        "run", "-C", str(tmp_path), "--json", "--set", "training.augmentations=[flp]"
    )

    message = json.loads(out)["error"]["message"]
    assert code == 2
    assert "model.name: timm has no model 'resnet81'. Did you mean resnet18" in message
    assert "training.augmentations: there is no augmentation 'flp'. Did you mean 'flip'" in message
    assert not list((tmp_path / ".pixloop").glob("steps/*"))


@pytest.mark.parametrize("by", ["person", "page"])
def test_the_record_says_who_ran_it_and_why(pixloop, project, monkeypatch, by):
    monkeypatch.setenv("PIXLOOP_STARTED_BY", "page" if by == "page" else "")

    code, _, _ = pixloop(
        "run", "-C", str(project.folder), "--because", "a try", "--set", "training.epochs=4"
    )

    assert code == 0
    cause = project.runs()[0].cause
    assert cause == Cause(by=by, detail="a try", settings=("training.epochs=4",))


def test_strict_turns_a_broken_picture_into_an_error(pixloop, project):
    code, _, err = pixloop("run", "--strict", "-C", str(project.folder))

    assert code == 1
    assert "broken.png" in err


def test_predict_prints_an_answer_a_picture_and_fails_for_a_broken_one(pixloop, finished):
    folder = finished[0].folder
    good, bad = str(folder / "pictures/red/0.png"), str(folder / "pictures/red/broken.png")

    assert "red" in pixloop("predict", good, "-C", str(folder))[1]
    code, out, err = pixloop("predict", good, bad, "-C", str(folder), "--json")

    assert code == 1
    assert [answer["label"] for answer in json.loads(out)["predictions"]] == ["red", None]
    assert "1 of 2" in err


def test_serve_with_json_gives_its_address_as_json(finished):
    command = [sys.executable, "-m", "pixloop", "serve", "--port", "0", "--json"]
    folder = finished[0].folder
    with subprocess.Popen(
        [*command, "-C", str(folder)], stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            answer = "".join(iter(server.stdout.readline, "}\n")) + "}"
            assert httpx.get(json.loads(answer)["url"] + "/ping").status_code == 200
        finally:
            server.terminate()


def test_a_port_that_is_none_is_refused(pixloop, finished):
    assert pixloop("serve", "--port", "99999", "-C", str(finished[0].folder))[0] == 2


def test_the_report_and_the_model_card_are_found(pixloop, finished):
    folder = str(finished[0].folder)
    for option, name in ((), "report.html"), (("--card",), "model_card.html"):
        code, out, _ = pixloop("report", *option, "--no-browser", "-C", folder)
        assert code == 0
        assert Path("".join(out.split("\n"))).name == name
        code, out, _ = pixloop("report", *option, "--json", "-C", folder)
        (path,) = json.loads(out).values()
        assert Path(path).read_text().startswith("<!doctype html>")


@pytest.mark.slow
def test_explain_draws_what_it_can_and_names_what_it_cannot(pixloop, finished, tmp_path):
    project, _ = finished
    pictures = sorted((Path(project.folder) / "pictures/red").glob("*.png"))[:2]
    broken = Path(project.folder) / "pictures/red/broken.png"
    arguments = ("explain", *map(str, (*pictures, broken)), "-C", str(project.folder))
    code, out, err = pixloop(*arguments, "--out", str(tmp_path / "drawn"), "--json")
    told = json.loads(out)
    assert code == 1
    assert "1 of 3 pictures cannot be explained" in err
    assert next(c for c in told["checks"] if c["method"] == told["method"])["failures"] == []
    drawn = [Path(each["drawing"]) for each in told["explanations"] if each["error"] is None]
    assert len(drawn) == 2
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in drawn)


def test_the_pipeline_is_printed_as_json(pixloop, finished):
    assert (
        json.loads(pixloop("pipeline", "-C", str(finished[0].folder))[1])["Version"] == "2020-12-01"
    )


def test_the_reference_pages_are_current():
    spec = util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    generate = util.module_from_spec(spec)
    spec.loader.exec_module(generate)

    assert (ROOT / "docs/configuration.md").read_text() == generate.render_configuration()
    assert (ROOT / "docs/commands.md").read_text() == generate.render_commands()


def test_the_readme_names_only_commands_that_exist():
    blocks = re.findall(r"^```sh\n(.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S)
    named = re.findall(r"^pixloop ([a-z]+)(?: ([a-z]+))?", "".join(blocks), re.M)
    known = {tuple(command) for command in commands()}

    assert named
    for first, second in named:
        assert (first,) in known or (first, second) in known


def test_a_moved_project_still_opens(finished, tmp_path):
    shutil.copytree(finished[0].folder, tmp_path / "moved", symlinks=True)

    assert Project.open(tmp_path / "moved").config == finished[0].config


def test_a_run_ends_with_what_it_made_and_how_good_it_is(pixloop, project):
    code, out, _ = pixloop("run", "-C", str(project.folder))

    assert code == 0
    assert "is registered" in out
    assert re.search(r"model +\S+, started from random initialisation", out)
    assert re.search(r"quality +accuracy \d+\.\d %", out)


def test_what_is_no_picture_is_not_asked_about(pixloop, tmp_path):
    folder = tmp_path / "pets"
    Project.init(folder, str(tmp_path))
    code, _, err = pixloop("review", "report", str(folder / "pixloop.yaml"), "-C", str(folder))
    assert code == 1
    assert "pixloop.yaml cannot be asked about" in err


def test_what_the_system_refuses_is_an_error_and_no_trace(pixloop, tmp_path):
    folder = tmp_path / "pets"
    Project.init(folder, str(tmp_path))
    (folder / ".pixloop").write_text("no folder")
    code, _, err = pixloop("annotate", "sync", "-C", str(folder))
    assert code == 1
    assert "error:" in err
    assert "Traceback" not in err
