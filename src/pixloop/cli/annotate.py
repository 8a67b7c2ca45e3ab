"""``pixloop annotate``: people answer in Label Studio."""

import sys
import webbrowser
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from pixloop.cli.output import JsonOption, ProjectOption, err, out, print_json
from pixloop.errors import AnnotationError
from pixloop.project import Project

if TYPE_CHECKING:
    from pixloop.annotation.label_studio import LabelStudioStatus, SyncSummary

app = typer.Typer(help="Let people answer in Label Studio.", no_args_is_help=True)

#: More findings than these are counted only.
_SHOWN = 10


@app.command()
def up(
    port: Annotated[
        int | None,
        typer.Option(
            help="The port of Label Studio.", min=1, max=65535, show_default="annotation.port"
        ),
    ] = None,
    server: Annotated[
        str | None,
        typer.Option(
            help="The address of what serves, which is asked for the model's answers.",
            show_default="as pixloop serve has it",
        ),
    ] = None,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Open no page.")] = False,
    project: ProjectOption = ".",
    json: JsonOption = False,
) -> None:
    """Start Label Studio, in an environment of its own, and connect the model; then sync.

    The first time it is installed, which takes about 800 MB. What runs already is kept. Where
    annotation.label_studio names one that runs elsewhere, that is connected.

    Example: `pixloop annotate up --no-browser`
    """
    opened = Project.open(project)
    studio = opened.label_studio
    status = studio.up(port, server, lambda text: err.print(f"[dim]{escape(text)}[/]"))
    summary = studio.sync(opened.review, opened.annotations)
    if json:
        print_json({"status": status.model_dump(mode="json"), "sync": summary.model_dump()})
    else:
        _print_status(status)
        _print_summary(summary)
    if not no_browser and not json and sys.stdout.isatty():
        webbrowser.open(status.project_url or status.url or "")


@app.command()
def down(project: ProjectOption = ".", json: JsonOption = False) -> None:
    """Stop what 'pixloop annotate up' started. Answers are kept.

    Example: `pixloop annotate down`
    """
    stopped = Project.open(project).label_studio.down()
    if json:
        print_json({"stopped": stopped})
        return
    out.print(f"Stopped {' and '.join(stopped)}." if stopped else "Nothing of ours runs.")


@app.command()
def status(project: ProjectOption = ".", json: JsonOption = False) -> None:
    """Show what runs and where.

    Example: `pixloop annotate status --json`
    """
    found = Project.open(project).label_studio.status()
    print_json(found) if json else _print_status(found)


@app.command()
def sync(project: ProjectOption = ".", json: JsonOption = False) -> None:
    """Give Label Studio what is asked, and take what people answered; any number of times.

    Example: `pixloop annotate sync`
    """
    opened = Project.open(project)
    summary = opened.label_studio.sync(opened.review, opened.annotations)
    print_json(summary) if json else _print_summary(summary)


@app.command("open")
def open_(project: ProjectOption = ".", json: JsonOption = False) -> None:
    """Open the project's page in the browser.

    Example: `pixloop annotate open`
    """
    found = Project.open(project).label_studio.status()
    if found.url is None:
        raise AnnotationError("Label Studio does not run. 'pixloop annotate up' starts it.")
    address = found.project_url or found.url
    if json:
        print_json({"url": address})
    elif not webbrowser.open(address):
        out.print(f"No browser could be opened. The page is {address}")


def _print_status(found: "LabelStudioStatus") -> None:
    if found.url is None:
        out.print("Label Studio does not run. 'pixloop annotate up' starts it.")
    else:
        out.print(f"Label Studio   {escape(found.project_url or found.url)}")
    if found.email is not None:
        file = escape(str(found.password_file))
        out.print(f"enter as       {escape(found.email)}, with the password in {file}")
    if found.backend is not None:
        out.print(f"model          {found.backend}, which asks {escape(found.server)}")
    elif found.url is not None:
        out.print(
            "model          no backend runs: tasks show what was answered when they were made"
        )
    if found.note:
        out.print(f"note           {escape(found.note)}")


def _print_summary(summary: "SyncSummary") -> None:
    out.print(
        f"{summary.pushed:,} tasks made, {summary.new:,} annotations came, {summary.changed:,} "
        f"changed, {summary.deleted:,} deleted\n"
        f"{summary.open:,} pictures wait, {summary.answered:,} are answered, "
        f"{summary.skipped:,} skipped"
    )
    for finding in summary.findings[:_SHOWN]:
        err.print(f"[yellow]{escape(finding)}[/]")
    if len(summary.findings) > _SHOWN:
        err.print(f"[yellow]… and {len(summary.findings) - _SHOWN:,} more; --json lists all.[/]")
