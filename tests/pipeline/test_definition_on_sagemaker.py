"""What of the definition is for SageMaker alone: its machines, its cache, and its search."""

import json
from typing import Any

import pytest
from tests.pipeline.request_shapes import NETWORK, SEARCH, arguments_of, config, problems

from pixloop.errors import ConfigError
from pixloop.pipeline.definition import build_definition
from pixloop.pipeline.expressions import Scope, resolve
from pixloop.pipeline.order import bind_parameters

Json = dict[str, Any]

# ---- Machines and cache


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


def test_every_kind_of_setting_has_its_kind_of_range() -> None:
    space = {
        "training.augmentations": [["flip"], ["flip", "blur"]],
        "training.batch_size": {"low": 16, "high": 128, "log": True},
        "training.label_smoothing": {"low": 0, "high": 0.2},
        "model.image_size": {"low": 96, "high": 160, "step": 32},
    }
    given = config(f"tuning.space={json.dumps(space)}", "tuning.minutes=30")
    tune = arguments_of(build_definition(given, tune=True), "Tune")
    search = tune["HyperParameterTuningJobConfig"]
    assert search["ParameterRanges"] == {
        "CategoricalParameterRanges": [
            {"Name": "training.augmentations", "Values": ['["flip"]', '["flip", "blur"]']},
            {"Name": "model.image_size", "Values": ["96", "128", "160"]},
        ],
        "ContinuousParameterRanges": [
            {
                "Name": "training.label_smoothing",
                "MinValue": "0.0",
                "MaxValue": "0.2",
                "ScalingType": "Auto",
            }
        ],
        "IntegerParameterRanges": [
            {
                "Name": "training.batch_size",
                "MinValue": "16",
                "MaxValue": "128",
                "ScalingType": "Logarithmic",
            }
        ],
    }
    assert search["ResourceLimits"]["MaxRuntimeInSeconds"] == 1800
    assert (search["Strategy"], search["TrainingJobEarlyStoppingType"]) == ("Bayesian", "Auto")
    assert problems(build_definition(given, tune=True)) == []


def test_a_random_search_without_early_stopping_is_one_on_sagemaker() -> None:
    given = config(*SEARCH, "tuning.sampler=random", "tuning.pruner=none")
    search = arguments_of(build_definition(given, tune=True), "Tune")[
        "HyperParameterTuningJobConfig"
    ]
    assert (search["Strategy"], search["TrainingJobEarlyStoppingType"]) == ("Random", "Off")


def test_more_choices_than_sagemaker_takes_are_refused() -> None:
    with pytest.raises(ConfigError, match="has 31 choices; SageMaker takes 30"):
        build_definition(
            config(f"tuning.space={{training.batch_size: {list(range(1, 32))}}}"), tune=True
        )


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
