"""``pixloop web``: the pages."""

import webbrowser
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from pixloop.cli.output import JsonOption, ProjectOption, out, print_json

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
