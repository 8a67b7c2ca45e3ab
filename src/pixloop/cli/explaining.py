"""The command ``explain``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from pixloop.cli.output import JsonOption, ProjectOption, err, out, percent, print_json
from pixloop.cli.serving import VersionOption
from pixloop.errors import DataError
from pixloop.picture_predictions.files import find_pictures
from pixloop.project import Project

if TYPE_CHECKING:
    from pixloop.evaluation.explanations.explain import PictureExplanation


def explain(
    pictures: Annotated[
        list[Path],
        typer.Argument(help="Picture files, and folders: of these every picture, at any depth."),
    ],
    method: Annotated[
        str | None,
        typer.Option(
            help="grad-cam, integrated-gradients or occlusion; for detectors d-rise.",
            show_default="the one that passed its checks best",
        ),
    ] = None,
    label: Annotated[
        str | None,
        typer.Option("--label", help="Explain this class, whatever is answered; or its boxes."),
    ] = None,
    version: VersionOption = None,
    output: Annotated[
        Path, typer.Option("--out", "-o", help="The folder that drawings are written into.")
    ] = Path("explained"),
    project: ProjectOption = ".",
    json: JsonOption = False,
) -> None:
    """Show which pixels spoke for an answer: each picture beside itself, with them coloured.

    A method is used only if it passed its checks for this version; the first call makes them. Ends
    with 1 where a picture cannot be read.

    Example: `pixloop explain photos/1.jpg --out explained`
    """
    # torch and captum take seconds to import.
    from pixloop.evaluation.explanations.explain import PictureExplainer

    opened = Project.open(project)
    _, bundle = opened.bundle(version)
    explainer = PictureExplainer(bundle, opened.state / "explanations", method)
    explanations = list(explainer.explain(find_pictures(pictures), output, label))
    unreadable = [each for each in explanations if each.error is not None]
    if json:
        print_json(
            {
                "method": explainer.method.name,
                "checks": [check.model_dump(mode="json") for check in explainer.checks],
                "explanations": [each.model_dump(mode="json") for each in explanations],
            }
        )
    else:
        for each in unreadable:
            err.print(f"[red]{escape(each.path)}: {escape(each.error or '')}[/]")
        if explained := [each for each in explanations if each.error is None]:
            _print_explanations(explained)
            passed = next(c for c in explainer.checks if c.method == explainer.method.name)
            out.print(
                f"{explainer.method.title} ({explainer.method.source}), checked on "
                f"{passed.pictures} test pictures that this version carries."
            )
    if unreadable:
        total = len(explanations)
        err.print(f"[bold red]error:[/] {len(unreadable)} of {total} pictures cannot be explained.")
        raise typer.Exit(DataError.exit_code)


def _print_explanations(explanations: "list[PictureExplanation]") -> None:
    """A row an answer."""
    table = Table(box=None, header_style="dim")
    for heading in ("picture", "explained", "score", "drawing"):
        table.add_column(heading, overflow="fold")
    for each in explanations:
        answer = f"[bold]{escape(each.label)}[/]" if each.label else "nothing found"
        table.add_row(escape(each.path), answer, percent(each.score), escape(each.drawing or "–"))
    out.print(table)
