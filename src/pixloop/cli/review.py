"""``pixloop review``: what people are asked next, and their answers without Label Studio."""

import webbrowser
from collections import Counter
from getpass import getuser
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from pixloop.annotation.answering import Answering
from pixloop.annotation.items import STATUSES, Item, Status
from pixloop.cli.adding import add
from pixloop.cli.output import JsonOption, ProjectOption, err, out, print_json
from pixloop.data.dataset import MANIFEST, Dataset
from pixloop.decoding import open_image
from pixloop.errors import ConfigError, ImageError
from pixloop.pipeline.runs import list_runs
from pixloop.project import Project
from pixloop.run_summary import output_of

app = typer.Typer(help="What people are asked next, and their answers.", no_args_is_help=True)

#: Pictures of a list that are shown.
_SHOWN = 50

StatusOption = Annotated[
    str | None,
    typer.Option("--status", help="Only these: waiting, asked, answered or skipped."),
]
AnnotatorOption = Annotated[
    str, typer.Option("--annotator", help="Who answers.", show_default="the user's name")
]


@app.command("list")
def list_(
    status: StatusOption = None, project: ProjectOption = ".", json: JsonOption = False
) -> None:
    """List the pictures in the queue, with their reasons.

    Example: `pixloop review list --status waiting`
    """
    queue = Project.open(project).review
    items = list(queue.items(_status(status)))
    counts = queue.counts()
    if json:
        print_json({"counts": counts, "items": [_plain(item) for item in items]})
        return
    if not any(counts.values()):
        out.print("The queue is empty. 'pixloop review collect' fills it.")
        return
    table = Table("picture", "status", "answer", "why", box=None)
    for item in items[:_SHOWN]:
        drawn = f" ({item.drawn})" if item.drawn else ""
        why = "; ".join(f"{r.kind.replace('_', ' ')}: {r.detail}" for r in item.reasons)
        table.add_row(item.sha256[:12], item.status + drawn, escape(_said(item)), escape(why))
    out.print(table)
    if len(items) > _SHOWN:
        out.print(f"and {len(items) - _SHOWN} more; --json lists all")
    out.print(", ".join(f"{count} {name}" for name, count in counts.items()))


@app.command()
def collect(
    version: Annotated[
        str | None, typer.Option("--version", help="Whose answers.", show_default="champion")
    ] = None,
    label_errors: Annotated[
        bool,
        typer.Option("--label-errors", help="Look for wrong labels in the training data too."),
    ] = False,
    project: ProjectOption = ".",
    json: JsonOption = False,
) -> None:
    """Look through what was answered since, and put what is worth asking into the queue.

    Example: `pixloop review collect --label-errors`
    """
    # scikit-learn and the server's engines are no part of the other commands.
    from pixloop.annotation.collecting import (
        collect_label_errors,
        collect_observed,
        known_pictures,
    )

    opened = Project.open(project)
    queue, settings = opened.review, opened.config.review
    monitor = opened.monitor(version)
    alarms = monitor.look().open_alarms
    data = _dataset(opened)
    known = known_pictures([data] if data else [], opened.annotations)
    new = collect_observed(monitor, queue, known, alarms, settings.budget, settings.random_share)
    doubtful = 0
    if label_errors:
        if data is None:
            raise ConfigError("--label-errors needs the data set of a run, and there is none yet.")
        doubtful = collect_label_errors(data, monitor.bundle, monitor.model, queue, settings.budget)
    counts = queue.counts()
    if json:
        print_json({"new": new, "label_errors": doubtful, "counts": counts})
        return
    kinds = Counter(reason.kind for item in queue.items("waiting") for reason in item.reasons)
    out.print(f"[bold]{new + doubtful}[/] new, {counts['waiting']} wait:")
    for kind, count in kinds.most_common():
        out.print(f"  {count:6} {kind.replace('_', ' ')}")
    out.print("'pixloop review next' asks the most telling of them.")


app.command()(add)


