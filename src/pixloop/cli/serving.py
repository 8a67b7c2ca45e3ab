"""The commands ``serve`` and ``predict``."""

import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from json import dumps
from pathlib import Path
from shutil import copyfileobj
from tempfile import SpooledTemporaryFile
from textwrap import indent
from typing import Annotated, Any, Literal

import typer
from rich.markup import escape

from pixloop.cli.output import JsonOption, ProjectOption, err, out, percent, print_json
from pixloop.errors import ConfigError, DataError, PixloopError
from pixloop.picture_predictions.output import SUFFIXES, journal_path
from pixloop.picture_predictions.record import PicturePrediction, Summary
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
    pictures: Annotated[
        list[str],
        typer.Argument(
            help="Picture files, and folders: of these every picture, at any depth. With a folder "
            "as --out also s3://bucket/prefix, and Parquet files with a column of pictures.",
        ),
    ],
    url: Annotated[
        str | None, typer.Option("--url", help="Ask the server at this address instead.")
    ] = None,
    on: Annotated[
        Literal["here", "sagemaker", "lambda", "rekognition"],
        typer.Option("--on", help="Ask what serves there instead."),
    ] = "here",
    version: VersionOption = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "--out",
            "-o",
            help="Write the answers to this file, a .jsonl, .csv or .parquet, or to this folder or "
            "s3://bucket/prefix, as many Parquet files, and print a summary. After an interruption "
            "the same command goes on.",
        ),
    ] = None,
    draw: Annotated[
        Path | None,
        typer.Option(
            help="A folder: write each picture there with its boxes, or its class, drawn over it."
        ),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            help="With a folder as --out: compute on the Ray cluster at this address, on the one "
            "that is running here (auto), or on one begun for this (local)."
        ),
    ] = None,
    column: Annotated[
        str | None,
        typer.Option(help="With a folder as --out: which column of Parquet files has pictures."),
    ] = None,
    restart: Annotated[
        bool,
        typer.Option(
            "--restart",
            help="With a folder as --out: where its answers are of other pictures or another "
            "model, or pictures have come since, delete them and begin anew; else go on.",
        ),
    ] = False,
    project: ProjectOption = ".",
    json: JsonOption = False,
) -> None:
    """Predict pictures, here, with a running server, or with what serves on AWS.

    Ends with 1 where a picture has no prediction.

    Example: `pixloop predict photos --output photos.csv`

    Example: `pixloop predict s3://bucket/pictures --out s3://bucket/answers`
    """
    if output is not None and _is_folder(output):
        if url is not None or on != "here" or draw is not None:
            raise ConfigError(
                f"{output} is a folder of answers, which are computed here or by --ray: leave out "
                "--url, --on and --draw, or name a .jsonl, .csv or .parquet."
            )
        summary: Summary = _predict_batch(
            Project.open(project), output, pictures, version, ray, column, restart
        )
        print_json(summary) if json else _print_summary(summary)
        _end(summary)
        return
    _check_single(pictures, ray, column, restart)
    if url is not None and on != "here":
        raise ConfigError("--url and --on both say whom to ask: give one of them.")
    if version is not None and (url is not None or on != "here"):
        raise ConfigError("--version is for answers from here; leave it out, or --url and --on.")
    ask, files = Project.open(project), list(map(Path, pictures))
    if output is not None:
        summary = _predict_into(ask, Path(output), files, url, version, draw, on)
        print_json(summary) if json else _print_summary(summary)
    else:
        answers = ask.predict(files, url, version, draw, on)
        summary = _print_as_json(answers) if json else _print_answers(answers)
    _end(summary)


def _predict_batch(project: Project, output: str, pictures: list[str], *how: Any) -> Summary:
    try:
        return project.predict_batch(pictures, output, *how)
    except KeyboardInterrupt:
        err.print(f"Finished parts are in {escape(output)}: the same command goes on.")
        raise


def _is_folder(output: str) -> bool:
    """Whether answers go into a folder of files, and not into one file."""
    path = Path(output)
    named = output.startswith("s3://") or output.endswith("/") or not path.suffix
    return named or (path.is_dir() and path.suffix.lower() not in SUFFIXES)


def _check_single(pictures: Iterable[str], *only_in_parts: object) -> None:
    """Raises ConfigError where something is asked for that only a folder of answers has."""
    remote = next((each for each in pictures if each.startswith("s3://")), None)
    if remote is not None:
        raise ConfigError(
            f"{remote}: pictures on S3 are predicted into a folder of answers; add --out FOLDER "
            "or --out s3://bucket/prefix."
        )
    if any(only_in_parts):
        raise ConfigError("--ray, --column and --restart need --out FOLDER, or an s3:// address.")


def _end(summary: Summary) -> None:
    if summary.unreadable:
        # The answers are printed: an error of our own would be a second JSON object.
        err.print(
            f"[bold red]error:[/] {summary.unreadable} of {summary.pictures} pictures have no "
            "prediction."
        )
        raise typer.Exit(DataError.exit_code)


def _predict_into(project: Project, output: Path, *how: Any) -> Summary:
    try:
        return project.predict_into(output, *how)
    except (PixloopError, KeyboardInterrupt):
        if (journal := journal_path(output)).exists():
            err.print(
                f"The answers so far are in {escape(str(journal))}: the same command goes on."
            )
        raise


def _print_answers(answers: Iterable[PicturePrediction]) -> Summary:
    summary = Summary()
    for answer in answers:
        summary.add(answer)
        _print_answer(answer)
    return summary


def _print_as_json(answers: Iterable[PicturePrediction]) -> Summary:
    """Print one object with all answers, as ``print_json`` would, and hold few of them.

    They wait in a file until all are there: an error would otherwise come after half an object.
    """
    summary = Summary()
    with SpooledTemporaryFile(max_size=1_000_000, mode="w+", encoding="utf-8") as waiting:
        for answer in answers:
            waiting.write(",\n" if summary.pictures else "\n")
            plain = dumps(answer.model_dump(mode="json"), indent=2, ensure_ascii=False)
            waiting.write(indent(plain, "    "))
            summary.add(answer)
        waiting.seek(0)
        sys.stdout.write('{\n  "predictions": [')
        copyfileobj(waiting, sys.stdout)
        sys.stdout.write("\n  ]\n}\n" if summary.pictures else "]\n}\n")
        sys.stdout.flush()
    return summary


def _print_summary(summary: Summary) -> None:
    earlier = f", {summary.earlier:,} of them earlier" if summary.earlier else ""
    out.print(
        f"{summary.pictures:,} pictures{earlier} → {escape(str(summary.output))}\n"
        f"{summary.accepted:,} accepted, {summary.referred:,} referred, "
        f"{summary.unreadable:,} without a prediction"
    )
    for label, number in sorted(summary.classes.items(), key=lambda pair: -pair[1]):
        out.print(f"  {number:>9,}  [bold]{escape(label)}[/]")


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
