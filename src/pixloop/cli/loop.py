"""The commands of the loop: init, run, report, pipeline."""

import math
import os
import shlex
import webbrowser
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.markup import escape

from pixloop.bundle import Task
from pixloop.cli.output import JsonOption, ProjectOption, err, out, percent, print_json
from pixloop.errors import ConfigError, PipelineError
from pixloop.pipeline.display import display
from pixloop.pipeline.runs import STARTED_BY, Cause
from pixloop.project import Project
from pixloop.run_summary import CARD, RunSummary

_MOST_NAMES = 5  # of classes that share a threshold

SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key of pixloop.yaml; repeatable."),
]


def init(
    folder: Annotated[str, typer.Argument(help="The project's folder; made where missing.")],
    data: Annotated[
        str,
        typer.Option(
            "--data",
            help="Pictures: a folder, zip, tar, .csv, .jsonl, or an https://, s3://, "
            "hf://datasets/ or kaggle:// address.",
        ),
    ],
    task: Annotated[str, typer.Option("--task", help="What is learned.")] = "classification",
    json: JsonOption = False,
) -> None:
    """Make a project: a folder with a pixloop.yaml that explains itself.

    Example: `pixloop init vehicles --data ~/pictures`
    """
    project = Project.init(folder, data, task)
    if json:
        print_json({"project": project.config.name, "folder": str(project.folder)})
        return
    out.print(f"Made [bold]{escape(str(project.folder / 'pixloop.yaml'))}[/]. Next:")
    go = "" if project.folder == Path.cwd() else f"cd {shlex.quote(folder)} && "
    out.print(f"  [bold cyan]{escape(go)}pixloop run[/]")


def run(
    set_: SetOption = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Warnings about the data are errors.")
    ] = False,
    on: Annotated[
        Literal["here", "sagemaker"], typer.Option("--on", help="Which machines run it.")
    ] = "here",
    tune: Annotated[
        bool, typer.Option("--tune", help="On SageMaker: search what `tuning` names.")
    ] = False,
    follow: Annotated[
        str | None,
        typer.Option("--follow", metavar="ARN", help="On SageMaker: an execution at work."),
    ] = None,
    stop: Annotated[
        str | None,
        typer.Option("--stop", metavar="ARN", help="On SageMaker: end an execution."),
    ] = None,
    because: Annotated[
        str, typer.Option("--because", metavar="TEXT", help="Why, kept with the run's record.")
    ] = "",
    project: ProjectOption = ".",
    json: JsonOption = False,
) -> None:
    """Prepare, train, export, evaluate, gate and register.

    Finished steps are reused, a killed run resumes. A model that the gate refuses ends with exit
    code 3. On SageMaker, the run goes on when this command is interrupted.

    Training takes every GPU; PIXLOOP_PROCESSES=N takes N processes. PIXLOOP_RAY=ADDRESS lets a Ray
    cluster check the pictures.

    Example: `pixloop run --set training.epochs=3`
    """
    overrides = [*(set_ or ()), *(["data.strict=true"] if strict else [])]
    opened = Project.open(project, overrides)
    _check_execution_options(on, tune, follow, stop)
    if stop is not None:
        opened.on_aws.stop(stop)
        _tell_stopped(stop, json)
        return
    try:
        with display() as listener:
            summary = (
                opened.run(listener, on, tune, _cause(because))
                if follow is None
                else opened.on_aws.follow(follow, listener)
            )
    except KeyboardInterrupt as e:
        if str(e):  # what goes on without us, and how to follow it
            err.print(escape(str(e)))
        raise
    if json:
        print_json(summary)
    else:
        print_summary(summary)


def _cause(because: str) -> Cause:
    """Why this process runs a pipeline; the web pages say so where they started it."""
    by: Literal["page", "person"] = "page" if os.environ.get(STARTED_BY) == "page" else "person"
    return Cause(by=by, detail=because)


def _check_execution_options(on: str, tune: bool, follow: str | None, stop: str | None) -> None:
    if follow is None and stop is None:
        return
    if on != "sagemaker":
        raise ConfigError("--follow and --stop are about executions there: add --on sagemaker.")
    if (follow is not None) + (stop is not None) + tune > 1:
        raise ConfigError("--follow, --stop and --tune exclude one another.")
    # An empty shell variable must not start a run.
    for option, arn in (("--follow", follow), ("--stop", stop)):
        if arn is not None and not arn.startswith("arn:"):
            raise ConfigError(f"{option}: {arn!r} is no ARN of an execution (arn:aws:sagemaker:…).")


