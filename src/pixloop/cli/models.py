"""``pixloop models``: list, show, compare, approve, promote, reject, rollback."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape
from rich.table import Table

from pixloop.cli.output import JsonOption, ProjectOption, out, print_json
from pixloop.evaluation.formats import percent, points
from pixloop.model_versions import Comparison, ModelVersion
from pixloop.project import Project

if TYPE_CHECKING:
    from pixloop.aws.pipeline.model_packages import PackageRegistry
    from pixloop.evaluation.comparison.compare import Comparison as PicturesComparison
    from pixloop.evaluation.comparison.measures import Difference
    from pixloop.registry import Registry

app = typer.Typer(help="The versions of this project's model.", no_args_is_help=True)

OnOption = Annotated[Literal["here", "sagemaker"], typer.Option("--on", help="Whose registry.")]
_COMPARED = "A number, 'latest' or 'champion', or a bundle's folder or archive."
VersionArgument = Annotated[str, typer.Argument(help="A number, 'latest' or 'champion'.")]


#: The longest name of a model that heads a column, in characters.
_COLUMN = 12
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
    a: Annotated[str, typer.Argument(help=_COMPARED)],
    b: Annotated[str, typer.Argument(help=_COMPARED)],
    data: Annotated[
        Path | None,
        typer.Option("--data", help="A data set's folder.", show_default="that of the last run"),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--out", help="The page to write.", show_default="below .pixloop/comparisons"),
    ] = None,
    on: OnOption = "here",
    project: ProjectOption = ".",
    json: JsonOption = False,
) -> None:
    """Compare two models on the same test pictures: B against A.

    Says which is better and how sure that is, over all and slice by slice, and writes a page. With
    --on sagemaker, only the metrics that the versions were registered with are put side by side.

    Example: `pixloop models compare champion latest --out report.html`
    """
    opened = Project.open(project)
    if on == "sagemaker":
        _print_registered(opened.on_aws.registry.compare(a, b), json)
        return
    found = opened.compare(a, b, data, output)
    if json:
        print_json({**found.content, "report": str(found.report)})
        return
    for note in found.notes:
        out.print(f"[yellow]note[/] {escape(note)}")
    out.print(f"[bold]{escape(found.words[0])}[/]")
    for sentence in found.words[1:]:
        out.print(escape(sentence))
    out.print(_measure_table(found, a, b))
    out.print(f"report  {escape(str(found.report))}")


def _measure_table(found: "PicturesComparison", a: str, b: str) -> Table:
    # A folder's path would leave no room for the numbers.
    names = [name if len(name) <= _COLUMN else letter for name, letter in ((a, "A"), (b, "B"))]
    table = Table("measure", *map(escape, names), "difference", "95\xa0% interval", box=None)
    for row in found.measures:
        low, high = _signed(row, row.low), _signed(row, row.high)
        table.add_row(
            row.measure.title,
            *(_plain(row, value) for value in (row.champion, row.challenger)),
            _signed(row, row.difference),
            "–" if row.low is None else f"{low} to {high}",
        )
    return table


def _plain(row: "Difference", value: float | None) -> str:
    if value is None or not row.measure.share:
        return _number(value)
    return percent(value)


def _signed(row: "Difference", value: float | None) -> str:
    """A difference; of shares, in points."""
    if value is None:
        return "–"
    return points(value) if row.measure.share else _change(value, 3)


def _change(value: float, digits: int) -> str:
    return f"{value:+.{digits}f}".replace("-", "−")


def _print_registered(comparison: Comparison, json: bool) -> None:
    if json:
        print_json(comparison)
        return
    table = Table(
        "metric", f"version {comparison.a}", f"version {comparison.b}", "difference", box=None
    )
    for name, pair in comparison.metrics.items():
        table.add_row(name, f"{pair.a:.4f}", f"{pair.b:.4f}", _change(pair.difference, 4))
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
