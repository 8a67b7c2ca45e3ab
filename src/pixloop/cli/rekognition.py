"""``pixloop aws rekognition``: train, start, stop, status."""

from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.markup import escape

from pixloop.acceptance import Acceptance
from pixloop.cli.events import print_event
from pixloop.cli.output import JsonOption, ProjectOption, err, out, print_json
from pixloop.project import Project

app = typer.Typer(
    help="Rekognition Custom Labels as a managed trainer of the same data set.",
    no_args_is_help=True,
)

VersionArgument = Annotated[str, typer.Argument(help="A version's name.")]


@app.command()
def train(project: ProjectOption = ".", json: JsonOption = False) -> None:
    """Train on the data set of the last run, wait, and write its metrics. It costs by the hour.

    Example: `pixloop aws rekognition train`
    """
    trained = Project.open(project).on_aws.rekognition.train(_tell)
    if json:
        print_json(trained.model_dump(mode="json"))
        return
    for reason, pictures in trained.left_out.items():
        err.print(f"[yellow]left out: {pictures} pictures {escape(reason)}[/]")
    metrics = ", ".join(f"{name} {value:.3f}" for name, value in trained.metrics.items())
    out.print(f"[bold green]{trained.version}[/] is trained: {metrics}")
    out.print(f"  {escape(trained.evaluation)}")


@app.command()
def start(
    version: VersionArgument = "latest",
    hours: Annotated[
        float, typer.Option(help="After which it is stopped, whatever happens.", min=0.1, max=168)
    ] = 1.0,
    queue: Annotated[
        bool,
        typer.Option("--queue", help="Queue and workflow ask it, until it is stopped."),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    project: ProjectOption = ".",
    json: JsonOption = False,
) -> None:
    """Start a version, which then costs by the hour, and choose its threshold.

    Example: `pixloop aws rekognition start --hours 2`
    """
    on_aws = Project.open(project).on_aws
    opened = on_aws.rekognition
    opened.list()  # what cannot be asked cannot be started
    price = opened.price_per_hour()
    costs = f"about {price * hours:.2f} USD" if price else "money"
    warning = f"A running version costs by the hour, asked or not: {hours:g} hours cost {costs}."
    err.print(f"[yellow]{warning}[/]")
    if not yes:
        typer.confirm("Start it?", abort=True, err=True)
    started = opened.start(version, hours, _tell)
    if queue:
        acceptance = Acceptance(started["threshold"], started["classes"])
        on_aws.let_rekognition_answer(print_event, started["arn"], acceptance)
    if json:
        print_json(started)
        return
    accepts = _from(started["threshold"]) if not started["classes"] else "by class"
    out.print(f"[bold]{started['version']}[/] runs; it accepts {accepts}")
    for label, least in started["classes"].items():
        out.print(f"  {escape(label)}: {_from(least)}")
    out.print(
        "  'pixloop predict --on rekognition' asks it, 'pixloop aws rekognition stop' stops it"
    )


@app.command()
def stop(
    version: VersionArgument = "latest", project: ProjectOption = ".", json: JsonOption = False
) -> None:
    """Stop a version now; the queue and the workflow ask the deployed model again.

    Example: `pixloop aws rekognition stop`
    """
    on_aws = Project.open(project).on_aws
    # First, so that nobody asks it any more.
    on_aws.let_rekognition_answer(print_event)
    _print(asdict(on_aws.rekognition.stop(version)), json)


@app.command()
def status(project: ProjectOption = ".", json: JsonOption = False) -> None:
    """List the versions and whether they run.

    Example: `pixloop aws rekognition status`
    """
    versions = [asdict(each) for each in Project.open(project).on_aws.rekognition.list()]
    if json:
        print_json({"versions": versions})
        return
    if not versions:
        out.print("No versions yet. 'pixloop aws rekognition train' makes one.")
    for each in versions:
        _print(each, json=False)


def _from(least: float | None) -> str:
    return "nothing" if least is None else f"from score {least:.3f} on"


def _print(version: dict[str, Any], json: bool) -> None:
    if json:
        print_json(version)
        return
    quality = "" if version["f1"] is None else f"  F1 {version['f1']:.3f}"
    out.print(f"{version['name']}  {version['status']}{quality}")


def _tell(line: str) -> None:
    err.print(escape(line), style="dim")
