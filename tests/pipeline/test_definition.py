"""The definition, held against the request shapes that botocore has for every kind of step."""

import copy
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from tests.pipeline.request_shapes import NETWORK, SEARCH, config, problems

from pixloop.config import flatten
from pixloop.config_file import parse_config
from pixloop.pipeline.arguments import STEP_KEYS
from pixloop.pipeline.definition import build_definition
from pixloop.pipeline.expressions import Scope, path_parts, resolve
from pixloop.pipeline.order import bind_parameters
from pixloop.pipeline.steps import read_settings

Json = dict[str, Any]

ADDRESSES = {"weights": "s3://b/w.safetensors", "champion": "s3://b/champion/model.tar.gz"}


# ---- The definition


@pytest.mark.parametrize("addresses", [{}, ADDRESSES])
@pytest.mark.parametrize("task", ["classification", "detection"])
@pytest.mark.parametrize("tune", [False, True])
@pytest.mark.parametrize(
    "settings", [(), ("aws.spot=true",), NETWORK, ("aws.processing_instances=3",)]
)
def test_the_service_would_accept_it(
    addresses: dict[str, str], task: str, tune: bool, settings: tuple[str, ...]
) -> None:
    given = config(f"task={task}", *SEARCH, *settings)
    assert problems(build_definition(given, tune=tune, **addresses)) == []


def test_it_has_the_parameters_that_a_user_changes() -> None:
    definition = build_definition(config("data.test=s3://b/test", "training.epochs=3"))
    values = {p["Name"]: p["DefaultValue"] for p in definition["Parameters"]}
    assert values["Epochs"] == 3
    assert values["TestDataUri"] == "s3://b/test"
    assert values["Augmentations"] == "flip,rotate,color,noise,blur"
    names = "Task Model BatchSize Optimizer LearningRate Epochs Augmentations TrainDataUri"
    names += " TestDataUri GateMinimum TrainingInstanceType TrainingInstanceCount"
    names += " DataVersion ChampionVersion"
    assert set(names.split()) <= values.keys()


def test_it_is_json_and_does_not_change_from_call_to_call() -> None:
    definition = build_definition(config())
    assert json.loads(json.dumps(definition)) == definition == build_definition(config())


def test_the_champion_is_compared_only_where_there_is_one() -> None:
    def conditions(definition: Json) -> int:
        return len(definition["Steps"][-1]["Arguments"]["Conditions"])

    champion = {"champion": "s3://b/c"}
    assert conditions(build_definition(config())) == 1
    assert conditions(build_definition(config(), **champion)) == 2
    careless = config("gate.better_than_champion=false")
    assert conditions(build_definition(careless, **champion)) == 1


def test_annotations_are_an_input_of_prepare_only_where_they_are_given() -> None:
    def inputs(definition: Json) -> list[str]:
        step = next(step for step in definition["Steps"] if step["Name"] == "Prepare")
        return [each["InputName"] for each in step["Arguments"]["ProcessingInputs"]]

    assert inputs(build_definition(config())) == ["train", "test"]
    definition = build_definition(config(), annotations="s3://b/annotations/")
    assert inputs(definition) == ["train", "test", "annotations"]
    parameters = {each["Name"]: each["DefaultValue"] for each in definition["Parameters"]}
    assert parameters["AnnotationsUri"] == "s3://b/annotations/"


def step_overrides(definition: Json, name: str, given: Json) -> list[str]:
    """The ``key=value`` that a step's container would be given."""
    step = next(step for step in definition["Steps"] if step["Name"] == name)
    arguments = resolve(
        step["Arguments"], Scope(bind_parameters(definition, given), EXECUTION, PAST)
    )
    if name == "Train":
        return [f"{key}={value}" for key, value in arguments["HyperParameters"].items()]
    return read_settings(arguments["AppSpecification"]["ContainerArguments"][2:])


EXECUTION = {"PipelineExecutionId": "e", "PipelineName": "p"}
PAST = {
    "Inspect": {
        "ProcessingOutputConfig": {"Outputs": {"inspections": {"S3Output": {"S3Uri": "i"}}}}
    },
    "Prepare": {"ProcessingOutputConfig": {"Outputs": {"dataset": {"S3Output": {"S3Uri": "d"}}}}},
    "Export": {"ProcessingOutputConfig": {"Outputs": {"bundle": {"S3Output": {"S3Uri": "b"}}}}},
    "Train": {"ModelArtifacts": {"S3ModelArtifacts": "m"}},
}


@pytest.mark.parametrize("name", STEP_KEYS)
def test_each_step_is_told_its_keys_exactly(name: str) -> None:
    given = config(
        "name=it-is-3",
        "data.max_pixels=7",
        'model.name="123"',
        "training.epochs=4",
        "training.learning_rate=1e-5",
        "training.augmentations=[blur]",
        "export.formats=[onnx]",
        "thresholds.max_error=0.5",
        "training.workers=2",
        "data.strict=true",
        "aws.processing_instances=2",
    )
    overrides = step_overrides(build_definition(given), name, {})
    told = flatten(parse_config({"task": "classification", "data": "x"}, overrides))
    keys = {override.partition("=")[0] for override in overrides}
    assert {key: told[key] for key in keys} == {key: flatten(given)[key] for key in keys}


def test_no_step_is_told_where_the_data_are() -> None:
    for name in STEP_KEYS:
        given = config("data.test=s3://b/t", "aws.processing_instances=2")
        overrides = step_overrides(build_definition(given), name, {})
        assert "s3://" not in " ".join(overrides)


