import pytest

from pixloop.config_file import parse_config
from pixloop.errors import ConfigError
from pixloop.training.names import check_names


def configure(task, *overrides):
    return parse_config({"task": task, "data": "."}, overrides)


@pytest.mark.parametrize("task", ["classification", "detection"])
def test_the_defaults_are_there(task):
    check_names(configure(task))


@pytest.mark.parametrize(
    ("task", "override", "says"),
    [
        (
            "classification",
            "model.name=mobilenetv3_large_10",
            r"model\.name.*mobilenetv3_large_100",
        ),
        ("detection", "model.name=fasterrcnn_resnet50", r"model\.name.*fasterrcnn_resnet50_fpn"),
        ("detection", "model.name=resnet18", r"model\.name: 'resnet18' is a classifier"),
        ("classification", "training.optimizer=adamww", r"training\.optimizer.*adamw"),
        ("detection", "training.optimizer=adamww", r"training\.optimizer.*adamw"),
        ("classification", "training.augmentations=[flp]", r"training\.augmentations.*'flip'"),
    ],
)
def test_a_wrong_name_gets_its_key_and_the_nearest(task, override, says):
    with pytest.raises(ConfigError, match=says):
        check_names(configure(task, override))


def test_all_that_is_wrong_is_said_at_once():
    wrong = configure("classification", "model.name=resnet81", "training.augmentations=[flp]")

    with pytest.raises(ConfigError) as caught:
        check_names(wrong)

    keys = [line.partition(":")[0] for line in str(caught.value).splitlines()]
    assert keys == ["model.name", "training.augmentations"]
