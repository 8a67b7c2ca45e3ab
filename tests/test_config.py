import json
import re

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pixloop.config import Config, config_keys, flatten
from pixloop.config_file import load_config, parse_config, render_config
from pixloop.errors import ConfigError

SMALLEST = {"task": "classification", "data": "pictures"}


def test_task_and_data_are_enough():
    config = parse_config(SMALLEST)

    assert config.data.train == "pictures"
    assert config.training.epochs > 0


@pytest.mark.parametrize(
    ("raw", "overrides", "says"),
    [
        ({"task": "classification"}, [], "'data' is missing"),
        ({**SMALLEST, "trainin": {}}, [], "Did you mean 'training'"),
        ({**SMALLEST, "training": {"epoch": 3}}, [], "Did you mean 'training.epochs'"),
        ({**SMALLEST, "training": {"lr": 0.1}}, [], "Did you mean 'training.learning_rate'"),
        (SMALLEST, ["training.bs=8"], "Did you mean 'training.batch_size'"),
        (SMALLEST, ["modle.name=x"], "Did you mean 'model.name'"),
        ({**SMALLEST, "training": {"epochs": "many"}}, [], "training.epochs"),
        ({**SMALLEST, "training": {"epochs": -1}}, [], "training.epochs"),
        (SMALLEST, ["data.classes=cat, dog"], "'data.classes': expected a list, such as [cat, "),
        ({**SMALLEST, "task": "poetry"}, [], "task"),
        ({**SMALLEST, "name": "a/b"}, [], "name"),
        (SMALLEST, ["epochs=3"], "Did you mean 'training.epochs'"),
        (SMALLEST, ["training.epochs"], "expected key=value"),
        (SMALLEST, ["training.epochs=[1"], "not valid YAML"),
        (SMALLEST, ["robustness.severities=[]"], "expected a list of at least 1 (it is [])"),
        (SMALLEST, ["training.epochs=-1"], "--set: 'training.epochs': it must be greater than"),
        ({**SMALLEST, "training": {"epochs": -1}}, ["training.seed=1"], "pixloop.yaml: 'training."),
        (SMALLEST, ["training.learning_rate=.inf"], "it must be a finite number (it is inf)"),
        (SMALLEST, ["training.workers=100000"], "it must be less than or equal to 1024"),
        ({**SMALLEST, "model": "resnet18"}, ["model.image_size=64"], "'model' must hold keys"),
    ],
)
def test_what_is_wrong_is_named(raw, overrides, says):
    with pytest.raises(ConfigError) as caught:
        parse_config(raw, overrides)

    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("override", "says"),
    [
        (
            "tuning.space={training.epochs: {low: 3, high: 1}}",
            "'tuning.space.training.epochs': expected low below high (it is",
        ),
        (
            "tuning.space={training.epochs: {low: few, high: 9}}",
            "'tuning.space.training.epochs.low': it must be a valid number",
        ),
        (
            "tuning.space={training.epochs: []}",
            "'tuning.space.training.epochs': expected a list of at least 1 (",
        ),
        ("robustness.severities=[9]", "'robustness.severities.0': it must be less than"),
    ],
)
def test_what_is_wrong_is_told_once_and_without_inner_names(override, says):
    with pytest.raises(ConfigError) as caught:
        parse_config(SMALLEST, [override])

    assert f"--set: {says}" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_missing_or_broken_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match="pixloop init"):
        load_config(tmp_path / "pixloop.yaml")

    for content in (b"a: [", b"- 1", b"\xff\xfe\x00", b""):
        (tmp_path / "pixloop.yaml").write_bytes(content)
        with pytest.raises(ConfigError, match=r"pixloop\.yaml"):
            load_config(tmp_path / "pixloop.yaml")


def test_a_folder_that_is_a_file_or_the_other_way_round_is_named(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "pixloop.yaml").mkdir()
    for path in (tmp_path / "file" / "pixloop.yaml", tmp_path / "pixloop.yaml"):
        with pytest.raises(ConfigError, match=r"pixloop\.yaml cannot be read"):
            load_config(path)


