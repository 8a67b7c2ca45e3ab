import pytest
from tests.tuning.conftest import make_config

from pixloop.errors import ConfigError
from pixloop.pipeline.search_space import Choice, Range
from pixloop.tuning.space import distributions, params_of, settings_of, size, tuning_space


def test_named_keys_and_the_space_are_searched_together() -> None:
    space = tuning_space(
        make_config(
            "tuning.optimizers=[adamw, sgd]",
            "tuning.learning_rate=[1e-4, 1e-2]",
            "tuning.space={training.augmentations: [[flip], [flip, blur, color, rotate, noise]], "
            "training.batch_size: {low: 16, high: 128, step: 16}}",
        )
    )
    assert space["training.optimizer"] == Choice(("adamw", "sgd"))
    assert space["training.learning_rate"] == Range(1e-4, 1e-2, log=True)
    assert space["training.batch_size"] == Range(16, 128, step=16, whole=True)
    assert isinstance(space["training.augmentations"], Choice)


def test_the_current_setting_is_always_in_the_space() -> None:
    space = tuning_space(
        make_config("tuning.learning_rate=[1e-3, 1e-2]", "tuning.models=[resnet18]")
    )
    assert space["training.learning_rate"] == Range(3e-4, 1e-2, log=True)
    assert space["model.name"] == Choice(("mobilenetv3_large_100", "resnet18"))


def test_without_a_space_there_is_a_default() -> None:
    assert "training.learning_rate" in tuning_space(make_config())


@pytest.mark.parametrize(
    ("space", "says"),
    [
        ("{training.learning_rte: [1, 2]}", "Did you mean 'training.learning_rate'"),
        (
            "{training.seed: [1, 2]}",
            "'training.seed' is no setting that can be searched: a search over seeds finds luck",
        ),
        ("{training.workers: [1, 2]}", "it does not change what is learned"),
        ("{gate.minimum: {low: 0.1, high: 0.2}}", "'gate.minimum' is no setting"),
        ("{training.optimizer: {low: 1, high: 2}}", "needs a list of choices"),
        ("{training.epochs: {low: 0.5, high: 2}}", "whole numbers"),
        ("{training.epochs: {low: 3, high: 2}}", "low below high"),
        ("{training.label_smoothing: {low: 0, high: 2}}", "training.label_smoothing"),
        ("{training.schedule: [cosine, none]}", "training.schedule"),
        ("{training.epochs: []}", "tuning.space"),
        ("{training.batch_size: {low: 16, high: 32, step: 10}}", "none of 16, 26"),
    ],
)
def test_a_wrong_space_is_named(space: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        tuning_space(make_config(f"tuning.space={space}"))
    assert says in str(caught.value)


def test_settings_survive_the_way_through_optuna() -> None:
    config = make_config(
        "tuning.space={training.augmentations: [[flip], []], training.head_first: [true, false], "
        "training.learning_rate: {low: 0.0001, high: 0.01, log: true}}"
    )
    found = distributions(tuning_space(config))
    settings = {
        "training.augmentations": ["flip"],
        "training.head_first": False,
        "training.learning_rate": 0.002,
    }
    assert settings_of(params_of(settings, found), found) == settings


def test_the_size_of_a_space() -> None:
    config = make_config(
        "tuning.models=[resnet18, resnet34]",
        "tuning.space={training.batch_size: {low: 32, high: 128, step: 32}}",
    )
    assert size(tuning_space(config)) == 3 * 4
    assert size(tuning_space(make_config())) is None
