from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pixloop.config import Config
from pixloop.config_file import load_config, render_config
from pixloop.errors import ConfigError
from pixloop.tuning.defaults import MARK, difference, edit_settings, read, write

FILE = """\
# ours
task: classification   # what
data: pictures
training:
  # slow but sure
  learning_rate: 0.001   # from the paper
  epochs: 3
model: {name: resnet18, image_size: 64}   # small
"""
BEST = {
    "training.learning_rate": 0.02,
    "training.optimizer": "lamb",
    "model.name": "resnet34",
    "model.resize": "squash",
}


def test_only_the_values_change_and_every_comment_stays() -> None:
    assert (
        edit_settings(FILE, BEST, "study s")
        == """\
# ours
task: classification   # what
data: pictures
training:
  # slow but sure
  # tuned: study s
  optimizer: lamb
  learning_rate: 0.02    # from the paper
  epochs: 3
# tuned: study s
model: {resize: squash, name: resnet34, image_size: 64}   # small
"""
    )


def test_the_comment_of_an_earlier_search_is_replaced() -> None:
    once = edit_settings(FILE, BEST, "study s")
    twice = edit_settings(once, {"training.learning_rate": 0.03, "model.name": "x"}, "study t")
    assert "study s" not in twice
    assert twice.count("study t") == 2
    assert "# slow but sure" in twice


def test_a_file_that_init_wrote_gets_keys_where_they_belong(tmp_path: Path) -> None:
    file = tmp_path / "pixloop.yaml"
    file.write_text(render_config({"task": "classification", "data": {"train": "p"}}))
    before = read(file)
    after = edit_settings(before, BEST, "study s")
    write(file, before, after)
    config = load_config(file)
    assert config.training.optimizer == "lamb"
    assert config.model.name == "resnet34"
    changed = [line for line in difference(before, after, "f").splitlines() if line[0] in "+-"]
    assert (
        len(changed) == 2 + 2 * 4 + 2
    )  # the diff's head, four keys before and after, two comments
    for line in after.splitlines():
        if line.lstrip().startswith(("optimizer:", "learning_rate: 0.02", "resize: squash")):
            assert line.index(" # ") == 43  # in one column with all others


def test_a_note_that_looks_like_a_key_is_left_alone() -> None:
    text = "task: classification\ndata: p\ntraining:\n  # epochs: 3 are too few\n  # epochs: 7\n"
    after = edit_settings(text + "  batch_size: 8\n", {"training.epochs": 4}, "s")
    assert "  # epochs: 3 are too few\n  # epochs: 7\n" in after
    assert yaml.safe_load(after)["training"] == {"epochs": 4, "batch_size": 8}


def test_only_the_section_s_own_line_is_taken() -> None:
    text = (
        "task: classification\ndata: p\nmodel:\n  # name: x\ntraining:\n  # epochs: 30   # long\n"
    )
    epochs = Config.model_fields["training"].annotation().epochs
    text = text.replace("epochs: 30", f"epochs: {epochs}")
    after = edit_settings(text, {"training.epochs": 4}, "s")
    assert "  epochs: 4" in after
    assert "# epochs" not in after
    assert "# long" in after
    assert "  # name: x\n" in after


def test_a_list_over_several_lines_becomes_one() -> None:
    text = "task: classification\ndata: p\ntraining:\n  augmentations:\n    - flip\n    - blur\n"
    after = edit_settings(text, {"training.augmentations": ["color"]}, "s")
    assert yaml.safe_load(after)["training"] == {"augmentations": ["color"]}


def test_what_cannot_be_edited_safely_says_what_to_write() -> None:
    text = "task: classification\ndata: p\nx: &t\n  epochs: 3\n"
    with pytest.raises(ConfigError, match=r"by hand:\n  training.epochs = 4"):
        edit_settings(text, {"training.epochs": 4}, "s")


def test_a_comment_that_an_edit_would_cost_is_not_lost() -> None:
    head = "task: classification\ndata: p\ntraining:\n"
    text = head + "  augmentations:\n    - flip  # why\n    - blur\n"
    with pytest.raises(ConfigError, match=r"by hand:\n  training.augmentations = \[color\]"):
        edit_settings(text, {"training.augmentations": ["color"]}, "s")


def test_a_file_that_changed_meanwhile_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "pixloop.yaml"
    file.write_text(FILE)
    before = read(file)
    file.write_text(FILE + "# more\n")
    with pytest.raises(ConfigError, match="changed meanwhile"):
        write(file, before, "x")
    assert file.read_text() == FILE + "# more\n"


SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "training.learning_rate": st.floats(1e-6, 1),
        "training.epochs": st.integers(1, 99),
        "training.optimizer": st.sampled_from(["adamw", "sgd", "no", "1e5"]),
        "training.augmentations": st.lists(st.sampled_from(["flip", "blur"]), unique=True),
        "model.name": st.sampled_from(["a: b", "resnet", "#x"]),
    },
)


@given(SETTINGS.filter(bool), SETTINGS, st.booleans(), st.booleans())
def test_any_edit_says_what_it_should(new, old, flow, comment) -> None:
    sections: dict = {"task": "classification", "data": "p"}
    for key, value in old.items():
        sections.setdefault(key.partition(".")[0], {})[key.partition(".")[2]] = value
    text = yaml.safe_dump(sections, default_flow_style=None if flow else False, sort_keys=False)
    if text.startswith("{"):
        return  # see test_what_cannot_be_edited_safely_says_what_to_write
    text += "# the end\n" if comment else ""
    edited = edit_settings(text, new, "note")  # which holds it against what is meant
    assert MARK in edited
    assert ("# the end" in edited) == comment
