"""``pixloop aws``: image, deploy, status, cost, rehearse, github, destroy."""

import dataclasses
import math
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.markup import escape
from rich.table import Table

from pixloop.cli import rekognition
from pixloop.cli.events import print_event
from pixloop.cli.output import JsonOption, ProjectOption, err, out, print_json
from pixloop.errors import ConfigError
from pixloop.pipeline.display import Lines
from pixloop.project import Project

app = typer.Typer(help="The loop on AWS, or a rehearsal of it here.", no_args_is_help=True)
app.add_typer(rekognition.app, name="rekognition")

PricesOption = Annotated[
    Path | None,
    typer.Option("--prices", help="A price table of your own.", show_default="pixloop's"),
]


@app.command()
def image(
    accelerator: Annotated[
        Literal["cpu", "cuda"], typer.Option(help="Which torch is in it.")
    ] = "cpu",
    tool: Annotated[
        str | None,
        typer.Option(help="docker, podman or buildah.", show_default="the first that works"),
    ] = None,
    build_arg: Annotated[
        list[str] | None,
        typer.Option("--build-arg", metavar="NAME=VALUE", help="For the Dockerfile; repeatable."),
    ] = None,
    push: Annotated[bool, typer.Option(help="Push it to the project's repository.")] = True,
    project: ProjectOption = ".",
    json: JsonOption = False,
) -> None:
    """Build the one image that trains, processes and serves, and push it to ECR.

    Example: `pixloop aws image --accelerator cuda`
    """
    for each in build_arg or ():
        if "=" not in each:
            raise ConfigError(f"--build-arg {each!r}: expected NAME=VALUE.")
    arguments = dict(each.partition("=")[::2] for each in build_arg or ())
    address = Project.open(project).on_aws.build_image(accelerator, tool, arguments, push)
    if json:
        print_json({"image": address})
    else:
        out.print(escape(address))


@app.command()
def deploy(
    to: Annotated[
        Literal["endpoint", "serverless", "async", "function"] | None,
        typer.Option("--to", help="What approved versions go to.", show_default="as it is"),
    ] = None,
    github: Annotated[
        str | None, typer.Option(metavar="OWNER/NAME", help="Whose commits may deploy.")
    ] = None,
    github_branch: Annotated[
        str | None,
        typer.Option(metavar="BRANCH", help="On which branch.", show_default="as it is, or main"),
    ] = None,
    alarm_email: Annotated[str | None, typer.Option(help="Who is told of alarms.")] = None,
    connection: Annotated[
        str | None, typer.Option(metavar="ARN", help="CodePipeline: a CodeConnection.")
    ] = None,
    repository: Annotated[
        str | None, typer.Option(metavar="OWNER/NAME", help="CodePipeline: at its other end.")
    ] = None,
    vpc_endpoints: Annotated[
        bool, typer.Option("--vpc-endpoints", help="Also make endpoints for aws.subnets.")
    ] = False,
    project: ProjectOption = ".",
    json: JsonOption = False,
) -> None:
    """Make or change the two stacks: the one that learns and the one that serves.

    Doing it again changes nothing. 'pixloop aws cost' says before what it costs.

    Example: `pixloop aws deploy --alarm-email you@example.org`
    """
    for option, name in (("--github", github), ("--repository", repository)):
        if name and name.count("/") != 1:
            raise ConfigError(f"{option} {name!r}: expected OWNER/NAME.")
    if bool(connection) != bool(repository):
        raise ConfigError("--connection and --repository: give both, or neither.")
    _check_branch("--github-branch", github_branch)
    if alarm_email and "@" not in alarm_email:
        raise ConfigError(f"--alarm-email {alarm_email!r} is no mail address.")
    outputs = Project.open(project).on_aws.deploy_stacks(
        print_event,
        {
            "deploy_to": to,
            "github_repository": github,
            "github_branch": github_branch,
            "alarm_email": alarm_email,
            "code_connection_arn": connection,
            "code_repository": repository,
        },
        vpc_endpoints,
    )
    if json:
        print_json({"outputs": outputs})
        return
    for name, value in sorted(outputs.items()):
        out.print(f"  {name.ljust(24)}{escape(value)}")


