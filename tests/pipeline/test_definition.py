"""The definition, held against the request shapes that botocore has for every kind of step."""

import copy
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import botocore.session
import pytest
from botocore.model import Shape
from botocore.validate import ParamValidator

from pixloop.config import Config, flatten
from pixloop.config_file import parse_config
from pixloop.errors import ConfigError
from pixloop.pipeline.arguments import STEP_KEYS
from pixloop.pipeline.definition import build_definition
from pixloop.pipeline.expressions import Scope, path_parts, resolve
from pixloop.pipeline.order import bind_parameters
from pixloop.pipeline.steps import read_settings

Json = dict[str, Any]

SERVICE = botocore.session.get_session().get_service_model("sagemaker")
#: Type of a step → the request, what SageMaker Pipelines adds to it, the answer's description.
REQUESTS = {
    "Processing": ("CreateProcessingJob", "ProcessingJobName", "DescribeProcessingJob"),
    "Training": ("CreateTrainingJob", "TrainingJobName", "DescribeTrainingJob"),
    "Tuning": (
        "CreateHyperParameterTuningJob",
        "HyperParameterTuningJobName",
        "DescribeHyperParameterTuningJob",
    ),
    "RegisterModel": ("CreateModelPackage", "ModelPackageName", "DescribeModelPackage"),
}
SAMPLES = {"string": "s3://b/k", "integer": 1, "float": 0.5, "double": 0.5, "boolean": True}


def all_steps(steps: list[Json]) -> Iterator[Json]:
    for step in steps:
        yield step
        for branch in ("IfSteps", "ElseSteps"):
            yield from all_steps(step["Arguments"].get(branch, []))


