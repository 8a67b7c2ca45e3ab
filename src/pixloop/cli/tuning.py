"""``pixloop tune``: the search for better settings."""

import json as json_
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from pydantic import ValidationError
from rich.markup import escape
from rich.text import Text

from pixloop.cli.output import JsonOption, ProjectOption, err, out
from pixloop.config import FILE_NAME, Config, flatten
from pixloop.config_file import load_config
from pixloop.config_tuning import TuningConfig
from pixloop.errors import ConfigError
from pixloop.pipeline.display import Silent
from pixloop.pipeline.display import display as display_steps
from pixloop.project import Project

if TYPE_CHECKING:
    from pixloop.tuning.tune import TuningResult

SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key of pixloop.yaml; repeatable."),
]

#: Of a diff's lines, by how they begin.
_STYLES = {"+": "green", "-": "red", "@": "cyan"}


def tune(
    trials: Annotated[int | None, typer.Option("--trials", help="How many trainings.")] = None,
    minutes: Annotated[
        float | None, typer.Option("--minutes", help="How long to search; the last trial ends.")
    ] = None,
    parallel: Annotated[
        int | None, typer.Option("--parallel", help="How many trainings at once.")
    ] = None,
    sampler: Annotated[
        Literal["tpe", "random"] | None, typer.Option("--sampler", help="How settings are chosen.")
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Write the best into pixloop.yaml unasked.")
    ] = False,
    report: Annotated[
        bool, typer.Option("--report", help="Only report what was tried so far.")
    ] = False,
    set_: SetOption = None,
    project: ProjectOption = ".",
    json: JsonOption = False,
) -> None:
    """Search for better settings, judged by pictures that are not trained on.

    What is searched, and for how long, is told by the keys below `tuning`. A search that was
    stopped or killed goes on. The best settings are trained in full and scored once on the test
    pictures beside the current ones; what pixloop.yaml would change is shown, and asked. It is not
    written where --set gave the search settings that pixloop.yaml does not have. With --json it
    prints a line of JSON for every epoch, and the result in the last.

    Example: `pixloop tune --minutes 20`
    """
    budget = {"trials": trials, "minutes": minutes, "parallel": parallel, "sampler": sampler}
    if minutes is not None and trials is None:
        budget["trials"] = 500  # the time alone is the budget
    opened = Project.open(project, [*(set_ or ()), *_of_budget(budget)])
    result = _result(opened, report, json)
    if not json:
        _print_result(result)
    file = opened.folder / FILE_NAME
    written = not report and _offer(file, result, yes, json, _foreign(set_, file, opened.config))
    if json:
        told = {"event": "result", **result.model_dump(mode="json"), "written": written}
        print(json_.dumps(told, ensure_ascii=False), flush=True)


def _of_budget(budget: Mapping[str, Any]) -> list[str]:
    """Options as overrides of keys; what is wrong with one is said of the option."""
    given = {key: value for key, value in budget.items() if value is not None}
    try:
        TuningConfig.model_validate(given)
    except ValidationError as e:
        wrong = [f"--{x['loc'][0]}: {x['msg']} (it is {x['input']!r})." for x in e.errors()]
        raise ConfigError("\n".join(wrong)) from e
    return [f"tuning.{key}={value}" for key, value in given.items()]


def _result(opened: Project, report: bool, json: bool) -> "TuningResult":
    """What was found so far, or what is found now."""
    shown = (lambda: nullcontext(Silent())) if json else display_steps
    try:
        # Optuna takes a second to import.
        from pixloop.tuning.display import display

        tuning = opened.tuning()
        return tuning.report(shown) if report else tuning.run(shown, lambda: display(json))
    except KeyboardInterrupt:
        if not report:
            err.print("Interrupted. The same command goes on where it was.")
        raise


def _foreign(given: Sequence[str] | None, file: Path, searched: Config) -> list[str]:
    """Of what --set gave, the settings of a search that pixloop.yaml does not have.

    With them the best settings were not compared with those that the file would keep.
    """
    here, there = flatten(load_config(file)), flatten(searched)
    keys = {override.partition("=")[0].strip(): override for override in given or ()}
    return [
        override
        for key, override in keys.items()
        if not key.startswith("tuning.") and here[key] != there[key]
    ]


def _print_result(result: "TuningResult") -> None:
    if not result.of_present:
        out.print(
            "The project's settings as they are now were not searched. "
            f"The latest search, study {escape(result.study)}, with those of then:"
        )
    before = (
        "" if result.current_score is None else f"; the current ones {result.current_score:.4f}"
    )
    out.print(
        f"{result.trials} trials ({result.completed} to their end, {result.pruned} stopped early, "
        f"{result.failed} failed). Best validation {result.objective} "
        f"[bold]{result.best_score:.4f}[/]{before}"
    )
    if not result.found_better:
        out.print("The current settings are the best that were found; nothing is to be changed.")
    elif result.verdict:
        out.print(escape(str(result.verdict["words"])))
    for key, share in result.importance.items():
        out.print(f"  {share:4.0%}  {escape(key)}")
    out.print(f"  report  {escape(result.report)}")


def _offer(
    file: Path, result: "TuningResult", yes: bool, json: bool, foreign: Sequence[str] = ()
) -> bool:
    """Show what pixloop.yaml would change, and write it where that is wanted; whether it was.

    Nothing is written where the search had settings, ``foreign``, that the file does not have.
    """
    from pixloop.tuning.defaults import difference, edit_settings, read, write

    verdict = result.verdict
    if not result.changes or verdict is None:
        return False
    before = read(file)
    after = edit_settings(before, result.changes, result.note)
    if not json:
        diff = difference(before, after, file.name)
        for line in diff.splitlines():
            out.print(Text(line, _STYLES.get(line[:1], "")))
    if foreign:
        options = escape(" ".join(f"--set {override}" for override in foreign))
        err.print(f"Not written: the search ran with {options}, which {file.name} does not have.")
        return False
    if yes and float(str(verdict["difference"])) < 0:
        err.print("Not written: the test pictures speak against it.")
        return False
    if not yes and (json or not sys.stdin.isatty()):
        err.print("Not written; --yes writes it.")
        return False
    if not yes and not typer.confirm(
        f"Write this into {file.name}?", default=bool(verdict["better"])
    ):
        return False
    write(file, before, after)
    return True
