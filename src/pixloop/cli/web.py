"""``pixloop web``: the pages."""

import dataclasses
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape

from pixloop.cli.events import print_event
from pixloop.cli.output import JsonOption, ProjectOption, out, print_json
from pixloop.errors import ConfigError
from pixloop.project import Project

if TYPE_CHECKING:
    from pixloop.web.export import PageSettings

app = typer.Typer(help="The pages: see the loop, try it, steer it.", invoke_without_command=True)


@app.callback()
def web(
    context: typer.Context,
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="The port; 0 takes a free one.")
    ] = 8765,
    host: Annotated[
        str,
        typer.Option(
            help="The address to listen on; any but this machine's own makes a token that the "
            "printed address holds."
        ),
    ] = "127.0.0.1",
    browser: Annotated[bool, typer.Option(help="Open the page in a browser.")] = True,
    project: ProjectOption = ".",
    json: JsonOption = False,
) -> None:
    """Open the pages of the loop in the browser: see it, try it, steer it.

    Example: `pixloop web --port 9000`
    """
    if context.invoked_subcommand is not None:
        return
    # The web server is no part of the other commands.
    from pixloop.web.server import serve_pages

    def ready(url: str) -> None:
        if json:
            print_json({"url": url})
        else:
            out.print(f"The pages are at [bold]{escape(url)}[/]; Ctrl-C stops them.")
        if browser:
            webbrowser.open(url)

    serve_pages(Path(project), ready, host, port)


@app.command()
def export(
    url: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="The server that the page asks; with --on aws, the function's."
        ),
    ] = None,
    on: Annotated[
        Literal["aws"] | None,
        typer.Option(help="Where to put it: on S3, behind CloudFront.", show_default="here"),
    ] = None,
    to: Annotated[
        Path | None,
        typer.Option(
            "--out",
            file_okay=False,
            help="The folder to write: new, empty, or of an earlier export.",
            show_default="try-page; .pixloop/try-page with --on",
        ),
    ] = None,
    version: Annotated[
        str | None,
        typer.Option(
            help="Whose classes and thresholds it tells.", show_default="the champion, or latest"
        ),
    ] = None,
    remove: Annotated[
        bool,
        typer.Option(
            "--remove", help="With --on aws: take it down; the function's URL is closed again."
        ),
    ] = False,
    project: ProjectOption = ".",
    json: JsonOption = False,
) -> None:
    """Write the Try page as files for any static host; it asks a server by its URL.

    The server must let the page's origin ask it: 'serving.allow_origin'. With '--on aws', the
    function does so by itself, once 'aws.public_function' lets anybody ask it.

    Example: `pixloop web export --url https://pictures.example --out try-page`
    """
    opened = Project.open(project)
    if on is None:
        if url is None or remove:
            raise ConfigError("--url says which server the page asks; --remove goes with --on aws.")
        _tell(_write(opened, url, to or Path("try-page"), version), None, json)
    elif remove:
        opened.on_aws.page.remove(print_event)
        print_json({"removed": True}) if json else out.print("The page is gone.")
    else:
        _put_on_aws(opened, url, to or opened.state / "try-page", version, json)


def _write(
    project: Project, url: str, folder: Path, version: str | None
) -> tuple[Path, "PageSettings"]:
    # The templates are no part of the other commands.
    from pixloop.web.export import export_page

    number, bundle = project.bundle(version)
    model = f"{project.config.model_name}:{number}"
    return folder, export_page(project.config, model, bundle, url, folder)


def _put_on_aws(
    project: Project, url: str | None, folder: Path, version: str | None, json: bool
) -> None:
    from pixloop.web.export import export_page

    if url is None and version is not None:
        raise ConfigError("--version goes with --url: a function's page tells what it serves.")
    page = project.on_aws.page
    if url is not None:
        written = _write(project, url, folder, version)
    else:
        asked = page.find_function()
        settings = export_page(project.config, asked.model, asked.bundle, asked.url, folder)
        written = folder, settings
    hosted = page.host(print_event)
    page.upload(hosted, folder)
    if url is None:
        page.open_function(hosted)
    else:
        page.close_function(print_event)
    _tell(written, hosted.address, json)


def _tell(written: tuple[Path, "PageSettings"], address: str | None, json: bool) -> None:
    folder, settings = written
    if json:
        print_json({"folder": str(folder), "address": address, **dataclasses.asdict(settings)})
        return
    if address:
        out.print(f"The page is at [bold]{escape(address)}[/]; it asks {escape(settings.server)}.")
        out.print("  a new distribution takes some minutes until it answers everywhere")
    else:
        out.print(f"[bold]{escape(str(folder))}[/] holds the page; put it on any static host.")
        out.print("  try it    " + escape(f"python -m http.server 8000 --directory {folder}"))
    if "lambda-url" not in settings.server or not address:
        origin = address or "the address of that host, as http://localhost:8000"
        out.print(f"  let it in by serving.allow_origin, at the server: {escape(origin)}")
