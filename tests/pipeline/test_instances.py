"""Processing jobs on several instances: shares of inputs, and outputs that come together."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pixloop.errors import PipelineError
from pixloop.pipeline.local import run_local
from pixloop.pipeline.runs import RunRecord
from pixloop.pipeline.shares import files_below

Json = dict[str, Any]
pytestmark = pytest.mark.usefixtures("trace")

#: Every instance lists what it was given, in a file of its own.
LIST = """
    import glob
    hosts = json.loads((ml / "config/resourceconfig.json").read_text())
    note(hosts["current_host"])
    def files(key):
        found = glob.glob("**", root_dir=into(key), recursive=True)  # it follows links
        return sorted(name for name in found if (into(key) / name).is_file())
    seen = {key: files(key) for key in ("shared", "whole")}
    name = hosts["current_host"] + ".json"
    (out("result") / name).write_text(json.dumps({**seen, "hosts": hosts["hosts"]}))
    (out("result") / "same").write_text("all alike")"""


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / ".pixloop"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Five files in two folders, one of them behind a link."""
    folder, other = tmp_path / "data", tmp_path / "other"
    (folder / "a").mkdir(parents=True)
    other.mkdir()
    for file in (folder / "a/1", folder / "a/2", folder / "3", other / "4", other / "5"):
        file.write_text(file.name)
    (folder / "b").symlink_to(other)
    return folder


def several(step: Json, count: int, *sharded: str) -> Json:
    cluster = {"InstanceCount": count, "InstanceType": "ignored", "VolumeSizeInGB": 1}
    step["Arguments"]["ProcessingResources"] = {"ClusterConfig": cluster}
    for item in step["Arguments"]["ProcessingInputs"]:
        if item["InputName"] in sharded:
            item["S3Input"]["S3DataDistributionType"] = "ShardedByS3Key"
    return step


def result(state: Path, record: RunRecord, name: str = "A") -> Path:
    return state / str(record.steps[name].folder) / "ml/processing/output/result"


def read(state: Path, record: RunRecord) -> dict[str, Any]:
    return {p.stem: json.loads(p.read_text()) for p in result(state, record).glob("*.json")}


def ran(trace: Path) -> list[str]:
    lines = trace.read_text().split()
    trace.write_text("")
    return lines


@pytest.fixture
def listing(toy: SimpleNamespace, data: Path) -> Any:
    def make(count: int) -> Json:
        inputs = {"shared": data.as_uri(), "whole": data.as_uri()}
        return dict(toy.pipeline(several(toy.processing("A", LIST, inputs), count, "shared")))

    return make


ALL = ["3", "a/1", "a/2", "b/4", "b/5"]


def test_files_go_round_the_instances_by_name_and_what_they_leave_comes_together(
    listing: Any, state: Path, trace: Path
) -> None:
    record = run_local(listing(2), state)
    found, hosts = read(state, record), ["algo-1", "algo-2"]
    assert ran(trace) == hosts
    assert found["algo-1"] == {"shared": ["3", "a/2", "b/5"], "whole": ALL, "hosts": hosts}
    assert found["algo-2"] == {"shared": ["a/1", "b/4"], "whole": ALL, "hosts": hosts}
    assert (result(state, record) / "same").read_text() == "all alike"


def test_one_instance_has_all_and_knows_its_name(listing: Any, state: Path) -> None:
    found = read(state, run_local(listing(1), state))
    assert found == {"algo-1": {"shared": ALL, "whole": ALL, "hosts": ["algo-1"]}}


def test_a_link_to_a_folder_above_is_not_walked_round(data: Path) -> None:
    (data / "a" / "above").symlink_to(data)
    assert sorted(name for name, _ in files_below(data)) == ALL


def test_more_instances_than_files_is_no_error(listing: Any, state: Path) -> None:
    found = read(state, run_local(listing(7), state))
    assert [found[f"algo-{n}"]["shared"] for n in range(5, 8)] == [["b/5"], [], []]


def test_a_file_goes_to_the_first(toy: SimpleNamespace, state: Path, data: Path) -> None:
    inputs = {"shared": (data / "3").as_uri(), "whole": data.as_uri()}
    step = several(toy.processing("A", LIST, inputs), 2, "shared")
    found = read(state, run_local(toy.pipeline(step), state))
    assert (found["algo-1"]["shared"], found["algo-2"]["shared"]) == (["3"], [])


def test_it_is_cached_and_another_number_of_instances_is_other_work(
    listing: Any, state: Path, trace: Path
) -> None:
    run_local(listing(2), state)
    ran(trace)
    assert run_local(listing(2), state).steps["A"].status == "cached"
    run_local(listing(3), state)
    assert len(ran(trace)) == 3


def test_what_was_damaged_since_is_made_again(listing: Any, state: Path) -> None:
    record = run_local(listing(2), state)
    found = read(state, record)
    (result(state, record) / "algo-1.json").write_text("{}")
    (result(state, record) / "foreign.json").write_text("{}")
    again = run_local(listing(2), state)
    assert again.steps["A"].status == "done"
    assert read(state, again) == found


def test_files_of_one_name_that_differ_are_refused(
    toy: SimpleNamespace, state: Path, data: Path
) -> None:
    program = """
        (out("result") / "x").write_text((ml / "config/resourceconfig.json").read_text())"""
    step = several(toy.processing("A", program, {"shared": data.as_uri()}), 2)
    with pytest.raises(PipelineError, match=r"A's output 'result': two instances .* 'x'"):
        run_local(toy.pipeline(step), state)


def test_what_one_instance_says_of_its_failure_is_told(
    toy: SimpleNamespace, state: Path, data: Path, trace: Path
) -> None:
    program = """
        note("ran")
        if "algo-2" == json.loads((ml / "config/resourceconfig.json").read_text())["current_host"]:
            (ml / "output").mkdir(exist_ok=True)
            (ml / "output/failure").write_text("too few files")
            sys.exit(1)
        (out("result") / "x").touch()"""
    step = several(toy.processing("A", program, {"shared": data.as_uri()}), 3, "shared")
    with pytest.raises(PipelineError, match="The step A failed: too few files"):
        run_local(toy.pipeline(step), state)
    assert ran(trace) == ["ran"] * 2
