import json
import os
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pixloop.errors import ConfigError, GateRefused, PipelineError
from pixloop.pipeline.display import Lines, Silent
from pixloop.pipeline.local import run_local
from pixloop.pipeline.progress_note import ProgressNote, read_step_progress
from pixloop.pipeline.runs import Cause, RunRecord, list_runs

Json = dict[str, Any]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / ".pixloop"


def ran(trace: Path) -> list[str]:
    """What has run since the last question."""
    lines = trace.read_text().split()
    trace.write_text("")
    return lines


def statuses(record: RunRecord) -> dict[str, str]:
    return {name: step.status for name, step in record.steps.items()}


def go(definition: Json, state: Path, parameters: Json | None = None, **more: Any) -> RunRecord:
    return run_local(definition, state, parameters, register=lambda a: {"version": "1"}, **more)


def wait_for(condition: Any) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "what the test waits for does not happen"
        time.sleep(0.02)


# ---- A run


def test_steps_hand_their_results_on_and_the_last_is_registered(
    loop: Json, state: Path, trace: Path
) -> None:
    asked = []
    record = run_local(loop, state, register=lambda a: asked.append(a) or {"version": "7"})
    assert ran(trace) == ["Copy", "Learn", "Seal", "Score"]
    assert record.status == "done"
    assert record.registered == {"version": "7"}
    bundle = Path(asked[0]["Bundle"].removeprefix("file://"))
    assert float((bundle / "weights").read_text()) == pytest.approx(0.9)


def test_the_record_on_disk_is_the_record_returned(loop: Json, state: Path) -> None:
    record = go(loop, state)
    [kept] = list_runs(state)
    assert kept == record
    assert json.loads((kept.folder / "definition.json").read_text()) == loop
    assert (kept.folder / "steps" / "Learn" / "model.tar.gz").is_file()
    assert set(statuses(kept).values()) == {"done"}


def test_steps_run_in_the_order_of_their_data(
    toy: SimpleNamespace, state: Path, trace: Path
) -> None:
    write = "note(sys.argv[1]); (out('result') / 'x').write_text('x')"
    last = toy.processing(
        "Last", write, {"x": toy.output_of("Middle", "result")}, arguments=["Last"]
    )
    middle = toy.processing("Middle", write, arguments=["Middle"], DependsOn=["First"])
    first = toy.processing("First", write, arguments=["First"])
    go(toy.pipeline(last, middle, first), state)
    assert ran(trace) == ["First", "Middle", "Last"]


def test_what_is_checked_before_any_work_is_asked_once_and_only_where_there_is_work(
    loop: Json, state: Path
) -> None:
    asked: list[str] = []
    go(loop, state, before_work=asked.append)
    assert asked == ["Copy"]
    go(loop, state, before_work=asked.append)
    assert asked == ["Copy"]
    go(loop, state, {"Rate": 0.4}, before_work=asked.append)
    assert asked == ["Copy", "Learn"]


def test_a_check_that_fails_stops_the_run_before_any_work(
    loop: Json, state: Path, trace: Path
) -> None:
    def refuse(step: str) -> None:
        raise ConfigError(f"not even {step}")

    with pytest.raises(ConfigError, match=r"^not even Copy$"):
        go(loop, state, before_work=refuse)
    [record] = list_runs(state)
    assert (record.status, ran(trace)) == ("failed", [])
    assert not list(state.glob("steps/*"))


def test_a_circle_is_named(toy: SimpleNamespace, state: Path) -> None:
    a = toy.processing("A", "", {"x": toy.output_of("B", "result")})
    b = toy.processing("B", "", {"x": toy.output_of("A", "result")})
    with pytest.raises(PipelineError, match="need one another: A, B"):
        go(toy.pipeline(a, b), state)


