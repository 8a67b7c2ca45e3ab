"""Toy pipelines: every step is a line or two of Python, run by the real engine."""

import json
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pixloop.pipeline.cache import code_digest

Json = dict[str, Any]

PRELUDE = """
import json, os, pathlib, sys, time
from pixloop.pipeline.container import die_with_parent
die_with_parent()
ml = pathlib.Path(os.environ["PIXLOOP_ML"])
def note(text):
    with open(os.environ["TRACE"], "a") as f: f.write(text + "\\n")
def into(name): return ml / "processing/input" / name
def out(name): return ml / "processing/output" / name
"""


def code(text: str) -> list[str]:
    return ["-c", PRELUDE + textwrap.dedent(text)]


def output_of(step: str, output: str) -> Json:
    return {"Get": f"Steps.{step}.ProcessingOutputConfig.Outputs['{output}'].S3Output.S3Uri"}


def processing(
    name: str,
    program: str,
    inputs: Mapping[str, Any] | None = None,
    outputs: Sequence[str] = ("result",),
    arguments: Sequence[Any] = (),
    **more: Any,
) -> Json:
    return {
        "Name": name,
        "Type": "Processing",
        "Arguments": {
            "AppSpecification": {
                "ImageUri": "ignored",
                "ContainerEntrypoint": ["python"],
                "ContainerArguments": [*code(program), *arguments],
            },
            "ProcessingInputs": [
                {
                    "InputName": key,
                    "S3Input": {"S3Uri": uri, "LocalPath": f"/opt/ml/processing/input/{key}"},
                }
                for key, uri in (inputs or {}).items()
            ],
            "ProcessingOutputConfig": {
                "Outputs": [
                    {
                        "OutputName": key,
                        "S3Output": {
                            "S3Uri": f"s3://nowhere/{key}",
                            "LocalPath": f"/opt/ml/processing/output/{key}",
                        },
                    }
                    for key in outputs
                ]
            },
        },
        "CacheConfig": {"Enabled": True},
        **more,
    }


def training(name: str, program: str, channels: Mapping[str, Any], **hyperparameters: Any) -> Json:
    return {
        "Name": name,
        "Type": "Training",
        "Arguments": {
            "AlgorithmSpecification": {
                "TrainingImage": "ignored",
                "ContainerEntrypoint": ["python"],
                "ContainerArguments": code(program),
            },
            "HyperParameters": hyperparameters,
            "InputDataConfig": [
                {"ChannelName": key, "DataSource": {"S3DataSource": {"S3Uri": uri}}}
                for key, uri in channels.items()
            ],
        },
        "CacheConfig": {"Enabled": True},
    }


def pipeline(*steps: Json, **parameters: Any) -> Json:
    types = {str: "String", int: "Integer", float: "Float", bool: "Boolean"}
    return {
        "Version": "2020-12-01",
        "Parameters": [
            {"Name": name, "Type": types[type(value)], "DefaultValue": value}
            for name, value in parameters.items()
        ],
        "Steps": list(steps),
    }


@pytest.fixture
def toy() -> SimpleNamespace:
    """The builders of toy definitions."""
    return SimpleNamespace(
        processing=processing, training=training, pipeline=pipeline, output_of=output_of
    )


@pytest.fixture(autouse=True)
def fresh_code_digest() -> None:
    """Runs in other processes see the code as it is now, so this process must as well."""
    code_digest.cache_clear()


@pytest.fixture
def trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file in which toy steps note that they ran."""
    file = tmp_path / "trace.txt"
    file.touch()
    monkeypatch.setenv("TRACE", str(file))
    return file


@pytest.fixture
def loop(tmp_path: Path, trace: Path) -> Json:
    """The whole loop in miniature: copy, learn, seal, score, gate, register."""
    data = tmp_path / "data"
    data.mkdir()
    (data / "a.txt").write_text("3")
    report = {
        "PropertyFile": {"Get": "Steps.Score.PropertyFiles.Report"},
        "Path": "metrics.f1_macro",
    }
    copy = """
        note("Copy"); (out("data") / "a.txt").write_text((into("raw") / "a.txt").read_text())"""
    learn = """
        note("Learn")
        h = json.loads((ml / "input/config/hyperparameters.json").read_text())
        n = int((ml / "input/data/data/a.txt").read_text())
        (ml / "model/weights").write_text(str(n * float(h["rate"])))"""
    seal = """
        import tarfile
        note("Seal")
        archive = tarfile.open(into("model") / "model.tar.gz")
        archive.extract("weights", out("bundle"), filter="data")"""
    score = """
        note("Score")
        value = float((into("bundle") / "weights").read_text())
        (out("report") / "r.json").write_text(json.dumps({"metrics": {"f1_macro": value}}))"""
    artifact = {"Get": "Steps.Learn.ModelArtifacts.S3ModelArtifacts"}
    return pipeline(
        processing("Copy", copy, {"raw": {"Get": "Parameters.Data"}}, ["data"]),
        training(
            "Learn",
            learn,
            {"data": output_of("Copy", "data")},
            rate={"Std:Join": {"On": "", "Values": [{"Get": "Parameters.Rate"}]}},
        ),
        processing("Seal", seal, {"model": artifact}, ["bundle"]),
        processing(
            "Score",
            score,
            {"bundle": output_of("Seal", "bundle")},
            ["report"],
            PropertyFiles=[
                {"PropertyFileName": "Report", "OutputName": "report", "FilePath": "r.json"}
            ],
        ),
        {
            "Name": "Gate",
            "Type": "Condition",
            "Arguments": {
                "Conditions": [
                    {
                        "Type": "GreaterThanOrEqualTo",
                        "LeftValue": {"Std:JsonGet": report},
                        "RightValue": {"Get": "Parameters.GateMinimum"},
                    }
                ],
                "IfSteps": [
                    {
                        "Name": "Register",
                        "Type": "RegisterModel",
                        "Arguments": {"Bundle": output_of("Seal", "bundle")},
                    }
                ],
                "ElseSteps": [
                    {"Name": "Refused", "Type": "Fail", "Arguments": {"ErrorMessage": "No."}}
                ],
            },
        },
        Data=data.as_uri(),
        Rate=0.3,
        GateMinimum=0.8,
    )


@pytest.fixture
def start_run(tmp_path: Path, trace: Path) -> Iterator[Any]:
    """Start a run of a definition in a process of its own, as the command line would."""
    processes = []

    def start(definition: Json, state: Path) -> "subprocess.Popen[str]":
        file = tmp_path / f"definition-{len(processes)}.json"
        file.write_text(json.dumps(definition))
        program = (
            "import json, sys, pathlib\n"
            "from pixloop.pipeline.local import run_local\n"
            "definition = json.loads(pathlib.Path(sys.argv[1]).read_text())\n"
            "run_local(definition, pathlib.Path(sys.argv[2]), register=lambda a: {})\n"
        )
        command = [sys.executable, "-c", program, str(file), str(state)]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()