@app.command()
def destroy(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    with_data: Annotated[
        bool,
        typer.Option("--with-data", help="Also buckets, images and registered versions, for good."),
    ] = False,
    project: ProjectOption = ".",
    json: JsonOption = False,
) -> None:
    """Remove the stacks and everything that deployment made; the data only if asked.

    Example: `pixloop aws destroy`
    """
    opened = Project.open(project)
    what = "everything, the data included," if with_data else "everything but the data"
    if not yes:
        typer.confirm(f"Remove {what} of {opened.config.name} from AWS?", abort=True, err=True)
    remains = opened.on_aws.destroy_stacks(print_event, keep_data=not with_data)
    if json:
        print_json({"remains": remains})
        return
    out.print("Removed." if not remains else "Removed. What remains:")
    for line in remains:
        out.print(f"  {escape(line)}")


@app.command()
def status(
    prices: PricesOption = None, project: ProjectOption = ".", json: JsonOption = False
) -> None:
    """Show what is there, what waits, what is wrong, and what costs by the hour now.

    Example: `pixloop aws status`
    """
    on_aws = Project.open(project).on_aws
    found, costs = on_aws.status(), on_aws.running_costs(prices)
    if json:
        running = {**dataclasses.asdict(costs), "per_hour": costs.per_hour}
        print_json({**dataclasses.asdict(found), "running": running})
        return
    for stack, state in found.stacks.items():
        out.print(f"  stack     {stack}  {state or 'not there'}")
    if found.execution:
        out.print(f"  last run  {found.execution.status}, started {found.execution.started}")
    for serving in found.serving:
        out.print(
            f"  serves    [bold]{escape(serving.model)}[/] as {serving.name}, {serving.status}"
        )
    for waiting in found.pending:
        out.print(f"  waits     version {waiting.version}, made {waiting.made}, for approval")
    for queue, depth in found.queues.items():
        dead = queue.endswith("-dead") and depth.waiting
        style = "[bold red]" if dead else ""
        out.print(f"  queue     {style}{queue}: {depth.waiting} waiting, {depth.at_work} at work")
    for alarm in found.alarms:
        out.print(f"  [bold red]alarm     {escape(alarm)}[/]")
    for line in [*found.unknown, *costs.notes]:
        err.print(f"[yellow]{escape(line)}[/]")
    for thing in costs.things:
        price = "no price" if thing.per_hour is None else f"{thing.per_hour:.3f} an hour"
        whose = "" if thing.ours else "  (not by its name this project's)"
        out.print(f"  costs     {escape(thing.what)}, {thing.detail}: {price}{whose}")
    out.print(f"  in all    {costs.per_hour:.3f} an hour for what runs now")


@app.command()
def cost(
    pictures: Annotated[
        int | None,
        typer.Option(
            help="How many a run works on.", show_default="the last run's, or 1000", min=1
        ),
    ] = None,
    requests: Annotated[float, typer.Option(help="Pictures to answer a day.", min=0)] = 1000,
    prices: PricesOption = None,
    project: ProjectOption = ".",
    json: JsonOption = False,
) -> None:
    """Say what a run and a month of serving will cost, and what that rests on. Asks nobody.

    Example: `pixloop aws cost --requests 50000`
    """
    if not math.isfinite(requests):
        raise ConfigError(f"--requests {requests}: expected a finite number.")
    estimate = Project.open(project).on_aws.estimate(pictures, requests, prices)
    if json:
        print_json(_plain(estimate))
        return
    table = Table("what", "quantity", "unit", "price", estimate.currency, box=None)
    for column in (1, 3, 4):
        table.columns[column].justify = "right"
    serving = {f"A month by {kind}": part for kind, part in estimate.serving.items()}
    parts = [estimate.run, estimate.standing, *serving.values(), *estimate.paths.values()]
    for part in [*parts, estimate.rekognition]:
        table.add_row(f"[bold]{part.title}[/]", "", "", "", f"[bold]{part.total:,.2f}[/]")
        for line in part.lines:
            price = "none known" if line.price is None else f"{line.price:.10g}"
            table.add_row(
                f"  {line.what}", f"{line.quantity:,.4g}", line.unit, price, f"{line.sum:,.2f}"
            )
    out.print(table)
    for sentence in estimate.assumptions:
        out.print(f"  {escape(sentence)}", style="dim")


