import shlex
from typing import Any

import pytest
import yaml
from tests.conftest import QUICK

from pixloop.config import FILE_NAME, config_keys, flatten
from pixloop.config_file import load_config, parse_config
from pixloop.project import Project
from pixloop.web.runs.command import run_arguments, run_command
from pixloop.web.runs.form import check, form_sections, read_filled
from pixloop.web.runs.values import set_text


@pytest.fixture
def fresh(tmp_path) -> Project:
    return Project.init(tmp_path / "p", str(tmp_path), settings=QUICK)


def fields_of(project: Project):
    return {
        field.key: field for section in form_sections(project.config) for field in section.fields
    }


def test_every_field_is_a_key_with_a_meaning_and_its_value_of_now(fresh):
    fields, values = fields_of(fresh), flatten(fresh.config)
    assert fields.keys() <= set(config_keys())
    assert {"training.epochs", "model.name", "data.train", "gate.minimum"} <= fields.keys()
    assert not {"serving.port", "registry.url", "aws.region", "task", "name"} & fields.keys()
    for key, field in fields.items():
        assert field.about, key
        assert field.value == values[key], key
    assert [s.name for s in form_sections(fresh.config) if s.open] == ["training", "model"]


def test_a_field_is_as_its_key_s_type_says(fresh):
    fields = fields_of(fresh)
    assert fields["training.schedule"].choices == ("cosine", "constant")
    assert fields["model.pretrained"].kind == "switch"
    size = fields["model.image_size"]
    assert (size.kind, size.bounds) == ("number", {"step": "1", "min": "16", "max": "2048"})
    assert size.limits == "at least 16, at most 2048"
    assert fields["training.learning_rate"].limits == "above 0"
    assert fields["training.workers"].nullable
    assert not fields["training.epochs"].nullable
    assert fields["robustness.severities"].text == "1, 2, 3, 4, 5"
    assert fields["export.formats"].choices == ("torchscript", "onnx", "openvino")


def test_a_form_that_is_sent_as_it_came_changes_nothing(fresh):
    filled = {key: field.text for key, field in fields_of(fresh).items()}
    assert read_filled(fresh, filled).changes == ()
    assert read_filled(fresh, {}).changes == ()


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("training.epochs", "3", 3),
        ("training.learning_rate", "1e-4", 1e-4),
        ("training.workers", "2", 2),
        ("training.augmentations", "flip, blur", ("flip", "blur")),
        ("training.augmentations", "flip", ("flip",)),
        ("model.pretrained", "true", True),
        ("model.name", "null", "null"),
        ("model.name", "3", "3"),
        ("model.name", "yes", "yes"),
        ("model.name", "a: b # c", "a: b # c"),
        ("model.name", "--help", "--help"),
        ("model.weights", "", None),
        ("model.weights", "it's.pt", "it's.pt"),
        ("data.classes", "a, b", ("a", "b")),
        ("data.classes", '["a, b", "true", c]', ("a, b", "true", "c")),
        ("data.classes", "1, 2", ("1", "2")),
        ("robustness.severities", "1, 5", (1, 5)),
        (
            "card.intended_use",
            "Ünïcode\u2028 'and' \"so on\" on",
            "Ünïcode\u2028 'and' \"so on\" on",
        ),
    ],
)
def test_what_is_filled_in_is_what_the_run_s_configuration_holds(fresh, key, text, value):
    read = read_filled(fresh, {key: text})
    assert not read.errors
    settings = shlex.split(run_command(run_arguments(fresh, read.changes)))[3::2]
    assert settings == list(read.changes)  # as a shell would hand them on
    config: Any = load_config(fresh.folder / FILE_NAME, read.changes)
    for name in key.split("."):
        config = getattr(config, name)
    assert config == value


@pytest.mark.parametrize(
    "value", ["3", "null", "a", "", "[x]", "1e3", " a", "~", "é", "x: y", "on"]
)
def test_texts_come_back_as_texts(value):
    raw = {"task": "classification", "data": "p"}
    assert parse_config(raw, [f"card.data={set_text(value)}"]).card.data == value
    assert yaml.safe_load(set_text(value)) == value


def test_what_is_wrong_is_said_at_its_key_in_the_configuration_s_own_words(fresh):
    read = read_filled(
        fresh,
        {
            "training.epochs": "-1",
            "training.batch_size": "many",
            "robustness.severities": "1, 9",
            "model.image_size": "64",
        },
    )
    assert read.errors.keys() == {
        "training.epochs",
        "training.batch_size",
        "robustness.severities",
    }
    assert "greater than or equal to 0" in read.errors["training.epochs"]
    assert "(it is 9)" in read.errors["robustness.severities"]


def test_what_is_wrong_with_the_whole_is_said_of_the_whole(fresh):
    errors = read_filled(fresh, {"gate.metric": "map"}).errors
    assert set(errors) <= {"", "gate.metric"}
    assert "map" in " ".join(errors.values())
    assert check(fresh, ["training.epochs=3"]) == {}


def test_what_the_pages_were_opened_with_holds_for_the_run_too(fresh):
    opened = Project.open(fresh.folder, ["training.epochs=7", "training.seed=1"])
    read = read_filled(opened, {"training.epochs": "3"})
    assert run_arguments(opened, read.changes) == (
        "run", "--set=training.seed=1", "--set=training.epochs=3"
    )  # fmt: skip