def test_a_file_is_found_in_its_inputs_folder_under_its_own_name(
    toy: SimpleNamespace, state: Path, tmp_path: Path, trace: Path
) -> None:
    (tmp_path / "w.safetensors").write_text("weights")
    train = toy.training(
        "T",
        "note((ml / 'input/data/weights/w.safetensors').read_text())",
        {"weights": (tmp_path / "w.safetensors").as_uri()},
    )
    go(toy.pipeline(train), state)
    assert ran(trace) == ["weights"]


def test_progress_reaches_the_listener_and_not_the_log(toy: SimpleNamespace, state: Path) -> None:
    heard: list[Any] = []

    class Ear(Silent):
        def step_advanced(self, *record: Any) -> None:
            heard.append(record)

    program = """
        from pixloop.progress import progress
        print("hello")
        with progress("counting", 3) as advance:
            advance(3, note="loss 0.3")
        (out("result") / "x").touch()"""
    record = go(toy.pipeline(toy.processing("A", program)), state, listener=Ear())
    assert heard[-1] == ("A", "counting", 3, 3, "loss 0.3")
    assert (state / str(record.steps["A"].folder) / "log.txt").read_text() == "hello\n"


def test_progress_is_noted_on_disk_while_a_step_works_and_gone_after_it(
    toy: SimpleNamespace, state: Path
) -> None:
    program = """
        from pixloop.progress import progress
        os.environ["PIXLOOP_PROGRESS"] = "lines"
        with progress("copying", 2) as advance:
            advance(1, "of three")
        (out("result") / "x").write_text("x")
        open(os.environ["HELD"], "w").close()
        while os.path.exists(os.environ["HELD"]): time.sleep(0.02)
    """
    held = state.parent / "held"
    heard: list[Any] = []

    def look() -> None:
        wait_for(held.exists)
        [run] = list_runs(state)
        wait_for(lambda: (run.folder / "progress.json").exists())
        heard.append(read_step_progress(run.folder))
        held.unlink()

    looking = threading.Thread(target=look)
    looking.start()
    step = toy.processing("Copy", program)
    record = go(toy.pipeline(step), state, environment={"HELD": str(held)})
    looking.join()
    [progress] = heard
    told = progress.step, progress.description, progress.done, progress.total, progress.note
    assert told == ("Copy", "copying", 1, 2, "of three")
    assert sorted(p.name for p in record.folder.iterdir()) == [
        "definition.json", "run.json", "steps"
    ]  # fmt: skip


def test_progress_is_noted_at_most_twice_a_second(tmp_path: Path) -> None:
    note = ProgressNote(tmp_path)
    for done in range(5):
        note.write("Train", "training", done, 5, "")
    first = read_step_progress(tmp_path)
    assert first is not None
    assert first.done == 0
    note.remove()
    assert read_step_progress(tmp_path) is None
    note.write("Export", "writing", 3, None, "")
    assert read_step_progress(tmp_path) is not None


def test_a_record_of_before_there_were_causes_still_reads(loop: Json, state: Path) -> None:
    cause = Cause(by="page", settings=("a=1",))
    record = go(loop, state, cause=cause)
    assert list_runs(state)[0].cause == cause
    written = json.loads((record.folder / "run.json").read_text())
    del written["cause"]
    (record.folder / "run.json").write_text(json.dumps(written))
    assert list_runs(state)[0].cause == Cause()