def fill(value: Any, shape: Shape | None, parameters: Json) -> Any:
    """Parameters by their value, other expressions by something of the type that is expected."""
    if isinstance(value, list):
        return [fill(item, getattr(shape, "member", None), parameters) for item in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {"Get"} and value["Get"].startswith("Parameters."):
        return resolve(value, Scope(parameters))
    if value.keys() in ({"Get"}, {"Std:JsonGet"}):
        return SAMPLES[shape.type_name if shape is not None else "string"]
    if value.keys() == {"Std:Join"}:
        return value["Std:Join"]["On"].join(
            str(fill(part, None, parameters)) for part in value["Std:Join"]["Values"]
        )
    members = getattr(shape, "members", {})
    inner = getattr(shape, "value", None)
    return {key: fill(item, members.get(key, inner), parameters) for key, item in value.items()}


def unknown_keys(value: Any, shape: Shape | None, where: str) -> Iterator[str]:
    """What botocore does not look for: keys that the service does not know."""
    if isinstance(value, list):
        for item in value:
            yield from unknown_keys(item, getattr(shape, "member", None), where)
    if isinstance(value, dict) and shape is not None and shape.type_name == "structure":
        for key, item in value.items():
            if key not in shape.members:
                yield f"{where}: the service knows no {key!r}"
            else:
                yield from unknown_keys(item, shape.members[key], f"{where}.{key}")


def limits(value: Any, shape: Shape | None, where: str) -> Iterator[str]:
    """Lengths and allowed words, which botocore leaves to the service."""
    if shape is None:
        return
    bound = shape.metadata
    if isinstance(value, str | list | dict) and len(value) > bound.get("max", len(value)):
        yield f"{where}: longer than {bound['max']}"
    if isinstance(value, str) and "enum" in bound and value not in bound["enum"]:
        yield f"{where}: {value!r} is none of its words"
    if isinstance(value, list):
        for item in value:
            yield from limits(item, shape.member, where)
    if isinstance(value, dict):
        for key, item in value.items():
            inner = shape.members.get(key) if shape.type_name == "structure" else shape.value
            yield from limits(item, inner, f"{where}.{key}")


def dangling(definition: Json) -> Iterator[str]:
    """References to steps, outputs, property files and parameters that do not exist."""
    steps = {step["Name"]: step for step in all_steps(definition["Steps"])}
    parameters = {parameter["Name"] for parameter in definition["Parameters"]}
    for reference in re.findall(r'"Get": "([^"]+)"', json.dumps(definition)):
        root, *path = path_parts(reference)
        if root == "Parameters" and path[0] not in parameters:
            yield f"no parameter for {reference}"
        if root == "Steps" and (path[0] not in steps or not has(steps[path[0]], path[1:])):
            yield f"nothing at {reference}"


def has(step: Json, path: list[str]) -> bool:
    if path[0] == "PropertyFiles":
        return path[1] in {file["PropertyFileName"] for file in step.get("PropertyFiles", [])}
    shape: Shape | None = SERVICE.operation_model(REQUESTS[step["Type"]][2]).output_shape
    for part in path:
        if shape is not None and shape.type_name == "list":
            outputs = step["Arguments"]["ProcessingOutputConfig"]["Outputs"]
            if part not in {output["OutputName"] for output in outputs}:
                return False
            shape = shape.member
        else:
            shape = getattr(shape, "members", {}).get(part)
        if shape is None:
            return False
    return True


def problems(definition: Json) -> list[str]:
    """Everything that the service would refuse, as far as botocore's model knows."""
    parameters = bind_parameters(definition, {})
    found = list(dangling(definition))
    names = [step["Name"] for step in all_steps(definition["Steps"])]
    found += [f"{name} stands twice" for name in names if names.count(name) > 1]
    for step in all_steps(definition["Steps"]):
        if step["Type"] not in REQUESTS:
            continue
        operation, given_name, _ = REQUESTS[step["Type"]]
        shape = SERVICE.operation_model(operation).input_shape
        request = fill(step["Arguments"], shape, parameters)
        found += unknown_keys(request, shape, step["Name"])
        if not found:
            found += limits(request, shape, step["Name"])
        report = ParamValidator().validate({given_name: "x", **request}, shape)
        found += [report.generate_report()] if report.has_errors() else []
    return found


def config(*overrides: str) -> Config:
    return parse_config({"task": "classification", "data": "s3://b/train"}, overrides)


ADDRESSES = {"weights": "s3://b/w.safetensors", "champion": "s3://b/champion/model.tar.gz"}


# ---- The definition


NETWORK = ("aws.subnets=[subnet-1, subnet-2]", "aws.security_groups=[sg-1]")
SEARCH = (
    "tuning.models=[resnet18, resnet34]",
    "tuning.optimizers=[adamw, lamb]",
    "tuning.learning_rate=[1e-5, 1e-2]",
)


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
    assert problems(build_definition(given, commit="0123abc", tune=tune, **addresses)) == []


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


# ---- On SageMaker


def arguments_of(definition: Json, name: str) -> Json:
    return next(dict(s["Arguments"]) for s in all_steps(definition["Steps"]) if s["Name"] == name)


def test_spot_training_may_wait_longer_than_it_may_run() -> None:
    train = arguments_of(build_definition(config("aws.spot=true")), "Train")
    assert train["EnableManagedSpotTraining"] is True
    limits = train["StoppingCondition"]
    assert limits["MaxWaitTimeInSeconds"] > limits["MaxRuntimeInSeconds"]
    assert "EnableManagedSpotTraining" not in arguments_of(build_definition(config()), "Train")


def test_every_job_runs_in_the_private_network() -> None:
    definition = build_definition(config(*NETWORK, *SEARCH, "aws.processing_instances=2"))
    network = {"SecurityGroupIds": ["sg-1"], "Subnets": ["subnet-1", "subnet-2"]}
    assert arguments_of(definition, "Train")["VpcConfig"] == network
    for name in ("Inspect", "Prepare", "Export", "Evaluate"):
        assert arguments_of(definition, name)["NetworkConfig"] == {"VpcConfig": network}
    tune = arguments_of(build_definition(config(*NETWORK, *SEARCH), tune=True), "Tune")
    assert tune["TrainingJobDefinition"]["VpcConfig"] == network


def test_subnets_need_a_security_group() -> None:
    with pytest.raises(ConfigError, match=r"aws\.security_groups: .* at least one"):
        build_definition(config("aws.subnets=[subnet-1]"))


def test_sagemakers_cache_sees_new_data_and_a_new_champion_and_nothing_else_that_changes() -> None:
    definition = build_definition(config("aws.processing_instances=2"), champion="s3://b/champion/")
    environments = {
        step["Name"]: set(step["Arguments"].get("Environment", {}))
        for step in definition["Steps"]
        if step["Type"] in ("Processing", "Training")
    }
    assert environments == {
        "Inspect": {"PIXLOOP_DATA_VERSION"},
        "Prepare": {"PIXLOOP_DATA_VERSION"},
        "Train": set(),
        "Export": {"PIXLOOP_COMMIT"},
        "Evaluate": {"PIXLOOP_CHAMPION_VERSION"},
    }
    # What differs from run to run may only be where outputs go, which its cache leaves out.
    for step in definition["Steps"][:-1]:
        kept = {k: v for k, v in step["Arguments"].items() if k != "ProcessingOutputConfig"}
        assert "Execution." not in json.dumps(kept), step["Name"]


def test_pictures_are_shared_out_where_several_instances_check_them() -> None:
    assert build_definition(config())["Steps"][0]["Name"] == "Prepare"
    definition = build_definition(config("aws.processing_instances=3"))
    assert [s["Name"] for s in definition["Steps"]][:2] == ["Inspect", "Prepare"]
    parameters = bind_parameters(definition, {})
    inspect, prepare = (arguments_of(definition, name) for name in ("Inspect", "Prepare"))
    cluster = resolve(inspect["ProcessingResources"], Scope(parameters))["ClusterConfig"]
    assert cluster["InstanceCount"] == 3
    assert prepare["ProcessingResources"]["ClusterConfig"]["InstanceCount"] == 1

    def how(arguments: Json) -> dict[str, str]:
        return {
            i["InputName"]: i["S3Input"]["S3DataDistributionType"]
            for i in arguments["ProcessingInputs"]
        }

    assert how(inspect) == {"train": "ShardedByS3Key", "test": "ShardedByS3Key"}
    assert how(prepare) == dict.fromkeys(("train", "test", "inspections"), "FullyReplicated")


# ---- Tuning


@pytest.mark.parametrize(
    ("task", "metric"), [("classification", "f1_macro"), ("detection", "map_50")]
)
def test_a_search_maximises_what_the_validation_pictures_show(task: str, metric: str) -> None:
    given = config(f"task={task}", *SEARCH, "tuning.trials=3", "tuning.parallel=9")
    tune = arguments_of(build_definition(given, tune=True), "Tune")
    search, job = tune["HyperParameterTuningJobConfig"], tune["TrainingJobDefinition"]
    objective = {"Type": "Maximize", "MetricName": metric}
    assert search["HyperParameterTuningJobObjective"] == objective
    assert metric in {d["Name"] for d in job["AlgorithmSpecification"]["MetricDefinitions"]}
    assert search["ResourceLimits"] == {"MaxNumberOfTrainingJobs": 3, "MaxParallelTrainingJobs": 3}


def test_what_is_searched_is_no_longer_fixed_and_the_rest_is() -> None:
    given = config("tuning.models=[resnet18]", "tuning.learning_rate=[1e-5, 1e-2]")
    definition = build_definition(given, tune=True)
    tune = arguments_of(definition, "Tune")
    ranges = tune["HyperParameterTuningJobConfig"]["ParameterRanges"]
    static = set(tune["TrainingJobDefinition"]["StaticHyperParameters"])
    searched = {r["Name"] for each in ranges.values() for r in each}
    assert searched == {"model.name", "training.learning_rate"}
    trained = set(arguments_of(build_definition(given), "Train")["HyperParameters"])
    assert static == trained - searched
    [learning_rate] = ranges["ContinuousParameterRanges"]
    assert learning_rate["ScalingType"] == "Logarithmic"
    assert float(learning_rate["MinValue"]) == 1e-5


def test_the_best_training_is_exported() -> None:
    definition = build_definition(config(*SEARCH), tune=True)
    [model] = [
        i["S3Input"]["S3Uri"]
        for i in arguments_of(definition, "Export")["ProcessingInputs"]
        if i["InputName"] == "model"
    ]
    scope = Scope({"OutputUri": "s3://b/p"}, steps={"Tune": BEST})
    assert resolve(model, scope) == "s3://b/p/models/tune-003/output/model.tar.gz"
    told = arguments_of(definition, "Register")["CustomerMetadataProperties"]
    assert "model" not in told
    assert resolve(told["training_job"], scope) == "tune-003"


BEST = {"BestTrainingJob": {"TrainingJobName": "tune-003"}}


def test_there_must_be_something_to_search() -> None:
    with pytest.raises(ConfigError, match=r"nothing to search\. Set tuning\.models"):
        build_definition(config(), tune=True)


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
