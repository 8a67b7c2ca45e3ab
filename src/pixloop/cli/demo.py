"""``pixloop demo``: the whole loop on pictures that need no network."""

import shlex
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape
from rich.table import Table

from pixloop.cli.loop import SetOption, print_summary
from pixloop.cli.output import JsonOption, err, out, percent, print_json
from pixloop.demo import DEMOS, DemoSummary, run_demo
from pixloop.errors import ConfigError
from pixloop.pipeline.display import display

if TYPE_CHECKING:
    from pixloop.demo_loop import LoopSummary

DemoName = Literal["digits", "shapes", "loop"]
_ABOUT = {name: demo.about for name, demo in DEMOS.items()} | {
    "loop": "digits again, whose camera goes bad: drift, people asked, a better version promoted"
}
_DEMOS = "; ".join(f"{name}: {about}" for name, about in _ABOUT.items())
_FOLDERS = {"digits": "pixloop-demo", "shapes": "pixloop-shapes", "loop": "pixloop-loop"}


def demo(
    name: Annotated[DemoName, typer.Argument(help="What it shows: " + _DEMOS + ".")] = "digits",
    folder: Annotated[
        str | None,
        typer.Option("--dir", help="Where the project goes.", show_default="pixloop-demo"),
    ] = None,
    set_: SetOption = None,
    label_studio: Annotated[
        bool,
        typer.Option(help="With loop: answer in a real Label Studio, installed the first time."),
    ] = True,
    json: JsonOption = False,
) -> None:
    """Run the whole loop on pictures that need no network, and leave the project behind.

    Example: `pixloop demo shapes`
    """
    folder = folder or _FOLDERS[name]
    if name == "loop":
        if set_:
            raise ConfigError("--set is for the other demos: this one plays a story as it is.")
        # It knows every room.
        from pixloop.demo_loop import run_loop_demo

        # Runs are told of in words: their progress would scroll the story away.
        summary = run_loop_demo(folder, label_studio, tell=lambda text: err.print(escape(text)))
        print_json(summary) if json else _print_story(summary)
        return
    with display() as listener:
        result = run_demo(name, folder, set_ or (), listener)
    print_json(result) if json else _print_demo(result, folder)


def _print_demo(result: DemoSummary, folder: str) -> None:
    print_summary(result.run)
    asked = f"{result.right} of {result.asked} test pictures right"
    out.print(f"  served      [bold]{asked}[/] over HTTP, {result.latency_ms:.0f} ms each")
    _print_next(folder, "pixloop report", "pixloop models show latest", "pixloop serve")


def _print_story(story: "LoopSummary") -> None:
    table = Table("pictures", "", "version", "accuracy", "estimated", "referred", "alarm", box=None)
    for chapter in story.chapters:
        low, high = chapter.estimated or (None, None)
        table.add_row(
            chapter.name,
            str(chapter.pictures),
            chapter.version.rpartition(":")[2],
            percent(chapter.accuracy),
            f"{percent(low)} to {percent(high)}" if chapter.estimated else "–",
            percent(chapter.referred),
            escape(chapter.alarm) or "none",
        )
    out.print(table)
    if story.noticed_after is not None:
        out.print(f"The alarm came after {story.noticed_after} pictures with {story.corruption}.")
    out.print(
        f"{story.asked} pictures were asked, {story.answered} answered through "
        f"{story.through}. {escape(story.verdict)}"
    )
    if story.quiet:
        out.print("No alarm is open: what is sent now has become the new normal.")
    out.print(f"It took {story.seconds:.0f} s.")
    _print_next(story.folder, "pixloop monitor", "pixloop models list", "pixloop review list")


def _print_next(folder: str, *commands: str) -> None:
    out.print("\nTry next:")
    first, *others = commands
    for command in (f"cd {shlex.quote(folder)} && {first}", *others):
        out.print(f"  [bold cyan]{escape(command)}[/]")
