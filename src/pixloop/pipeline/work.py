"""Doing a step's job on this machine: its folders, its processes, and what they leave."""

import shutil
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from pixloop.bundle import now
from pixloop.errors import ConfigError, PipelineError
from pixloop.files import pack, write_json
from pixloop.pipeline.cache import DONE, Done, write_done
from pixloop.pipeline.jobs import ARTIFACT, LOG, Job, environment_of
from pixloop.pipeline.lock import exclusive
from pixloop.pipeline.process import Ended, run_command
from pixloop.pipeline.shares import link_share, merge

#: What a kill must not cost: checkpoints, TensorBoard's events and a step's own scratch.
KEPT = ("checkpoints", "output/tensorboard", "work")
_ORPHAN_WAIT_S = 20.0


def do_job(
    job: Job,
    key: str,
    folder: Path,
    sources: Mapping[str, Path],
    environment: Mapping[str, str],
    on_progress: Callable[[Mapping[str, object]], None],
) -> Done:
    """Do a job from its beginning, or from its checkpoints, to its end.

    Several instances are processes with a folder each, one after the other.

    Args:
        job: what to do.
        key: the step's, see ``cache.step_key``.
        folder: the job's own.
        sources: name of an input → where it lies.
        environment: variables besides those of the job.
        on_progress: is told what ``progress.parse_line`` reads.

    Raises:
        ConfigError: it found the configuration wrong.
        PipelineError: it failed, or left an output empty.
    """
    busy = f"The step {job.name} is still at work in process {{pid}}, left by an earlier run."
    with exclusive(folder / "lock", busy, wait_s=_ORPHAN_WAIT_S) as lock:
        started = time.monotonic()
        (folder / DONE).unlink(missing_ok=True)
        for number, own in enumerate(_instance_folders(job, folder)):
            _lay_out(job, own, sources, number)
            variables = {**environment, **environment_of(job, key, own)}
            ended = run_command(job.command, variables, own, folder / LOG, lock, on_progress)
            if ended.code != 0:
                wrong = ended.code == ConfigError.exit_code
                error = ConfigError if wrong else PipelineError
                raise error(_explain_failure(job, ended, own, folder / LOG))
        _collect(job, folder)
        seconds = round(time.monotonic() - started, 3)
        return write_done(folder, job, key, ended=now(), seconds=seconds)


def _instance_folders(job: Job, folder: Path) -> list[Path]:
    """A folder with an ``ml/`` for each instance; the only one has the job's own."""
    return [folder] if len(job.hosts) == 1 else [folder / host for host in job.hosts]


def _lay_out(job: Job, folder: Path, sources: Mapping[str, Path], number: int) -> None:
    """Make an instance's ``ml/`` afresh: inputs linked, outputs empty, what ``KEPT`` names kept."""
    root = folder / "ml"
    root.mkdir(parents=True, exist_ok=True)
    _wipe(root, keep=[root / name for name in KEPT])
    for output in job.outputs.values():
        if output.startswith("ml/"):
            (folder / output).mkdir(parents=True, exist_ok=True)
        else:
            (folder / output).unlink(missing_ok=True)
    (root / "model").mkdir(exist_ok=True)
    for name in KEPT:
        (root / name).mkdir(parents=True, exist_ok=True)
    for name, (_, place) in job.inputs.items():
        if name in job.sharded:
            link_share(sources[name], root / place, number, len(job.hosts))
        else:
            _link(sources[name], root / place)
    hosts = {"current_host": job.hosts[number], "hosts": list(job.hosts)}
    for file, content in {**job.documents, job.hosts_document: hosts}.items():
        write_json(root / file, content)


def _link(source: Path, target: Path) -> None:
    """A folder becomes the input; a file lies in it under its own name, as S3 would bring it."""
    if source.is_file():
        target.mkdir(parents=True, exist_ok=True)
        target = target / source.name
    target.parent.mkdir(parents=True, exist_ok=True)
    target.symlink_to(source.absolute())


def _wipe(folder: Path, keep: list[Path]) -> None:
    for entry in folder.iterdir():
        if entry in keep:
            continue
        if entry.is_symlink() or entry.is_file():
            entry.unlink()
        elif any(path.is_relative_to(entry) for path in keep):
            _wipe(entry, keep)
        else:
            shutil.rmtree(entry)


def _explain_failure(job: Job, ended: Ended, folder: Path, log: Path) -> str:
    """Why it failed: what it left in its failure file, or how it ended; and its last lines."""
    file = folder / "ml" / "output" / "failure"
    cause = file.read_text(encoding="utf-8", errors="replace").strip() if file.exists() else ""
    if not cause and ended.code < 0:
        cause = f"it was ended by {signal.Signals(-ended.code).name}"
        if ended.code == -signal.SIGKILL:
            cause += " (by a person, or by the system because memory ran out)"
    cause = cause or f"it ended with exit code {ended.code}"
    lines = [f"The step {job.name} failed: {cause}", f"Its log: {log}"]
    lines += [f"  {line}" for line in ended.tail if line.strip() not in cause]
    return "\n".join(lines)


def _collect(job: Job, folder: Path) -> None:
    """Bring the outputs together, pack the model, see that nothing is missing, tidy up."""
    parts = _instance_folders(job, folder)
    if parts != [folder]:
        for name, place in job.outputs.items():
            shutil.rmtree(folder / place, ignore_errors=True)
            what = f"The step {job.name}'s output {name!r}"
            merge([part / place for part in parts], folder / place, what)
        for part in parts:
            shutil.rmtree(part)
    if job.kind == "Training":
        pack(folder / "ml" / "model", folder / ARTIFACT)
    for name, place in job.outputs.items():
        path = folder / place
        if path.is_dir() and not any(path.iterdir()):
            raise PipelineError(f"The step {job.name} ended, but left its output {name!r} empty.")
    shutil.rmtree(folder / "ml" / "work", ignore_errors=True)
