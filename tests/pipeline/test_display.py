import io

import pytest
from rich.console import Console

from pixloop.pipeline.display import Lines, LiveTable, display


def shown(table: LiveTable) -> list[str]:
    console = Console(file=io.StringIO(), width=100, force_terminal=False)
    with console.capture() as captured:
        console.print(table.render())
    return [line.strip() for line in captured.get().splitlines()]


def test_the_table_has_a_row_for_each_step_and_its_state() -> None:
    table = LiveTable()
    table.run_started("r", ["Prepare", "Train", "Export", "Evaluate"])
    table.step_started("Prepare")
    table.step_ended("Prepare", "cached", 0.01)
    table.step_started("Train")
    table.step_ended("Train", "done", 12.34)
    table.step_started("Export")
    table.step_advanced("Export", "comparing graphs", 3, 10, "onnx")
    prepare, train, export, evaluate = shown(table)
    assert prepare.split() == ["=", "Prepare", "cached"]
    assert train.split() == ["✓", "Train", "done", "12.3", "s"]
    assert "comparing graphs 3/10  onnx" in export
    assert evaluate.split() == ["·", "Evaluate", "waiting"]


def test_work_of_unknown_size_is_counted() -> None:
    table = LiveTable()
    table.run_started("r", ["Prepare"])
    table.step_started("Prepare")
    assert "starting" in shown(table)[0]
    table.step_advanced("Prepare", "listing pictures", 71, None, "")
    assert "71" in shown(table)[0]


def test_without_a_terminal_there_are_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with display(Console(file=io.StringIO())) as listener:
        assert isinstance(listener, Lines)
        listener.step_started("Train")
        listener.step_ended("Train", "failed", 2.0)
    assert capsys.readouterr().err == "Train: running\nTrain: failed in 2.0 s\n"


def test_on_a_terminal_the_table_stays_when_all_is_done() -> None:
    out = io.StringIO()
    with display(Console(file=out, force_terminal=True, width=80)) as listener:
        listener.run_started("r", ["Train"])
        listener.step_started("Train")
        listener.step_ended("Train", "done", 2.0)
    assert "done 2.0 s" in out.getvalue()
