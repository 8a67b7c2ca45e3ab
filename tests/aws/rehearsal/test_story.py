"""The rehearsal itself, whole: what CI plays."""

import json
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from pixloop.aws.rehearsal.story import LINKS, Link, LinkResult, play, rehearse

NAMES = [link.name for link in LINKS]


@pytest.mark.integration
@pytest.mark.timeout(1200)
def test_the_whole_loop_is_played(tmp_path: Path) -> None:
    told: list[LinkResult] = []
    played = rehearse(tmp_path / "rehearsal", on_link=told.append)
    assert [link.name for link in played.links] == [*NAMES, "stacks down", "nothing left"]
    broken = {link.name: link.happened for link in played.links if not link.ok}
    assert broken == {}
    assert tuple(told) == played.links
    document: dict[str, Any] = json.loads(played.model_dump_json())
    for link in document["links"]:
        assert {"name", "ok", "seconds", "stood_in_by"} <= link.keys()
        assert link["stood_in_by"]
    said = {link.name: link.happened for link in played.links}
    assert "accuracy" in said["registered"]
    assert "one picture accepted; of 8 pictures 6 accepted, 1 ThresholdNotMet" in said["workflow"]
    assert "drift alarm" in said["drift starts a run"]
    assert "certificate" in said["bad version rolled back"]
    assert played.left_out == ()
    assert "AWS::SageMaker::Pipeline pixloop-rehearsal" in played.completed
    settings = yaml.safe_load((tmp_path / "rehearsal/pixloop.yaml").read_text())
    assert settings["name"] == "rehearsal"
    ours = [p for p in psutil.Process().children(recursive=True) if "pixloop" in p.cmdline()]
    assert ours == []


def test_a_link_that_breaks_stops_what_needs_it_and_nothing_else() -> None:
    acted: list[str] = []

    def act(name: str, fails: bool = False) -> Any:
        def link(stage: Any) -> str:
            acted.append(name)
            if fails:
                raise RuntimeError("the cause")
            return "done"

        return link

    links = (
        Link("a", act("a"), "moto"),
        Link("b", act("b", fails=True), "moto", ("a",)),
        Link("c", act("c"), "moto", ("b",)),
        Link("d", act("d"), "moto", ("c",)),
        Link("e", act("e"), "moto", ("a",)),
    )
    results: list[LinkResult] = []
    stage: Any = type("NoStage", (), {"failures": lambda self: ""})()
    play(links, stage, results.append)
    assert acted == ["a", "b", "e"]
    assert {r.name: r.ok for r in results} == {
        "a": True,
        "b": False,
        "c": False,
        "d": False,
        "e": True,
    }
    said = {r.name: r.happened for r in results}
    assert "the cause" in said["b"]
    assert said["c"] == "not played: it needs b"
    assert said["d"] == "not played: it needs c"


def test_every_link_needs_links_before_it() -> None:
    for number, link in enumerate(LINKS):
        assert set(link.needs) <= set(NAMES[:number])