@pytest.mark.parametrize(
    "schedule",
    ["rate(1 day)", "rate(12 hours)", "cron(0 3 ? * MON *)", "cron(0/15 8-18 ? * 2-6 *)"],
)
def test_a_schedule_is_eventbridges(schedule):
    raw = {"task": "classification", "data": "p", "aws": {"schedule": schedule}}
    assert parse_config(raw).aws.schedule == schedule


def test_a_key_that_is_there_twice_is_an_error(tmp_path):
    (tmp_path / "pixloop.yaml").write_text("task: classification\ndata: a\ndata: b\n")

    with pytest.raises(ConfigError, match="'data' is there twice"):
        load_config(tmp_path / "pixloop.yaml")


def test_overrides_win_and_take_yaml_values():
    config = parse_config(
        {**SMALLEST, "training": {"epochs": 9}},
        ["training.epochs=3", "training.learning_rate=1e-4", "training.augmentations=[flip]"],
    )

    assert config.training.epochs == 3
    assert config.training.learning_rate == 1e-4
    assert config.training.augmentations == ("flip",)


def test_an_override_reaches_into_short_data():
    assert parse_config(SMALLEST, ["data.test=other"]).data.train == "pictures"


@given(
    epochs=st.integers(1, 1000),
    rate=st.floats(1e-9, 10),
    name=st.from_regex(r"[a-z][a-z0-9_.]{0,20}", fullmatch=True),
    weights=st.none() | st.text(min_size=1),
)
def test_flat_keys_give_the_configuration_back(epochs, rate, name, weights):
    config = Config.model_validate(
        {
            "task": "classification",
            "data": {"train": "p"},
            "training": {"epochs": epochs, "learning_rate": rate},
            "model": {"name": name, "weights": weights},
        }
    )

    flat = flatten(config)

    assert list(flat) == config_keys()
    assert parse_config({}, [f"{key}={json.dumps(value)}" for key, value in flat.items()]) == config


def test_the_written_file_holds_what_was_chosen_and_shows_every_key():
    chosen = {**SMALLEST, "data": {"train": "a: 'b' # c"}, "model": {"image_size": 64}}

    text = render_config(chosen)

    assert parse_config(yaml.safe_load(text)) == parse_config(chosen)
    for key in config_keys():
        assert f"{key.rpartition('.')[2]}: " in text


def test_every_commented_key_can_be_uncommented():
    lines = render_config(SMALLEST | {"data": {"train": "p"}}).splitlines()

    uncommented = [
        line.replace("  # ", "  ", 1) if line.startswith("  # ") else line for line in lines
    ]

    everything = yaml.safe_load("\n".join(uncommented))
    assert parse_config(everything) == parse_config({**SMALLEST, "data": "p"})
    assert set(everything["training"]) == set(
        Config.model_fields["training"].annotation.model_fields
    )


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("aws.training_instance=g5.xlarge", "as ml.g5.xlarge"),
        ("aws.region=mars-1", "such as eu-west-1"),
        ("aws.schedule=every day", "rate(7 days)"),
        ("aws.schedule=rate(0 days)", "rate(7 days)"),
        ("aws.schedule=rate(1 days)", "rate(7 days)"),
        ("aws.schedule=cron(nonsense)", "rate(7 days)"),
        ("aws.role=me", "a role's ARN"),
        ("aws.bucket=s3://pictures", "without s3://"),
        ("aws.pictures_bucket=A_B", "without s3://"),
        ("aws.subnets=[subnet-1]", "go together"),
        ("aws.serving_instances=[3, 1]", "least, greatest"),
        ("tuning.learning_rate=[0.1, 0.01]", "least, greatest"),
    ],
)
def test_what_aws_would_refuse_is_refused_here(override: str, says: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(says)):
        parse_config({"task": "classification", "data": "p"}, [override])


def test_an_unknown_key_is_one_without_a_value_too() -> None:
    with pytest.raises(ConfigError, match="gate"):
        parse_config({"task": "classification", "data": "p", "gaet": None})
    assert parse_config({"task": "classification", "data": "p", "gate": None}).gate.minimum == 0.8