@app.command("next")
def next_(
    budget: Annotated[
        int | None,
        typer.Option("--budget", min=1, help="How many.", show_default="review.budget"),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of what chance decides.")] = 0,
    project: ProjectOption = ".",
    json: JsonOption = False,
) -> None:
    """Choose what is asked next: a random share, and of the rest those that differ.

    Example: `pixloop review next --budget 50`
    """
    opened = Project.open(project)
    settings = opened.config.review
    items = opened.review.choose(budget or settings.budget, settings.random_share, seed)
    if json:
        print_json({"items": [_plain(item) for item in items]})
        return
    if not items:
        out.print("Nothing waits. 'pixloop review collect' looks for pictures worth asking.")
        return
    drawn = sum(item.drawn == "random" for item in items)
    out.print(f"[bold]{len(items)}[/] are asked, {drawn} of them drawn at random.")
    out.print("Answer them by 'pixloop review label --web', or by 'pixloop annotate sync'.")


@app.command()
def label(
    web: Annotated[bool, typer.Option("--web", help="On the page /review in the browser.")] = False,
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Of the pages.", show_default="free")
    ] = 0,
    browser: Annotated[bool, typer.Option(help="Open the page in a browser.")] = True,
    annotator: AnnotatorOption = "",
    project: ProjectOption = ".",
    json: JsonOption = False,
) -> None:
    """Answer what is asked: here by number keys, or with --web on the page that 'pixloop web' has.

    Example: `pixloop review label --web`
    """
    if web:
        _serve_review_page(project, port, browser, annotator, json)
        return
    from pixloop.annotation.asking import ask_in_terminal

    answering = _answering(Project.open(project), annotator)
    tally = ask_in_terminal(answering, err, lambda prompt: err.input(escape(prompt)))
    if json:
        print_json({"answered": tally.answered, "skipped": tally.skipped})
    else:
        out.print(f"{tally.answered} answered, {tally.skipped} skipped")


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(help="A folder; made where it is missing.")],
    status: StatusOption = "asked",
    project: ProjectOption = ".",
    json: JsonOption = False,
) -> None:
    """Write the pictures and a table, in whose column 'label' answers can be filled in.

    Example: `pixloop review export to-label`
    """
    from pixloop.annotation.exchange import TABLE, export_items

    queue = Project.open(project).review
    count = export_items(queue, queue.items(_status(status)), folder)
    if json:
        print_json({"pictures": count, "folder": str(folder)})
        return
    table = escape(str(folder / TABLE))
    out.print(f"{count} pictures. Fill in the labels, then 'pixloop review import {table}'.")


@app.command("import")
def import_(
    table: Annotated[Path, typer.Argument(help="review.csv, with labels filled in.")],
    annotator: AnnotatorOption = "",
    project: ProjectOption = ".",
    json: JsonOption = False,
) -> None:
    """Take the labels of a table that 'export' wrote; a '?' says that one cannot say.

    Example: `pixloop review import to-label/review.csv`
    """
    from pixloop.annotation.exchange import import_labels

    count = import_labels(_answering(Project.open(project), annotator), table)
    if json:
        print_json({"taken": count})
    else:
        out.print(f"{count} answers taken")


@app.command()
def skip(
    picture: Annotated[str, typer.Argument(help="Its SHA-256, or the first digits.")],
    project: ProjectOption = ".",
    json: JsonOption = False,
) -> None:
    """Take a picture out of the queue: it is never asked.

    Example: `pixloop review skip 3f2a9c`
    """
    queue = Project.open(project).review
    item = queue.get(picture)
    queue.mark(item.sha256, "skipped")
    if json:
        print_json(_plain(queue.get(item.sha256)))
    else:
        out.print(f"{item.sha256[:12]} is skipped")


@app.command()
def report(
    picture: Annotated[
        Path, typer.Argument(help="The picture's file.", exists=True, dir_okay=False)
    ],
    why: Annotated[str, typer.Option("--why", help="What is wrong with its answer.")] = "",
    project: ProjectOption = ".",
    json: JsonOption = False,
) -> None:
    """Report a picture that was answered wrongly; it is asked among the next.

    Example: `pixloop review report wrong.jpg --why "that is a van"`
    """
    from pixloop.annotation.candidates import report_candidate

    queue, content = Project.open(project).review, picture.read_bytes()
    try:
        open_image(content)
    except ImageError as e:
        raise ImageError(f"{picture} cannot be asked about: {e}") from e
    new = queue.offer([report_candidate(content, why, {}, "")])
    if json:
        print_json({"new": new})
    else:
        out.print("It waits to be asked." if new else "It is known already.")


def _serve_review_page(project: str, port: int, browser: bool, annotator: str, json: bool) -> None:
    # The web server is no part of the other commands.
    from pixloop.web.server import serve_pages

    def ready(address: str) -> None:
        if json:
            print_json({"url": address})
        else:
            out.print(escape(address))
            out.print("Only on this machine. Ctrl-C ends it; answers are kept at once.")
        if browser and not webbrowser.open(address):
            err.print("No browser could be opened; open the address above in one.")

    serve_pages(Path(project), ready, port=port, path="/review", annotator=annotator)


def _answering(project: Project, annotator: str) -> Answering:
    manifest = project.bundle()[1].manifest
    who = annotator or getuser()
    return Answering(project.review, project.annotations, manifest.task, manifest.classes, who)


def _dataset(project: Project) -> Dataset | None:
    """That of the last run that prepared one."""
    for run in list_runs(project.state):
        folder = output_of(run, "Prepare", "dataset")
        if (folder / MANIFEST).is_file():
            return Dataset.open(folder)
    return None


def _status(name: str | None) -> Status | None:
    if name is None:
        return None
    for status in STATUSES:
        if name == status:
            return status
    raise ConfigError(f"--status: there is no {name!r}; there are {', '.join(STATUSES)}.")


def _said(item: Item) -> str:
    if "boxes" in item.answer:
        return f"{len(item.answer['boxes'])} boxes"
    score = item.answer.get("score")
    return str(item.answer.get("label", "")) + ("" if score is None else f" {score:.2f}")


def _plain(item: Item) -> dict[str, Any]:
    return {
        "sha256": item.sha256,
        "status": item.status,
        "drawn": item.drawn,
        "reasons": [{"kind": r.kind, "detail": r.detail, "weight": r.weight} for r in item.reasons],
        "answer": item.answer,
        "model": item.model,
        "at": item.at,
        "origin": item.origin,
    }
