"""The ``pixloop`` command. Each command is a few lines over ``project.py``."""

import json
import sys
from typing import Annotated

import typer
from rich.markup import escape

from pixloop import __version__
from pixloop.cli import (
    annotate,
    aws,
    demo,
    deployment,
    explaining,
    loop,
    models,
    monitoring,
    review,
    serving,
    tuning,
    watch,
    web,
)
from pixloop.cli.output import err
from pixloop.errors import PixloopError

app = typer.Typer(
    name="pixloop",
    help="Close the loop on image models: train, prove, serve, watch, ask, retrain.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(demo.demo)
app.command()(loop.init)
app.command()(loop.run)
app.command()(loop.report)
app.command()(tuning.tune)
app.command()(loop.pipeline)
app.add_typer(models.app, name="models")
app.command()(serving.serve)
app.command()(serving.predict)
app.command()(explaining.explain)
app.command()(monitoring.monitor)
app.add_typer(review.app, name="review")
app.add_typer(annotate.app, name="annotate")
app.command()(watch.watch)
app.add_typer(web.app, name="web")
app.command()(deployment.deploy)
app.command()(deployment.verify)
app.add_typer(aws.app, name="aws")


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"pixloop {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", is_eager=True, callback=_print_version
        ),
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line; an expected error is a message and an exit code, not a trace."""
    try:
        app()
    except PixloopError as e:
        # The command that failed may not have got as far as reading its options.
        if "--json" in sys.argv:
            error = {"type": type(e).__name__, "message": str(e), "exit_code": e.exit_code}
            print(json.dumps({"error": error}, ensure_ascii=False))
        err.print(f"[bold red]error:[/] {escape(str(e))}")
        sys.exit(e.exit_code)
    except OSError as e:
        if e.filename is None or e.strerror is None:
            raise  # not about a file that the user could do something about
        where = e.filename2 or e.filename
        err.print(f"[bold red]error:[/] {escape(str(where))}: {escape(e.strerror)}")
        sys.exit(PixloopError.exit_code)