def report(
    card: Annotated[
        bool, typer.Option("--card", help="The model card instead: a page or two, to print.")
    ] = False,
    browser: Annotated[bool, typer.Option(help="Open the report in a browser.")] = True,
    project: ProjectOption = ".",
    json: JsonOption = False,
) -> None:
    """Open the HTML report of the last run, or its model card: one file that needs no network.

    Example: `pixloop report --no-browser`
    """
    path = Project.open(project).report()
    if card:
        path = path.with_name(CARD)
        if not path.is_file():
            raise PipelineError(f"{path} does not exist: the last run made none. Run it again.")
    if json:
        print_json({"card" if card else "report": str(path)})
        return
    out.print(escape(str(path)))
    if browser and not webbrowser.open(path.as_uri()):
        err.print("No browser could be opened; open the file above in one.")


def pipeline(project: ProjectOption = ".", json: JsonOption = False) -> None:
    """Print the pipeline definition, as SageMaker reads it.

    Example: `pixloop pipeline > pipeline.json`
    """
    # The definition is JSON anyway; --json is taken so that every command takes it.
    print_json(Project.open(project).definition())


def _tell_stopped(execution: str, json: bool) -> None:
    if json:
        print_json({"stopping": execution})
    else:
        out.print(f"{escape(execution)} is being stopped")


def print_summary(summary: RunSummary) -> None:
    """Tell people what a run made."""
    metrics, threshold = summary.metrics, summary.threshold
    out.print(
        f"[bold green]{escape(summary.project)} version {summary.version}[/] is registered, "
        f"after {summary.seconds:.0f} s"
    )
    pictures = ", ".join(f"{n} {split}" for split, n in summary.pictures.items())
    out.print(f"  data        {len(summary.classes)} classes; pictures: {pictures}")
    for finding in summary.findings:
        out.print(f"              [yellow]{escape(finding)}[/]")
    out.print(f"  model       {escape(summary.model)}, started from {escape(summary.weights)}")
    out.print(f"  quality     {_quality(summary.task, metrics)} on the test pictures")
    for i, line in enumerate(_accepts(threshold)):
        out.print(f"{'' if i else '  accepts':12}  {escape(line)}")
    out.print(f"  graph       {summary.chosen_graph}, the fastest that agrees with the model")
    out.print(f"  report      {escape(summary.report)}")


def _quality(task: Task, metrics: dict[str, float]) -> str:
    if task == "detection":
        return (
            f"AP50 [bold]{metrics['map_50']:.3f}[/], AP50:95 {metrics['map']:.3f}, "
            f"macro F1 {metrics['f1_macro']:.3f}"
        )
    return f"accuracy [bold]{percent(metrics['accuracy'])}[/], macro F1 {metrics['f1_macro']:.3f}"


def _accepts(threshold: dict[str, Any]) -> Iterator[str]:
    """From which scores on, and what that promises; a line a group of classes."""
    promise = (
        f"at most {percent(threshold['max_error'])} wrong "
        f"(with {percent(threshold['confidence'])} confidence"
    )
    if not threshold["groups"]:
        score = threshold["score"]
        sure = _why_none(threshold, threshold["pictures"])
        yield sure if score is None else f"from score {score:.3f} on, {promise})"
        return
    yield f"by class, {promise} for each line)"
    for group in threshold["groups"]:
        classes = ", ".join(group["classes"][:_MOST_NAMES])
        if len(group["classes"]) > _MOST_NAMES:
            classes += f" and {len(group['classes']) - _MOST_NAMES} more"
        sure = _why_none(threshold, group["pictures"])
        yield f"{classes}: " + (
            sure if group["score"] is None else f"from score {group['score']:.3f} on"
        )


def _why_none(threshold: dict[str, Any], pictures: int) -> str:
    error = threshold["max_error"]
    # Fewer cannot show it even without a single mistake: (1 - error)^n must fall below the doubt.
    least = math.ceil(math.log(1 - threshold["confidence"]) / math.log(1 - error))
    why = f"nothing: {percent(error)} error cannot be promised from {pictures} calibration pictures"
    if pictures < least:
        why += f" (at least {least} are needed)"
    return f"{why}. Add pictures, or raise data.calibration_share or thresholds.max_error"
