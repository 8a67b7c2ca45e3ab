"""The commands ``serve`` and ``predict``."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.markup import escape

from pixloop.cli.output import JsonOption, ProjectOption, err, out, percent, print_json
from pixloop.errors import ConfigError, DataError
from pixloop.picture_predictions import PicturePrediction
from pixloop.project import Project
from pixloop.records import Decision, DetectedBox

VersionOption = Annotated[
    str | None,
    typer.Option(
        "--version", help="A number, 'latest' or 'champion'.", show_default="champion, else latest"
    ),
]


def serve(
    version: VersionOption = None,
    host: Annotated[str | None, typer.Option(help="The address to listen on.")] = None,
    port: Annotated[
        int | None, typer.Option(help="The port; 0 takes a free one.", min=0, max=65535)
    ] = None,
    project: ProjectOption = ".",
    json: JsonOption = False,
) -> None:
    """Serve a version over HTTP: /ping, /invocations, and a page at /docs.

    Example: `pixloop serve --port 9000`
    """
    announce = (lambda url: print_json({"url": url})) if json else None
    Project.open(project).serve(version, host, port, announce)


def predict(
    pictures: Annotated[list[Path], typer.Argument(help="Picture files.")],
    url: Annotated[
        str | None, typer.Option("--url", help="Ask the server at this address instead.")
    ] = None,
    on: Annotated[
        Literal["here", "sagemaker", "lambda", "rekognition"],
        typer.Option("--on", help="Ask what serves there instead."),
    ] = "here",
    version: VersionOption = None,
    draw: Annotated[
        Path | None,
        typer.Option(
            help="A folder: write each picture there with its boxes, or its class, drawn over it."
        ),
    ] = None,
    project: ProjectOption = ".",
    json: JsonOption = False,
) -> None:
    """Predict pictures, here, with a running server, or with what serves on AWS.

    Example: `pixloop predict *.jpg --draw drawn`
    """
    if url is not None and on != "here":
        raise ConfigError("--url and --on both say whom to ask: give one of them.")
    answers = []
    for answer in Project.open(project).predict(pictures, url, version, draw, on):
        answers.append(answer)
        if not json:
            _print_answer(answer)
    if json:
        print_json({"predictions": [answer.model_dump(mode="json") for answer in answers]})
    unread = sum(answer.error is not None for answer in answers)
    if unread:
        # The answers are printed: an error of our own would be a second JSON object.
        err.print(f"[bold red]error:[/] {unread} of {len(answers)} pictures have no prediction.")
        raise typer.Exit(DataError.exit_code)


def _print_answer(answer: PicturePrediction) -> None:
    if answer.error is not None:
        err.print(f"[red]{escape(answer.path)}: {escape(answer.error)}[/]")
        return
    if answer.boxes is not None:
        out.print(f"{escape(answer.path)}  {_count_boxes(answer.boxes)}")
        return
    out.print(
        f"{escape(answer.path)}  [bold]{escape(answer.label or '')}[/]  "
        f"{percent(answer.score)}  {answer.decision}"
    )


def _count_boxes(boxes: Sequence[DetectedBox]) -> str:
    """How many boxes of each class, the most frequent first, and how many a person should see."""
    if not boxes:
        return "nothing found"
    counts = Counter(box.label for box in boxes).most_common()
    found = ", ".join(f"[bold]{number} × {escape(label)}[/]" for label, number in counts)
    referred = sum(box.decision is Decision.REFER for box in boxes)
    return f"{found}  ({referred} referred)" if referred else found