def test_parameters_of_a_run_reach_the_training() -> None:
    given = {"Epochs": 2, "LearningRate": 0.5, "Augmentations": "", "Optimizer": "lamb"}
    overrides = step_overrides(build_definition(config()), "Train", given)
    training = parse_config({"task": "classification", "data": "x"}, overrides).training
    assert (training.epochs, training.learning_rate) == (2, 0.5)
    assert (training.optimizer, training.augmentations) == ("lamb", ())


def test_a_value_too_long_for_one_argument_arrives_whole(monkeypatch: Any) -> None:
    monkeypatch.setattr("pixloop.pipeline.arguments._ARGUMENT_CHARACTERS", 10)
    overrides = step_overrides(build_definition(config("name=a-long-name-for-ten")), "Export", {})
    assert 'name="a-long-name-for-ten"' in overrides
    assert "export.max_accuracy_loss=0.002" in overrides


@pytest.mark.parametrize(
    ("task", "line", "metric"),
    [
        ("classification", "training: 17/18 epoch 3/3 loss 3.04 F1 0.182", "f1_macro"),
        ("detection", "training: 17/18 epoch 3/3 loss 3.04 AP50 0.182", "map_50"),
    ],
)
def test_sagemaker_finds_its_metrics_in_the_training_log(task: str, line: str, metric: str) -> None:
    definition = build_definition(config(f"task={task}"))
    definitions = definition["Steps"][1]["Arguments"]["AlgorithmSpecification"]["MetricDefinitions"]
    found = {d["Name"]: re.search(d["Regex"], line) for d in definitions}
    assert {name: match and match[1] for name, match in found.items()} == {
        "loss": "3.04",
        metric: "0.182",
    }


# ---- The check itself


def edit(path: str, value: Any) -> Callable[[Json], None]:
    def change(definition: Json) -> None:
        target: Any = definition["Steps"]
        *parts, last = path_parts(path)
        for part in parts:
            target = target[int(part)] if isinstance(target, list) else target[part]
        if value is None:
            del target[last]
        else:
            target[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (edit("[1].Arguments.RoleArn", None), "Missing required parameter"),
        (edit("[1].Arguments.ResourceConfig.VolumeSizeInGb", 5), "no 'VolumeSizeInGb'"),
        (edit("[0].Arguments.StoppingCondition.MaxRuntimeInSeconds", "60"), "Invalid type"),
        (edit("[1].Arguments.ResourceConfig.InstanceType", "ml.bogus"), "none of its words"),
        (
            edit("[0].Arguments.AppSpecification.ContainerEntrypoint", ["x" * 257]),
            "longer than 256",
        ),
        (edit("[1].Arguments.HyperParameters.epochs", 3), "Invalid type"),
        (edit("[2].Name", "Prepare"), "stands twice"),
        (edit("[1].Name", "Trian"), "nothing at Steps.Train"),
        (edit("[3].PropertyFiles", []), "nothing at Steps.Evaluate.PropertyFiles"),
        (
            edit("[0].Arguments.ProcessingOutputConfig.Outputs[0].OutputName", "set"),
            "nothing at Steps.Prepare",
        ),
        (edit("[1].Arguments.RoleArn", {"Get": "Parameters.Roll"}), "no parameter for"),
        (
            edit("[4].Arguments.IfSteps[0].Arguments.ModelApprovalStatus", "Perhaps"),
            "none of its words",
        ),
    ],
)
def test_planted_errors_are_found(change: Callable[[Json], None], says: str) -> None:
    definition = copy.deepcopy(build_definition(config()))
    assert any(says in problem for problem in problems_of(definition, change))


def problems_of(definition: Json, change: Callable[[Json], None]) -> list[str]:
    change(definition)
    try:
        return problems(definition)
    except Exception as e:  # what cannot even be resolved counts as found
        return [f"no parameter for {e}"]


SEARCH_CONFIG = "[1].Arguments.HyperParameterTuningJobConfig"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (edit(f"{SEARCH_CONFIG}.Strategy", "Guessing"), "none of its words"),
        (edit(f"{SEARCH_CONFIG}.ResourceLimits", None), "Missing required parameter"),
        (
            edit(f"{SEARCH_CONFIG}.ParameterRanges.ContinuousParameterRanges[0].MinValue", 0.1),
            "Invalid type",
        ),
        (edit("[1].Arguments.TrainingJobDefinition.HyperParameters", {}), "no 'HyperParameters'"),
        (edit("[1].Name", "Tuned"), "nothing at Steps.Tune"),
    ],
)
def test_planted_errors_in_a_search_are_found(change: Callable[[Json], None], says: str) -> None:
    definition = copy.deepcopy(build_definition(config(*SEARCH), tune=True))
    assert any(says in problem for problem in problems_of(definition, change))


def test_kept_accuracy_is_a_condition_only_where_it_is_asked_for() -> None:
    def gate(*settings: str) -> Json:
        arguments: Json = build_definition(config(*settings))["Steps"][-1]["Arguments"]
        return arguments

    assert len(gate()["Conditions"]) == 1
    asked = gate("gate.min_kept_accuracy=0.7")
    kept = asked["Conditions"][1]
    assert (kept["Type"], kept["RightValue"]) == ("GreaterThanOrEqualTo", 0.7)
    assert kept["LeftValue"]["Std:JsonGet"]["Path"] == "pixloop.robustness.kept_share"
    message = asked["ElseSteps"][0]["Arguments"]["ErrorMessage"]
    assert "0.7 is kept under corruptions" in json.dumps(message)
    assert problems(build_definition(config("gate.min_kept_accuracy=0.7"))) == []
