"""``pixloop review add``: what a report says of the data, put into the review queue."""

import json as json_
from typing import Annotated, Any

import typer

from pixloop.cli.output import JsonOption, ProjectOption, out, print_json
from pixloop.data.dataset import Dataset
from pixloop.errors import ConfigError
from pixloop.pipeline.runs import RunRecord, list_runs
from pixloop.project import Project
from pixloop.run_summary import EVALUATION, output_of


def add(
    numbers: Annotated[
        list[str] | None,
        typer.Argument(help="As the report has them: 3, or 5-8.", show_default="all"),
    ] = None,
    run: Annotated[
        str | None, typer.Option("--run", help="Whose report.", show_default="the last")
    ] = None,
    project: ProjectOption = ".",
    json: JsonOption = False,
) -> None:
    """Put what the report says is worth a look into the queue: doubtful labels, by their numbers.

    Example: `pixloop review add 1 5-8`
    """
    from pixloop.annotation.reported import find_reported, read_numbers

    opened = Project.open(project)
    wanted = read_numbers(numbers) if numbers else None
    record, trust = _trust_of(opened, run)
    data = Dataset.open(output_of(record, "Prepare", "dataset"))
    version = (record.registered or {}).get("ModelPackageVersion", record.id)
    model = f"{opened.config.registry.model or opened.config.name}:{version}"
    new = opened.review.offer(find_reported(trust, data, model, wanted))
    known = len(trust["review"] if wanted is None else wanted) - new
    if json:
        print_json({"new": new, "known": known, "run": record.id})
        return
    rest = f", {known} were known before" if known else ""
    out.print(
        f"[bold]{new}[/] {'picture waits' if new == 1 else 'pictures wait'} to be asked{rest}."
    )
    out.print("'pixloop review list' shows them, 'pixloop review next' asks the most telling.")


def _trust_of(project: Project, run: str | None) -> tuple[RunRecord, dict[str, Any]]:
    """The run whose report is meant, and what it says of the data."""
    runs = [each for each in list_runs(project.state) if run in (None, each.id)]
    if run is not None and not runs:
        raise ConfigError(f"--run: there is no run {run!r}. 'pixloop report' shows the last one's.")
    reported = False
    for each in runs:
        file = output_of(each, "Evaluate", "evaluation") / EVALUATION
        if file.is_file():
            said = json_.loads(file.read_text(encoding="utf-8"))["pixloop"]
            if "trust" in said:
                return each, said["trust"]
            reported = True
    why = (
        "the report says nothing about the data: an older pixloop wrote it, or trust.pictures was "
        "0. Run 'pixloop run' again"
        if reported
        else "there is no report yet. Run 'pixloop run'"
    )
    raise ConfigError(f"{why}, with trust.pictures above 0.")
