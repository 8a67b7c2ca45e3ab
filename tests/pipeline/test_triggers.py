import importlib.util
import json
import os
import time
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pixloop import config_loop
from pixloop.pipeline.triggers import (
    BY_NAME,
    TRIGGERS,
    describe,
    folder_signature,
    is_due,
    raw_signature,
    render_table,
)

ROOT = Path(__file__).parents[2]


class _Loader(yaml.SafeLoader):
    """CloudFormation's tags as what stands behind them."""


def _plain(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> object:
    if isinstance(node, yaml.ScalarNode):
        return loader.construct_scalar(node)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    assert isinstance(node, yaml.MappingNode)
    return loader.construct_mapping(node, deep=True)


_Loader.add_multi_constructor("!", _plain)


def resources(stack: str) -> dict:
    file = ROOT / "src/pixloop/aws/stacks" / f"{stack}.yaml"
    return yaml.load(file.read_text(encoding="utf-8"), _Loader)["Resources"]  # noqa: S506


# ---- The list


def test_the_list_has_every_trigger_that_can_be_enabled() -> None:
    assert set(config_loop.TRIGGERS) <= set(BY_NAME)
    assert len(BY_NAME) == len(TRIGGERS)


def test_what_catches_a_trigger_on_aws_is_in_its_stack() -> None:
    for trigger in TRIGGERS:
        assert trigger.rule in resources(trigger.stack), trigger.name
        assert f"`{trigger.rule}`" in trigger.on_aws or trigger.name == "picture_uploaded"


def test_every_rule_of_the_stacks_is_in_the_list() -> None:
    rules = {
        name
        for stack in ("learning", "serving")
        for name, resource in resources(stack).items()
        if resource["Type"] == "AWS::Events::Rule"
    }
    assert rules == {t.rule for t in TRIGGERS if t.on_aws.startswith("EventBridge rule")}


def test_what_starts_a_run_sends_its_name_to_the_queue() -> None:
    for trigger in TRIGGERS:
        resource = resources(trigger.stack)[trigger.rule]
        if resource["Type"] != "AWS::Events::Rule" or trigger.stack != "learning":
            continue
        [target] = resource["Properties"]["Targets"]
        template = target["InputTransformer"]["InputTemplate"]
        sent = template.replace("<", '"<').replace(">", '>"')
        assert json.loads(sent)["trigger"] == trigger.what
        assert trigger.starts in ("run", "review")


def test_the_page_has_the_table() -> None:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs/generate.py")
    assert spec is not None
    assert spec.loader is not None
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    assert generate.render_architecture(page) == page
    assert render_table() in page
    stale = page.replace("| new raw data |", "| old raw data |")
    assert generate.render_architecture(stale) == page


def test_triggers_in_words() -> None:
    assert describe(["drift", "of a newer pixloop"]) == "drift alarm, of a newer pixloop"
    assert describe([]) == ""


# ---- Signatures of folders


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("cat/1.jpg", "cat/2.jpg", "dog/deep/1.jpg"):
        file = tmp_path / "raw" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"picture")
        os.utime(file, (1, 1))
    return tmp_path / "raw"


def added(folder: Path) -> None:
    (folder / "cat" / "3.jpg").write_bytes(b"picture")


def removed(folder: Path) -> None:
    (folder / "cat" / "1.jpg").unlink()


def grown(folder: Path) -> None:
    (folder / "cat" / "1.jpg").write_bytes(b"another picture")
    os.utime(folder / "cat" / "1.jpg", (1, 1))


def written_again(folder: Path) -> None:
    os.utime(folder / "cat" / "1.jpg", (2, 2))


def moved(folder: Path) -> None:
    (folder / "cat" / "1.jpg").rename(folder / "dog" / "1.jpg")


def renamed(folder: Path) -> None:
    (folder / "dog").rename(folder / "wolf")


@pytest.mark.parametrize("change", [added, removed, grown, written_again, moved, renamed])
def test_a_signature_changes_with_the_files(folder: Path, change) -> None:
    before = folder_signature(folder)
    assert folder_signature(folder) == before
    change(folder)
    assert folder_signature(folder) != before


def test_what_is_hidden_or_empty_changes_nothing(folder: Path) -> None:
    before = folder_signature(folder)
    (folder / ".cache").mkdir()
    (folder / ".cache" / "1.jpg").write_bytes(b"picture")
    (folder / "cat" / ".3.jpg.part").write_bytes(b"half")
    (folder / "bird").mkdir()
    (folder / "cat" / "gone.jpg").symlink_to(folder / "nowhere")
    assert folder_signature(folder) == before


def test_linked_folders_are_looked_at_and_loops_end(folder: Path, tmp_path: Path) -> None:
    before = folder_signature(folder)
    (folder / "cat" / "itself").symlink_to(folder)
    assert folder_signature(folder) == before
    elsewhere = tmp_path / "birds"
    elsewhere.mkdir()
    (folder / "bird").symlink_to(elsewhere)
    (elsewhere / "1.jpg").write_bytes(b"picture")
    assert folder_signature(folder) != before


def test_a_file_has_a_signature_and_nothing_has_none(folder: Path) -> None:
    file = folder / "cat" / "1.jpg"
    before = folder_signature(file)
    assert before.startswith("1-")
    file.write_bytes(b"more of it")
    assert folder_signature(file) != before
    assert folder_signature(folder / "nowhere") == ""


def test_addresses_are_not_looked_at(folder: Path) -> None:
    found = raw_signature([folder, "s3://bucket/raw", folder / "cat"])
    assert found == f"{folder_signature(folder)} s3://bucket/raw {folder_signature(folder / 'cat')}"


@given(st.lists(st.text("ab", min_size=1, max_size=3), unique=True), st.randoms())
def test_the_order_of_files_is_no_matter(names: list[str], random) -> None:
    import tempfile

    signatures = set()
    for _ in range(2):
        with tempfile.TemporaryDirectory() as temporary:
            random.shuffle(names)
            for name in names:
                (Path(temporary) / f"{name}.jpg").write_bytes(name.encode())
                os.utime(Path(temporary) / f"{name}.jpg", (1, 1))
            signatures.add(folder_signature(Path(temporary)))
    assert len(signatures) == 1


@pytest.mark.slow
def test_many_files_take_no_more_memory(tmp_path: Path) -> None:
    import tracemalloc

    most = []
    for number in (100, 20_000):
        folder = tmp_path / str(number)
        folder.mkdir()
        for index in range(number):
            (folder / f"{index:06d}.jpg").touch()
        tracemalloc.start()
        folder_signature(folder)
        most.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert most[1] < 3 * most[0] + 50_000


# ---- Time


@given(st.floats(0, 4e9), st.floats(0, 4e9), st.floats(1, 1e7))
def test_a_schedule_is_never_late_by_more_than_its_period(last: float, now: float, every: float):
    due = is_due(now, last, every)
    assert due == (now < last or now - last >= every)
    assert is_due(time.time(), None, every)
    assert not is_due(now, last, None)
