"""``pixloop models``: list, show, compare, approve, promote, reject, rollback."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape
from rich.table import Table

from pixloop.cli.output import JsonOption, ProjectOption, out, print_json
from pixloop.model_versions import ModelVersion
from pixloop.project import Project

if TYPE_CHECKING:
    from pixloop.aws.pipeline.model_packages import PackageRegistry
    from pixloop.registry import Registry

app = typer.Typer(help="The versions of this project's model.", no_args_is_help=True)

OnOption = Annotated[Literal["here", "sagemaker"], typer.Option("--on", help="Whose registry.")]
VersionArgument = Annotated[str, typer.Argument(help="A number, 'latest' or 'champion'.")]


#: The metrics in the list of versions, by task.
_SHOWN = {
    "classification": {"accuracy": "accuracy", "f1_macro": "macro F1"},
    "detection": {"map_50": "AP50", "map": "AP50:95", "f1_macro": "macro F1"},
}


@app.command("list")
def list_(on: OnOption = "here", project: ProjectOption = ".", json: JsonOption = False) -> None:
    """List the versions, newest first.

    Example: `pixloop models list`
    """
    opened = Project.open(project)
    versions = _registry(opened, on).list()
    if json:
        print_json({"versions": [version.model_dump(mode="json") for version in versions]})
        return
    if not versions:
        where = "" if on == "here" else f" --on {on}"
        out.print(f"No versions yet. 'pixloop run{where}' makes one.")
        return
    shown = _SHOWN[opened.config.task]
    table = Table("version", "status", *shown.values(), "graph", "created", box=None)
    for version in versions:
        status = f"{version.status}, champion" if version.champion else version.status
        table.add_row(
            version.version,
            status,
            *(_number(version.metrics.get(name)) for name in shown),
            version.chosen_graph,
            version.created.removesuffix("+00:00") + "Z",
        )
    out.print(table)


@app.command()
def show(
    version: VersionArgument,
    on: OnOption = "here",
    project: ProjectOption = ".",
    json: JsonOption = False,
) -> None:
    """Show a version: status, metrics, graph, lineage.

    Example: `pixloop models show latest --json`
    """
    _print_version(_registry(Project.open(project), on).show(version), json)


@app.command()
def approve(
    version: VersionArgument,
    on: OnOption = "here",
    project: ProjectOption = ".",
    json: JsonOption = False,
) -> None:
    """Approve a version: it becomes the champion, which 'pixloop serve' serves.

    On SageMaker, that deploys it.

    Example: `pixloop models approve 3`
    """
    _print_version(_registry(Project.open(project), on).approve(version), json)


@app.command()
def promote(
    version: Annotated[str, typer.Argument(help="A number or 'latest'.")] = "latest",
    project: ProjectOption = ".",
    json: JsonOption = False,
) -> None:
    """Approve a version if it is shown not worse than the champion, and better where it should be.

    Its evaluation has tested that on the same pictures; if it does not suffice, this says why.

    Example: `pixloop models promote latest`
    """
    registry = Project.open(project).registry
    before = registry.show(version)
    promoted = registry.promote(version)
    if not json:
        did = "is the champion already" if before.champion else "is the champion now"
        out.print(f"Version {promoted.version} {did}.")
    _print_version(promoted, json)


@app.command()
def reject(
    version: VersionArgument,
    reason: Annotated[str, typer.Option("--reason", help="Why; kept with the version.")] = "",
    on: OnOption = "here",
    project: ProjectOption = ".",
    json: JsonOption = False,
) -> None:
    """Reject a version: it is never served unless it is named.

    Example: `pixloop models reject 3 --reason "wrong on snow"`
    """
    _print_version(_registry(Project.open(project), on).reject(version, reason), json)


@app.command()
def rollback(on: OnOption = "here", project: ProjectOption = ".", json: JsonOption = False) -> None:
    """Make the previous champion the champion again.

    Example: `pixloop models rollback`
    """
    _print_version(_registry(Project.open(project), on).rollback(), json)


@app.command()
def compare(
    a: VersionArgument,
    b: VersionArgument,
    on: OnOption = "here",
    project: ProjectOption = ".",
    json: JsonOption = False,
) -> None:
    """Compare the metrics of two versions.

    Example: `pixloop models compare 1 latest`
    """
    comparison = _registry(Project.open(project), on).compare(a, b)
    if json:
        print_json(comparison)
        return
    table = Table(
        "metric", f"version {comparison.a}", f"version {comparison.b}", "difference", box=None
    )
    for name, pair in comparison.metrics.items():
        table.add_row(name, f"{pair.a:.4f}", f"{pair.b:.4f}", f"{pair.difference:+.4f}")
    out.print(table)


def _registry(project: Project, on: str) -> "Registry | PackageRegistry":
    return project.on_aws.registry if on == "sagemaker" else project.registry


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _print_version(version: ModelVersion, json: bool) -> None:
    if json:
        print_json(version)
        return
    champion = ", champion" if version.champion else ""
    out.print(f"[bold]version {version.version}[/]  {version.status}{champion}")
    out.print(f"  created     {version.created}")
    out.print(f"  graph       {version.chosen_graph}")
    for name, value in version.metrics.items():
        out.print(f"  {name.ljust(18)}{value:.4f}")
    for name, value in version.lineage.items():
        if not isinstance(value, dict):
            out.print(f"  {name.ljust(18)}{escape(str(value))}")
