import os
import signal
import time

import pytest

from pixloop.errors import PipelineError
from pixloop.web import jobs as jobs_module
from pixloop.web.jobs import Jobs

SLEEP = "import signal, sys, time; signal.signal(signal.SIGINT, signal.default_int_handler)\n"


@pytest.fixture
def jobs(tmp_path):
    return Jobs(tmp_path / "jobs", tmp_path)


@pytest.fixture
def program(monkeypatch):
    """What is run in the place of ``pixloop``."""

    def put(source):
        monkeypatch.setattr(jobs_module, "_PROGRAM", SLEEP + source)

    return put


def wait(jobs, job, wanted):
    for _ in range(600):
        if jobs.status(job) == wanted:
            return
        time.sleep(0.02)
    raise AssertionError(f"{jobs.status(job)}, expected {wanted}: {jobs.log(job)}")


def test_a_job_prints_ends_and_is_remembered(jobs, program):
    program("print('hello', *sys.argv[1:]); sys.exit(3)")
    job = jobs.start("run", ["run", "--set=a=1"], about="a test")
    wait(jobs, job, "failed")
    assert jobs.exit_code(job) == 3
    assert jobs.log(job) == "hello run --set=a=1\n"
    assert jobs.list() == [job]
    assert jobs.list("serve") == []


def test_what_lies_in_the_project_is_not_imported(jobs, program, tmp_path):
    (tmp_path / "colorsys.py").write_text("print('a stranger')")
    program("import colorsys; print('ours', hasattr(colorsys, 'rgb_to_hsv'))")
    job = jobs.start("run", [])
    wait(jobs, job, "done")
    assert jobs.log(job) == "ours True\n"


def test_one_of_a_kind_at_a_time(jobs, program):
    program("print('up', flush=True); time.sleep(60)")
    job = jobs.start("run", ["run"])
    with pytest.raises(PipelineError, match="at work already"):
        jobs.start("run", ["run"])
    other = jobs.start("monitor", ["monitor"])
    for each in (job, other):
        while not jobs.log(each):
            time.sleep(0.02)  # until Python listens
        jobs.stop(each)
        wait(jobs, each, "interrupted")
    assert jobs.running("run") == []


def test_a_job_whose_server_has_ended_is_found_again(jobs, program, tmp_path):
    program("print('up', flush=True); time.sleep(60)")
    job = jobs.start("serve", ["serve"])
    again = Jobs(tmp_path / "jobs", tmp_path)
    assert [each.id for each in again.running("serve")] == [job.id]
    os.kill(job.pid, signal.SIGKILL)
    wait(again, job, "failed")


def test_another_process_of_the_same_number_is_not_ours(jobs, program, tmp_path):
    program("pass")
    job = jobs.start("run", ["run"])
    wait(jobs, job, "done")
    (tmp_path / "jobs" / job.id / "ended.json").unlink()
    ours = job.model_copy(update={"pid": os.getpid()})
    assert jobs.status(ours) == "interrupted"
    jobs.stop(ours)  # would stop these tests


def test_a_damaged_note_hides_nothing_else(jobs, program, tmp_path):
    program("pass")
    job = jobs.start("run", ["run"])
    (tmp_path / "jobs" / "broken").mkdir()
    (tmp_path / "jobs" / "broken" / "job.json").write_text("{")
    assert [each.id for each in jobs.list()] == [job.id]
    wait(jobs, job, "done")