def test_lines_tell_each_step_on_standard_error(
    loop: Json, state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    go(loop, state)
    go(loop, state, listener=Lines())
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines()[:2] == ["Copy: running", "Copy: cached"]


# ---- The cache


def test_nothing_runs_twice(loop: Json, state: Path, trace: Path) -> None:
    go(loop, state)
    ran(trace)
    record = go(loop, state)
    assert ran(trace) == []
    assert set(statuses(record).values()) == {"cached", "done"}
    assert statuses(record)["Score"] == "cached"


def test_a_parameter_repeats_only_the_steps_that_read_it(
    loop: Json, state: Path, trace: Path
) -> None:
    go(loop, state)
    ran(trace)
    go(loop, state, {"Rate": 0.31})
    assert ran(trace) == ["Learn", "Seal", "Score"]
    go(loop, state, {"GateMinimum": 0.1})
    assert ran(trace) == []


def test_changed_data_repeat_what_rests_on_them(
    loop: Json, state: Path, trace: Path, tmp_path: Path
) -> None:
    go(loop, state)
    ran(trace)
    (tmp_path / "data" / "a.txt").write_text("4")
    go(loop, state)
    assert ran(trace) == ["Copy", "Learn", "Seal", "Score"]


def test_an_equal_result_stops_the_repeating(
    loop: Json, state: Path, trace: Path, tmp_path: Path
) -> None:
    go(loop, state)
    ran(trace)
    (tmp_path / "data" / "unread.txt").write_text("of no matter")
    go(loop, state)
    assert ran(trace) == ["Copy"]


@pytest.mark.parametrize("damage", ["change", "remove", "add"])
def test_a_damaged_result_is_made_again(loop: Json, state: Path, trace: Path, damage: str) -> None:
    record = go(loop, state)
    ran(trace)
    bundle = state / str(record.steps["Seal"].folder) / "ml/processing/output/bundle"
    match damage:
        case "change":
            (bundle / "weights").write_text("0.8")
        case "remove":
            (bundle / "weights").unlink()
        case "add":
            (bundle / "stray").touch()
    go(loop, state)
    assert ran(trace) == ["Seal"]
    assert float((bundle / "weights").read_text()) == pytest.approx(0.9)


def test_a_copied_project_keeps_its_results(
    loop: Json, state: Path, trace: Path, tmp_path: Path
) -> None:
    go(loop, state)
    ran(trace)
    shutil.copytree(state, tmp_path / "elsewhere", symlinks=True, copy_function=shutil.copy)
    go(loop, tmp_path / "elsewhere")
    assert ran(trace) == []


def test_a_step_without_a_cache_always_runs(toy: SimpleNamespace, state: Path, trace: Path) -> None:
    step = toy.processing("A", "note('A'); (out('result') / 'x').touch()")
    del step["CacheConfig"]
    go(toy.pipeline(step), state)
    go(toy.pipeline(step), state)
    assert ran(trace) == ["A", "A"]


# ---- Failures


def fails(definition: Json, state: Path) -> str:
    with pytest.raises(PipelineError) as caught:
        go(definition, state)
    [record, *_] = list_runs(state)
    assert record.status == "failed"
    assert record.failure == str(caught.value)
    return str(caught.value)


def test_a_failure_names_the_step_its_reason_and_its_log(toy: SimpleNamespace, state: Path) -> None:
    program = """
        print("reading a.jpg")
        (ml / "output").mkdir(exist_ok=True)
        (ml / "output/failure").write_text("a.jpg is no picture")
        sys.exit(3)"""
    message = fails(toy.pipeline(toy.processing("Check", program)), state)
    assert message.startswith("The step Check failed: a.jpg is no picture\n")
    assert "reading a.jpg" in message
    [log] = [line.split(": ")[1] for line in message.splitlines() if "log" in line]
    assert Path(log).read_text() == "reading a.jpg\n"


def test_a_step_that_finds_the_configuration_wrong_says_so(
    toy: SimpleNamespace, state: Path
) -> None:
    with pytest.raises(ConfigError, match="The step Check failed"):
        go(toy.pipeline(toy.processing("Check", "sys.exit(2)")), state)


def test_without_a_reason_the_last_lines_are_shown(toy: SimpleNamespace, state: Path) -> None:
    message = fails(
        toy.pipeline(toy.processing("A", "raise ValueError('seven is too many')")), state
    )
    assert "exit code 1" in message
    assert "ValueError: seven is too many" in message


def test_a_killed_step_says_so(toy: SimpleNamespace, state: Path) -> None:
    message = fails(toy.pipeline(toy.processing("A", "os.kill(os.getpid(), 9)")), state)
    assert "SIGKILL" in message


def test_an_empty_output_is_a_failure(toy: SimpleNamespace, state: Path) -> None:
    message = fails(toy.pipeline(toy.processing("A", "pass")), state)
    assert "left its output 'result' empty" in message


def test_an_address_that_is_no_file_is_refused(toy: SimpleNamespace, state: Path) -> None:
    message = fails(toy.pipeline(toy.processing("A", "pass", {"x": "s3://b/k"})), state)
    assert "A's input 'x' is at 's3://b/k'" in message


def test_an_unknown_type_is_named(state: Path) -> None:
    message = fails({"Steps": [{"Name": "T", "Type": "Transform", "Arguments": {}}]}, state)
    assert "T is of type Transform, which cannot run here" in message


def test_a_search_is_refused_before_anything_runs(
    toy: SimpleNamespace, state: Path, trace: Path
) -> None:
    step = toy.processing("A", "note('A'); (out('result') / 'x').touch()")
    definition = toy.pipeline(step, {"Name": "Tune", "Type": "Tuning", "Arguments": {}})
    assert "'--tune' runs on SageMaker" in fails(definition, state)
    assert ran(trace) == []


@pytest.mark.parametrize(
    ("given", "says"),
    [({"Rates": 1}, "no parameter 'Rates'. Known: Rate"), ({"Rate": "fast"}, "expected Float")],
)
def test_bad_parameters_are_refused_before_anything_runs(
    loop: Json, state: Path, trace: Path, given: Json, says: str
) -> None:
    with pytest.raises(PipelineError, match=says):
        go(loop, state, given)
    assert ran(trace) == []


def test_after_a_failure_the_finished_steps_are_kept(
    loop: Json, state: Path, trace: Path, tmp_path: Path
) -> None:
    good = json.dumps(loop["Steps"][3])
    loop["Steps"][3]["Arguments"]["AppSpecification"]["ContainerArguments"] = ["-c", "1/0"]
    assert "Score failed" in fails(loop, state)
    ran(trace)
    loop["Steps"][3] = json.loads(good)
    assert go(loop, state).status == "done"
    assert ran(trace) == ["Score"]


# ---- The gate


def test_the_gate_says_which_condition_failed_and_by_how_much(loop: Json, state: Path) -> None:
    with pytest.raises(
        GateRefused, match=r": f1_macro is 0\.90, 0\.05 below the minimum 0\.95\.$"
    ) as e:
        go(loop, state, {"GateMinimum": 0.95})
    assert e.value.exit_code == 3
    [record] = list_runs(state)
    assert record.status == "refused"
    assert statuses(record)["Gate"] == "refused"
    assert statuses(record)["Register"] == "waiting"
    assert record.registered is None


def test_a_refused_model_may_pass_a_lower_gate(loop: Json, state: Path, trace: Path) -> None:
    with pytest.raises(GateRefused):
        go(loop, state, {"GateMinimum": 0.95})
    ran(trace)
    assert go(loop, state).registered == {"version": "1"}
    assert ran(trace) == []


# ---- Kills


SLOW = """
    note(sys.argv[1] + str(len(list((ml / 'checkpoints').iterdir()))))
    (ml / 'checkpoints/one').touch()
    (out('result') / 'half').touch()
    if os.environ.get('HOLD') == sys.argv[1]:
        note('held-' + str(os.getpid()))
        time.sleep(600)
    (out('result') / 'half').unlink()
    (out('result') / 'x').write_text('x')
"""


@pytest.fixture
def slow(toy: SimpleNamespace) -> Json:
    first = toy.processing("A", SLOW, arguments=["A"])
    second = toy.processing("B", SLOW, {"x": toy.output_of("A", "result")}, arguments=["B"])
    third = toy.processing("C", SLOW, {"x": toy.output_of("B", "result")}, arguments=["C"])
    return dict(toy.pipeline(first, second, third))


def held_pid(trace: Path) -> int:
    wait_for(lambda: "held-" in trace.read_text() and trace.read_text().endswith("\n"))
    return int(trace.read_text().split("held-")[1])


def gone(pid: int) -> bool:
    try:
        # A zombie, whose parent has died and not waited for it, is gone too.
        return ") Z " in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True


@pytest.mark.parametrize("victim", ["parent", "child"])
@pytest.mark.parametrize("step", ["A", "B", "C"])
def test_a_kill_costs_only_the_work_of_one_step(
    slow: Json, state: Path, trace: Path, monkeypatch: Any, start_run: Any, step: str, victim: str
) -> None:
    monkeypatch.setenv("HOLD", step)
    process = start_run(slow, state)
    child = held_pid(trace)
    os.kill(process.pid if victim == "parent" else child, signal.SIGKILL)
    process.wait()
    wait_for(lambda: gone(child))
    monkeypatch.delenv("HOLD")
    ran(trace)

    record = go(slow, state)
    assert record.status == "done"
    # The killed step begins anew, with its checkpoint; what was before it is not repeated.
    rest = "ABC"[("ABC".index(step)) :]
    assert ran(trace) == [f"{step}1", *(f"{later}0" for later in rest[1:])]
    for name in "ABC":
        result = state / str(record.steps[name].folder) / "ml/processing/output/result"
        assert [p.name for p in result.iterdir()] == ["x"]
    broken = list_runs(state)[-1]
    assert broken.status == ("interrupted" if victim == "parent" else "failed")


def test_an_orphan_that_does_not_die_is_waited_for(
    toy: SimpleNamespace, state: Path, trace: Path, start_run: Any, monkeypatch: Any
) -> None:
    # This program does not watch its parent: it is still at work when the next run begins.
    program = (
        "import os, time, pathlib\n"
        "trace = open(os.environ['TRACE'], 'a')\n"
        "print(f'held-{os.getpid()}', file=trace, flush=True)\n"
        "time.sleep(float(os.environ['NAP']))\n"
        "print('over', file=trace, flush=True)\n"
        "out = pathlib.Path(os.environ['PIXLOOP_ML'], 'processing/output/result')\n"
        "(out / 'x').touch()\n"
    )
    step = toy.processing("A", "")
    step["Arguments"]["AppSpecification"]["ContainerArguments"] = ["-c", program]
    monkeypatch.setenv("NAP", "1.5")
    process = start_run(toy.pipeline(step), state)
    held_pid(trace)
    process.kill()
    process.wait()
    monkeypatch.setenv("NAP", "0")
    go(toy.pipeline(step), state)
    assert [line.split("-")[0] for line in ran(trace)] == ["held", "over", "held", "over"]


def test_a_second_run_is_told_of_the_first(
    slow: Json, state: Path, trace: Path, monkeypatch: Any, start_run: Any
) -> None:
    monkeypatch.setenv("HOLD", "A")
    process = start_run(slow, state)
    held_pid(trace)
    with pytest.raises(PipelineError, match=rf"Another run .* \(process {process.pid}\)"):
        go(slow, state)
    assert [record.status for record in list_runs(state)] == ["running"]


def test_ctrl_c_stops_the_step_and_says_interrupted(
    slow: Json, state: Path, trace: Path, monkeypatch: Any, start_run: Any
) -> None:
    monkeypatch.setenv("HOLD", "B")
    process: subprocess.Popen[str] = start_run(slow, state)
    child = held_pid(trace)
    process.send_signal(signal.SIGINT)
    process.wait()
    assert gone(child)
    [record] = list_runs(state)
    assert statuses(record) == {"A": "done", "B": "interrupted", "C": "waiting"}
    assert record.status == "interrupted"


def test_the_record_is_whole_whenever_it_is_read(loop: Json, state: Path) -> None:
    stop, torn = threading.Event(), []

    def read() -> None:
        while not stop.is_set():
            for file in (state / "runs").glob("*/run.json"):
                try:
                    RunRecord.model_validate_json(file.read_text())
                except ValueError as e:
                    torn.append(e)

    reader = threading.Thread(target=read)
    reader.start()
    go(loop, state)
    stop.set()
    reader.join()
    assert torn == []
