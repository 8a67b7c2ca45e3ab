"""Runs a pipeline definition on this machine: the same JSON, the same container contract.

Every Training and Processing step is a child process with its own folder, which stands for the
container's ``/opt/ml``. A step with the same content as before is not run again; one that was
killed goes on from its checkpoints.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pixloop.bundle import now
from pixloop.errors import GateRefused, PipelineError
from pixloop.files import write_json
from pixloop.pipeline.cache import Done, input_digests, read_done, step_key
from pixloop.pipeline.display import Listener, Silent
from pixloop.pipeline.expressions import Scope, judge, resolve
from pixloop.pipeline.jobs import Job, destinations, job_name, properties, read_job
from pixloop.pipeline.lock import exclusive
from pixloop.pipeline.order import bind_parameters, in_order, main_path
from pixloop.pipeline.places import Addresses, Places
from pixloop.pipeline.progress_note import ProgressNote
from pixloop.pipeline.runs import (
    Cause,
    RunRecord,
    StepRecord,
    StepStatus,
    list_runs,
    mark_interrupted,
    new_run_id,
)
from pixloop.pipeline.work import do_job

Register = Callable[[Mapping[str, Any]], Mapping[str, Any]]


def run_local(
    definition: Mapping[str, Any],
    state: Path,
    parameters: Mapping[str, Any] | None = None,
    *,
    name: str = "pipeline",
    register: Register | None = None,
    listener: Listener | None = None,
    environment: Mapping[str, str] | None = None,
    before_work: Callable[[str], None] | None = None,
    places: Places | None = None,
    execution: str | None = None,
    cause: Cause | None = None,
) -> RunRecord:
    """Run a pipeline to its end.

    Args:
        definition: the SageMaker pipeline definition.
        state: the project's ``.pixloop`` folder, for steps and runs.
        parameters: values for the definition's parameters; others have their defaults.
        name: what ``Execution.PipelineName`` is.
        register: called with the arguments of a RegisterModel step; its answer, which must be
            JSON, is kept in the record.
        listener: is told what happens.
        environment: variables for every step.
        before_work: called once, with the name of the first step that is not cached, before it
            starts; what it raises fails the run.
        places: where ``s3://`` addresses are; without them all is at ``file://`` addresses.
        execution: what ``Execution.PipelineExecutionId`` and the run's id are; a new name unless
            it is given.
        cause: why it is run, for the record; no result depends on it.

    Raises:
        GateRefused: a condition does not hold, and the definition then fails on purpose.
        ConfigError: a step found the configuration wrong.
        PipelineError: a step failed, the definition is wrong, or another run is at work.
    """
    bound = bind_parameters(definition, parameters or {})
    busy = "Another run of this project is at work (process {pid}). Wait for it, or stop it."
    with exclusive(state / "run.lock", busy):
        for old in list_runs(state):
            if old.status == "running":
                mark_interrupted(old)
        run = _Run(
            definition,
            state,
            bound,
            name,
            execution or new_run_id(),
            register,
            listener or Silent(),
            environment or {},
            before_work,
            Addresses(places),
            cause or Cause(),
        )
        return run.execute()


class _Run:
    """One run: the scope of its expressions, its record, and what to do for each type of step."""

    def __init__(
        self,
        definition: Mapping[str, Any],
        state: Path,
        parameters: Mapping[str, Any],
        name: str,
        identity: str,
        register: Register | None,
        listener: Listener,
        environment: Mapping[str, str],
        before_work: Callable[[str], None] | None,
        addresses: Addresses,
        cause: Cause,
    ) -> None:
        self._definition = definition
        self._state = state.absolute()
        self._register = register
        self._listener = listener
        self._environment = environment
        self._before_work = before_work
        self._addresses = addresses
        self._reasons: list[str] = []  # why the last condition does not hold
        self._record = RunRecord(
            id=identity,
            pid=os.getpid(),
            started=now(),
            parameters=dict(parameters),
            steps={step["Name"]: StepRecord() for step in main_path(definition["Steps"])},
            cause=cause,
            folder=self._state / "runs" / identity,
        )
        self._note = ProgressNote(self._record.folder)
        execution = {
            "PipelineName": name,
            "PipelineExecutionId": identity,
            "StartDateTime": self._record.started,
        }
        self._scope = Scope(parameters, execution)
        self._types: Mapping[str, Callable[[Mapping[str, Any]], None]] = {
            "Processing": self._run_job,
            "Training": self._run_job,
            "Condition": self._decide,
            "RegisterModel": self._register_model,
            "Fail": self._fail,
        }

    def execute(self) -> RunRecord:
        record, started = self._record, time.monotonic()
        write_json(record.folder / "definition.json", self._definition)
        record.save()
        self._listener.run_started(record.id, list(record.steps))
        try:
            self._refuse_tuning()
            self._run_steps(self._definition["Steps"])
            record.status = "done"
        except GateRefused as e:
            record.status, record.failure = "refused", str(e)
            raise
        except Exception as e:
            record.status, record.failure = "failed", str(e)
            raise
        except BaseException:
            record.status = "interrupted"
            raise
        finally:
            record.seconds = round(time.monotonic() - started, 3)
            record.save()
            self._listener.run_ended(record.status)
        return record

    def _refuse_tuning(self) -> None:
        """Say it before hours of work, not when the step's turn comes."""
        for step in main_path(self._definition["Steps"]):
            if step["Type"] == "Tuning":
                raise PipelineError(
                    f"The step {step['Name']} searches for settings with many trainings, which "
                    "cannot run here: '--tune' runs on SageMaker ('--on sagemaker')."
                )

    def _run_steps(self, steps: Sequence[Mapping[str, Any]]) -> None:
        for step in in_order(steps):
            run = self._types.get(step["Type"])
            if run is None:
                raise PipelineError(
                    f"The step {step['Name']} is of type {step['Type']}, which cannot run here. "
                    f"Known: {', '.join(self._types)}."
                )
            run(step)

    # ---- Training and Processing

    def _run_job(self, step: Mapping[str, Any]) -> None:
        name = step["Name"]
        with self._watched(name) as record:
            arguments = resolve(step["Arguments"], self._scope)
            job = read_job(name, step["Type"], arguments)
            sources = {
                input_name: self._addresses.find(address, f"{name}'s input {input_name!r}")
                for input_name, (address, _) in job.inputs.items()
            }
            key = step_key(job, input_digests(sources, self._state / "steps"))
            folder = self._state / "steps" / f"{name}-{key[:16]}"
            done = read_done(folder, job) if step.get("CacheConfig", {}).get("Enabled") else None
            if done is None and self._before_work is not None:
                self._before_work(name)
                self._before_work = None
            record.folder = folder.relative_to(self._state).as_posix()
            self._link_to_run(name, folder)
            if done is None:
                done = do_job(
                    job,
                    key,
                    folder,
                    {name: source.path for name, source in sources.items()},
                    self._environment,
                    self._advance(name),
                )
            else:
                record.status = "cached"
            self._publish(step, job, arguments, folder, done)

    def _publish(
        self,
        step: Mapping[str, Any],
        job: Job,
        arguments: Mapping[str, Any],
        folder: Path,
        done: Done,
    ) -> None:
        where: Mapping[str, str] = {}
        if not self._addresses.local:
            where = destinations(job, arguments, job_name(job, done.key))
        addresses = {
            output: self._addresses.add(
                folder / place, done.outputs[output].sha256, where.get(output)
            )
            for output, place in job.outputs.items()
        }
        self._scope.steps[job.name] = properties(job, arguments, addresses)
        self._scope.property_files[job.name] = {
            file["PropertyFileName"]: folder / job.outputs[file["OutputName"]] / file["FilePath"]
            for file in step.get("PropertyFiles", [])
        }

    def _link_to_run(self, name: str, folder: Path) -> None:
        link = self._record.folder / "steps" / name
        link.parent.mkdir(exist_ok=True)
        link.unlink(missing_ok=True)  # an execution of this name may have been here before
        link.symlink_to(os.path.relpath(folder, link.parent))

    def _advance(self, step: str) -> Callable[[Mapping[str, object]], None]:
        def advance(record: Mapping[str, Any]) -> None:
            told = (
                step,
                str(record.get("description", "")),
                int(record.get("done", 0)),
                record.get("total"),
                str(record.get("note", "")),
            )
            self._note.write(*told)
            self._listener.step_advanced(*told)

        return advance

    # ---- Condition, RegisterModel and Fail

    def _decide(self, step: Mapping[str, Any]) -> None:
        arguments = step["Arguments"]
        with self._watched(step["Name"]) as record:
            verdicts = [judge(condition, self._scope) for condition in arguments["Conditions"]]
            self._reasons = [verdict.reason for verdict in verdicts if not verdict.holds]
            if self._reasons:
                record.status, record.failure = "refused", "; ".join(self._reasons)
        self._run_steps(arguments["ElseSteps" if self._reasons else "IfSteps"])

    def _register_model(self, step: Mapping[str, Any]) -> None:
        with self._watched(step["Name"]):
            if self._register is None:
                raise PipelineError(f"The step {step['Name']} has no registry to register with.")
            answer = dict(self._register(resolve(step["Arguments"], self._scope)))
            self._scope.steps[step["Name"]] = answer
            self._record.registered = answer

    def _fail(self, step: Mapping[str, Any]) -> None:
        if self._reasons:
            raise GateRefused(f"The model is not good enough: {'; '.join(self._reasons)}.")
        message = resolve(step["Arguments"]["ErrorMessage"], self._scope)
        raise PipelineError(f"{step['Name']}: {message}")

    @contextmanager
    def _watched(self, name: str) -> Iterator[StepRecord]:
        """Keep the record and the listener up to date while a step runs."""
        record = self._record.steps.setdefault(name, StepRecord())
        started = time.monotonic()
        record.status, record.started = "running", now()
        self._record.save()
        self._listener.step_started(name)
        status: StepStatus = "done"
        try:
            yield record
            # The block may have found a better word than "done".
            status = record.status if record.status != "running" else "done"
        except Exception as e:
            status, record.failure = "failed", str(e)
            raise
        except BaseException:
            status = "interrupted"
            raise
        finally:
            record.status, record.seconds = status, round(time.monotonic() - started, 3)
            self._note.remove()
            self._record.save()
            self._listener.step_ended(name, status, record.seconds)
