from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixloop.errors import PipelineError
from pixloop.pipeline.expressions import Scope, judge, path_parts, references, resolve

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
).filter(lambda value: not references(value))


@given(plain)
def test_what_is_no_expression_stays(value: Any) -> None:
    keys = {"Get", "Std:Join", "Std:JsonGet"}
    if not any(key in str(value) for key in keys):
        assert resolve(value, Scope({})) == value


@given(st.text(), st.lists(st.text() | st.integers(), max_size=5))
def test_join_puts_its_values_between_its_mark(on: str, values: list[Any]) -> None:
    joined = resolve({"Std:Join": {"On": on, "Values": values}}, Scope({}))
    assert joined == on.join(map(str, values))


def test_expressions_nest() -> None:
    inner = {"Std:Join": {"On": "", "Values": ["b", {"Get": "Parameters.N"}]}}
    outer = {"a": [{"Std:Join": {"On": "/", "Values": ["s3:/", inner]}}]}
    assert resolve(outer, Scope({"N": 2})) == {"a": ["s3://b2"]}


def test_a_lone_get_keeps_its_type() -> None:
    assert resolve({"Get": "Parameters.N"}, Scope({"N": 2})) == 2


def test_json_get_reads_a_steps_file(tmp_path: Path) -> None:
    file = tmp_path / "r.json"
    file.write_text('{"a": [{"b.c": 4}]}')
    scope = Scope({}, property_files={"S": {"R": file}})
    got = {"PropertyFile": {"Get": "Steps.S.PropertyFiles.R"}, "Path": "a[0]['b.c']"}
    assert resolve({"Std:JsonGet": got}, scope) == 4


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ({"Get": "Parameters.M"}, "there is no 'M'. It has N"),
        ({"Get": "Steps.X.Y"}, "there is no 'X'"),
        ({"Get": "Nothing.X"}, "expected Parameters, Execution or Steps"),
        ({"Get": "Parameters.N["}, "no property path"),
        (
            {"Std:JsonGet": {"PropertyFile": {"Get": "Steps.S.PropertyFiles.R"}, "Path": "a"}},
            "'S' has no property file 'R'",
        ),
    ],
)
def test_what_does_not_exist_is_named(expression: Any, says: str) -> None:
    with pytest.raises(PipelineError, match=says.replace(".", r"\.")):
        resolve(expression, Scope({"N": 1}))


def test_a_property_file_that_is_no_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text("{")
    scope = Scope({}, property_files={"S": {"R": tmp_path / "r.json"}})
    got = {"PropertyFile": {"Get": "Steps.S.PropertyFiles.R"}, "Path": "a"}
    with pytest.raises(PipelineError, match=r"S should have written JSON to .*r\.json"):
        resolve({"Std:JsonGet": got}, scope)


@given(st.lists(st.from_regex(r"[A-Za-z_][\w-]*", fullmatch=True), min_size=1))
def test_paths_come_apart_as_they_were_put_together(parts: list[str]) -> None:
    assert path_parts(".".join(parts)) == parts
    assert path_parts("".join(f"['{part}']" for part in parts)) == parts


COMPARISONS = {
    "Equals": lambda a, b: a == b,
    "GreaterThan": lambda a, b: a > b,
    "GreaterThanOrEqualTo": lambda a, b: a >= b,
    "LessThan": lambda a, b: a < b,
    "LessThanOrEqualTo": lambda a, b: a <= b,
}
shares = st.floats(0, 1) | st.decimals(0, 1, places=2).map(float)


@given(st.sampled_from(sorted(COMPARISONS)), shares, shares)
def test_a_verdict_is_right_and_its_numbers_add_up(kind: str, left: float, right: float) -> None:
    condition = {
        "Type": kind,
        "LeftValue": {"Get": "Parameters.f1_macro"},
        "RightValue": {"Get": "Parameters.GateMinimum"},
    }
    verdict = judge(condition, Scope({"f1_macro": left, "GateMinimum": right}))
    assert verdict.holds == COMPARISONS[kind](left, right)
    assert (verdict.reason == "") == verdict.holds
    words = verdict.reason.replace(",", "").split()
    if not verdict.holds and left != right and abs(left - right) > 1e-12:
        # f1_macro is 0.71, 0.09 below the minimum 0.80
        value, gap, direction, bound = float(words[2]), float(words[3]), words[4], float(words[7])
        assert gap > 0
        assert value + (gap if direction == "below" else -gap) == pytest.approx(bound, abs=1e-12)


def test_a_gap_that_two_digits_would_hide_is_shown() -> None:
    condition = {"Type": "GreaterThanOrEqualTo", "LeftValue": {"Get": "Parameters.f1"}}
    verdict = judge({**condition, "RightValue": 0.8}, Scope({"f1": 0.7996}))
    assert verdict.reason == "f1 is 0.7996, 0.0004 below 0.8000"


@pytest.mark.parametrize(
    ("kind", "left", "right", "says"),
    [
        ("Equals", "cat", "dog", "label is cat, not dog"),
        ("GreaterThan", 0.8, 0.8, "label is 0.8, not above 0.8"),
    ],
)
def test_a_verdict_without_a_gap_says_what_was_expected(
    kind: str, left: Any, right: Any, says: str
) -> None:
    condition = {"Type": kind, "LeftValue": {"Get": "Parameters.label"}, "RightValue": right}
    assert judge(condition, Scope({"label": left})).reason == says


@pytest.mark.parametrize(("kind", "left"), [("Not", 1), ("GreaterThan", None)])
def test_what_cannot_be_compared_is_an_error(kind: str, left: Any) -> None:
    condition = {"Type": kind, "LeftValue": {"Get": "Parameters.x"}, "RightValue": 0.5}
    with pytest.raises(PipelineError, match=kind):
        judge(condition, Scope({"x": left}))