@app.command()
def rehearse(
    data: Annotated[
        Path | None,
        typer.Option(help="Labelled pictures.", show_default="handwritten digits", exists=True),
    ] = None,
    folder: Annotated[
        Path, typer.Option("--dir", help="Where it is played.", file_okay=False)
    ] = Path("pixloop-rehearsal"),
    json: JsonOption = False,
) -> None:
    """Play the whole loop on AWS here, with no account: each link says what stood in for AWS.

    Example: `pixloop aws rehearse`
    """
    # moto and what it brings take seconds to import, and are an extra.
    from pixloop.aws.rehearsal.story import LinkResult, rehearse

    def show(link: LinkResult) -> None:
        if not link.played:
            err.print(f"· {escape(link.name)}: {escape(link.happened)}", style="dim")
            return
        mark = "[green]✓[/]" if link.ok else "[bold red]✗[/]"
        err.print(f"{mark} [bold]{escape(link.name)}[/]  {link.seconds:.1f} s")
        err.print(f"    {escape(link.happened)}")
        err.print(f"    stand-in: {escape(link.stood_in_by)}", style="dim")

    try:
        played = rehearse(folder.resolve(), pictures=data, listener=Lines(), on_link=show)
    except KeyboardInterrupt:
        err.print("Stopped. Nothing is left at work, here or on AWS, which was never asked.")
        raise typer.Exit(130) from None
    if json:
        print_json(played)
    else:
        held = sum(link.ok for link in played.links)
        out.print(f"{held} of {len(played.links)} links held, in {played.seconds:.0f} s")
        out.print(f"  pictures, models, reports and logs: {escape(played.folder)}")
    if not played.ok:
        raise typer.Exit(1)


@app.command()
def github(
    branch: Annotated[
        str | None,
        typer.Option(help="Whose commits deploy.", show_default="the stack's, or main"),
    ] = None,
    role: Annotated[
        str | None,
        typer.Option(metavar="ARN", help="The role to assume.", show_default="the stack's"),
    ] = None,
    project: ProjectOption = ".",
    json: JsonOption = False,
) -> None:
    """Print a GitHub Actions workflow that builds and deploys at each commit, without keys.

    Example: `pixloop aws github > .github/workflows/pixloop.yaml`
    """
    _check_branch("--branch", branch)
    text = Project.open(project).on_aws.github_workflow(branch, role)
    if json:
        print_json({"workflow": text})
    else:
        print(text, end="")


def _check_branch(option: str, branch: str | None) -> None:
    if branch is not None and not branch.strip():
        raise ConfigError(f"{option} {branch!r}: expected a branch, such as main.")


def _plain(estimate: Any) -> dict[str, Any]:
    """An estimate with the sums that its parts and lines have."""

    def part(each: Any) -> dict[str, Any]:
        lines = [{**dataclasses.asdict(line), "sum": line.sum} for line in each.lines]
        return {"title": each.title, "total": each.total, "lines": lines}

    return {
        **dataclasses.asdict(estimate),
        "run": part(estimate.run),
        "standing": part(estimate.standing),
        "serving": {kind: part(each) for kind, each in estimate.serving.items()},
        "paths": {kind: part(each) for kind, each in estimate.paths.items()},
        "rekognition": part(estimate.rekognition),
    }
