"""Planted mistakes of every kind, and the real definition, which has none."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from pixloop.aws.pipeline.definition_check import check_definition
from pixloop.config_file import parse_config
from pixloop.pipeline.definition import build_definition
from pixloop.pipeline.expressions import path_parts

Json = dict[str, Any]
ADDRESSES = {"weights": "s3://b/w.safetensors", "champion": "s3://b/champion/"}


def small() -> Json:
    """Two jobs and a gate, to plant mistakes in."""

    def job(name: str, source: Any) -> Json:
        return {
            "Name": name,
            "Type": "Processing",
            "Arguments": {
                "AppSpecification": {"ImageUri": {"Get": "Parameters.Image"}},
                "RoleArn": "arn:aws:iam::123456789012:role/jobs",
                "ProcessingInputs": [
                    {
                        "InputName": "in",
                        "S3Input": {
                            "S3Uri": source,
                            "LocalPath": "/opt/ml/processing/input/in",
                            "S3DataType": "S3Prefix",
                            "S3InputMode": "File",
                        },
                    }
                ],
                "ProcessingOutputConfig": {
                    "Outputs": [
                        {
                            "OutputName": "out",
                            "S3Output": {
                                "S3Uri": {
                                    "Std:Join": {
                                        "On": "/",
                                        "Values": [
                                            "s3://b",
                                            {"Get": "Execution.PipelineExecutionId"},
                                        ],
                                    }
                                },
                                "LocalPath": "/opt/ml/processing/output/out",
                                "S3UploadMode": "EndOfJob",
                            },
                        }
                    ]
                },
                "ProcessingResources": {
                    "ClusterConfig": {
                        "InstanceCount": {"Get": "Parameters.Count"},
                        "InstanceType": "ml.m5.xlarge",
                        "VolumeSizeInGB": 50,
                    }
                },
            },
            "CacheConfig": {"Enabled": True, "ExpireAfter": "P30D"},
            "PropertyFiles": [
                {"PropertyFileName": "Report", "OutputName": "out", "FilePath": "e.json"}
            ],
        }

    output = {"Get": "Steps.First.ProcessingOutputConfig.Outputs['out'].S3Output.S3Uri"}
    report = {"Get": "Steps.Second.PropertyFiles.Report"}
    return {
        "Version": "2020-12-01",
        "Metadata": {},
        "Parameters": [
            {"Name": "Image", "Type": "String", "DefaultValue": "image"},
            {"Name": "Count", "Type": "Integer", "DefaultValue": 2},
            {"Name": "Least", "Type": "Float", "DefaultValue": 1},
        ],
        "Steps": [
            job("First", "s3://b/raw/"),
            job("Second", output),
            {
                "Name": "Gate",
                "Type": "Condition",
                "Arguments": {
                    "Conditions": [
                        {
                            "Type": "GreaterThanOrEqualTo",
                            "LeftValue": {"Std:JsonGet": {"PropertyFile": report, "Path": "a"}},
                            "RightValue": {"Get": "Parameters.Least"},
                        }
                    ],
                    "IfSteps": [],
                    "ElseSteps": [
                        {"Name": "No", "Type": "Fail", "Arguments": {"ErrorMessage": "no"}}
                    ],
                },
            },
        ],
    }


TUNING: Json = {
    "Name": "Tune",
    "Type": "Tuning",
    "Arguments": {
        "HyperParameterTuningJobConfig": {
            "Strategy": "Bayesian",
            "ResourceLimits": {"MaxNumberOfTrainingJobs": 4, "MaxParallelTrainingJobs": 2},
            "HyperParameterTuningJobObjective": {"Type": "Maximize", "MetricName": "f1"},
        },
        "TrainingJobDefinition": {
            "AlgorithmSpecification": {"TrainingImage": "i", "TrainingInputMode": "File"},
            "RoleArn": "arn:aws:iam::123456789012:role/jobs",
            "OutputDataConfig": {"S3OutputPath": "s3://b/o"},
            "ResourceConfig": {
                "InstanceType": "ml.m5.xlarge",
                "InstanceCount": 1,
                "VolumeSizeInGB": 5,
            },
            "StoppingCondition": {"MaxRuntimeInSeconds": 60},
        },
    },
}


def edit(path: str, value: Any) -> Callable[[Json], None]:
    """Sets what is at a path; None takes it away."""

    def change(definition: Json) -> None:
        target: Any = definition
        *parts, last = path_parts(path)
        for part in parts:
            target = target[int(part)] if isinstance(target, list) else target[part]
        key = int(last) if isinstance(target, list) else last
        if value is None:
            del target[key]
        elif isinstance(target, list) and key == len(target):
            target.append(value)
        else:
            target[key] = value

    return change


SETTINGS = (
    [],
    ["aws.processing_instances=4"],
    ["aws.spot=true", "aws.instances=2"],
    ["aws.subnets=[subnet-12345678]", "aws.security_groups=[sg-12345678]"],
)


@pytest.mark.parametrize("task", ["classification", "detection"])
@pytest.mark.parametrize("addresses", [{}, ADDRESSES])
@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("tune", [False, True])
def test_the_real_definition_has_no_mistake(
    task: str, addresses: dict[str, str], settings: list[str], tune: bool
) -> None:
    ranges = ["tuning.learning_rate=[0.0001, 0.01]", "tuning.optimizers=[adamw, sgd]"]
    config = parse_config({"task": task, "data": "s3://b/train/"}, [*settings, *ranges])
    definition = build_definition(config, commit="0123abc", tune=tune, **addresses)
    assert check_definition(definition) == []


def test_a_local_address_is_no_address_for_sagemaker() -> None:
    config = parse_config({"task": "classification", "data": "pictures"}, [])
    found = check_definition(build_definition(config, commit="0123abc"))
    assert found
    assert all("'pictures' does not fit (https|s3)" in line for line in found)


def test_the_small_definition_and_a_tuning_have_no_mistake() -> None:
    assert check_definition(small()) == []
    definition = small()
    definition["Steps"].append(copy.deepcopy(TUNING))
    for path in ("BestTrainingJob.TrainingJobName", "TrainingJobSummaries[0].TrainingJobArn"):
        fail = {"Std:Join": {"On": "", "Values": [{"Get": f"Steps.Tune.{path}"}]}}
        definition["Steps"][2]["Arguments"]["ElseSteps"][0]["Arguments"]["ErrorMessage"] = fail
        assert check_definition(definition) == []


FIRST = "Steps[0].Arguments"
CLUSTER = f"{FIRST}.ProcessingResources.ClusterConfig"
GATE = "Steps[2].Arguments"


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        # keys
        (f"{FIRST}.RoleARN", "x", "First: SageMaker knows no 'RoleARN'; 'RoleArn' is meant?"),
        (f"{CLUSTER}.VolumeSizeInGb", 5, "First.ProcessingResources.ClusterConfig: SageMaker"),
        ("Steps[0].Cache", {}, "First: SageMaker knows no 'Cache'"),
        ("Steps[2].CacheConfig", {"Enabled": True}, "Gate: SageMaker knows no 'CacheConfig'"),
        ("Step", [], "the definition: SageMaker knows no 'Step'; 'Steps' is meant?"),
        (f"{GATE}.Then", [], "Gate.Arguments: SageMaker knows no 'Then'"),
        # what is missing
        (f"{FIRST}.RoleArn", None, "First: RoleArn is missing"),
        (f"{CLUSTER}.VolumeSizeInGB", None, "ClusterConfig: VolumeSizeInGB is missing"),
        ("Steps[0].Arguments", None, "First: it has no Arguments"),
        ("Version", None, "Version: it is None"),
        (f"{GATE}.Conditions", None, "Gate.Arguments.Conditions: there are none"),
        (f"{GATE}.Conditions[0].LeftValue", None, "LeftValue: expected a value"),
        # types
        (f"{CLUSTER}.VolumeSizeInGB", "50", "VolumeSizeInGB: expected integer, and it is '50'"),
        (f"{CLUSTER}.VolumeSizeInGB", True, "VolumeSizeInGB: expected integer, and it is True"),
        (f"{CLUSTER}.InstanceCount", {"Get": "Parameters.Image"}, "expected integer"),
        (
            f"{CLUSTER}.InstanceCount",
            {"Get": "Parameters.Least"},
            "expected integer, and it is 1.",
        ),
        (f"{FIRST}.RoleArn", {"Get": "Parameters.Count"}, "First.RoleArn: expected string"),
        (f"{FIRST}.Environment", {"A": 1}, "First.Environment.A: expected string, and it is 1"),
        (f"{FIRST}.ProcessingInputs", {}, "First.ProcessingInputs: expected list"),
        (f"{FIRST}.AppSpecification", [], "First.AppSpecification: expected structure"),
        (
            f"{FIRST}.Environment",
            {"A": {"Get": "Steps.Second.ProcessingResources.ClusterConfig.InstanceCount"}},
            "First.Environment.A: expected string, and it is integer",
        ),
        (
            "Steps[2].Arguments.ElseSteps[0].Arguments.ErrorMessage",
            3,
            "Message: expected a text",
        ),
        # words, lengths, patterns
        (f"{CLUSTER}.InstanceType", "ml.m5.xlrge", "'ml.m5.xlrge'; 'ml.m5.xlarge' is meant?"),
        (f"{CLUSTER}.InstanceCount", 0, "InstanceCount: 0 is below 1"),
        (f"{CLUSTER}.InstanceCount", 101, "InstanceCount: 101 is above 100"),
        (
            f"{FIRST}.AppSpecification.ContainerArguments",
            ["x" * 257],
            "257 in length is above",
        ),
        (f"{FIRST}.AppSpecification.ContainerArguments", [], "0 in length is below 1"),
        (f"{FIRST}.Environment", {"a-b": "x"}, "First.Environment.a-b: 'a-b' does not fit"),
        (f"{FIRST}.RoleArn", "arn:aws:iam::1:role/jobs-of-mine", "First.RoleArn: 'arn:aws:iam::1"),
        ("Steps[0].CacheConfig.ExpireAfter", "30 days", "ExpireAfter: expected a duration"),
        ("Steps[0].CacheConfig.Enabled", "yes", "Enabled: expected true or false"),
        ("Steps[0].Name", "no blanks", "no blanks: a step's name is"),
        # references
        (f"{FIRST}.RoleArn", {"Get": "Parameters.Roll"}, "First.RoleArn: nothing is at Parameters"),
        (f"{FIRST}.RoleArn", {"Get": "Execution.Id"}, "First.RoleArn: nothing is at Execution.Id"),
        (f"{FIRST}.RoleArn", {"Get": "Step.First"}, "nothing is at Step.First"),
        (f"{FIRST}.RoleArn", {"Get": "Steps.First['"}, "is no reference"),
        ("Steps[0].Name", "Frist", "nothing is at Steps.First.ProcessingOutputConfig"),
        (
            f"{FIRST}.ProcessingOutputConfig.Outputs[0].OutputName",
            "oot",
            "nothing is at Steps.First",
        ),
        (
            "Steps[1].PropertyFiles",
            [],
            "Gate.Conditions[0].LeftValue.Std:JsonGet.Property",
        ),
        ("Steps[1].PropertyFiles[0].OutputName", "x", "Second.PropertyFiles: the step has no out"),
        ("Steps[1].PropertyFiles[0].FilePath", None, "Second.PropertyFiles: FilePath is missing"),
        ("Steps[1].DependsOn", ["Zeroth"], "Second.DependsOn: there is no step 'Zeroth'"),
        (
            f"{FIRST}.RoleArn",
            {"Get": "Steps.Second.ProcessingOutputConfig.Outputs['out'].S3Output.S3Uri"},
            "need one another",
        ),
        ("Steps[1].Name", "First", "First: the name stands twice"),
        # steps and conditions
        ("Steps[0].Type", "Procesing", "First: the type 'Procesing' is none that is checked"),
        (f"{GATE}.Conditions[0].Type", "AtLeast", "'AtLeast' is none of Equals"),
        # parameters
        ("Parameters[1].DefaultValue", "2", "Parameters.Count: the default '2' is no Integer"),
        ("Parameters[1].DefaultValue", True, "Parameters.Count: the default True is no Integer"),
        ("Parameters[1].Type", "Int", "Parameters.Count: 'Int' is none of String"),
        ("Parameters[1].Name", "Image", "Parameters.Image: the name stands twice"),
        ("Parameters[1].Default", 2, "Parameters.Count: SageMaker knows no 'Default'"),
        # a tuning
        ("Steps[3]", {**TUNING, "Arguments": {}}, "Tune: HyperParameterTuningJobConfig is missing"),
    ],
)
def test_a_planted_mistake_is_found(path: str, value: Any, says: str) -> None:
    definition = small()
    edit(path, value)(definition)
    found = check_definition(definition)
    assert any(says in line for line in found), found


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("Strategy", "Guess", "SageMaker knows no 'Guess'"),
        ("ResourceLimits.MaxParallelTrainingJobs", 0, "is below 1"),
        ("HyperParameterTuningJobObjective.MetricName", None, "MetricName is missing"),
    ],
)
def test_a_mistake_in_a_tuning_is_found(path: str, value: Any, says: str) -> None:
    definition = small()
    definition["Steps"].append(copy.deepcopy(TUNING))
    edit(f"Steps[3].Arguments.HyperParameterTuningJobConfig.{path}", value)(definition)
    assert any(says in line for line in check_definition(definition))


def test_a_registration_is_checked() -> None:
    config = parse_config({"task": "classification", "data": "s3://b/train/"}, [])
    definition = build_definition(config, commit="0123abc")
    gate = next(step for step in definition["Steps"] if step["Name"] == "Gate")
    arguments = gate["Arguments"]["IfSteps"][0]["Arguments"]
    arguments["ModelApprovalStatus"] = "Perhaps"
    arguments["Inference"] = {}
    found = check_definition(definition)
    assert len(found) == 2
    assert "Register.ModelApprovalStatus: SageMaker knows no 'Perhaps'" in found[1]
    assert "Register: SageMaker knows no 'Inference'" in found[0]
