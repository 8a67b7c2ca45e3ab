"""Labelling in the terminal: a picture's file, the model's best answers, and a key for each."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape

from pixloop.annotation.answering import Answering
from pixloop.annotation.items import Item
from pixloop.annotation.uncertainty import top_classes
from pixloop.data.annotations import AnnotatedBox
from pixloop.errors import AnnotationError

#: Classes that have a number; the others are written out.
_NUMBERED = 9

Read = Callable[[str], str]


@dataclass(slots=True)
class Tally:
    """What a sitting has brought."""

    answered: int = 0
    skipped: int = 0


def ask_in_terminal(answering: Answering, console: Console, read: Read) -> Tally:
    """Ask for each picture that is open, until all are answered or the person stops.

    Args:
        answering: takes the answers.
        console: shows pictures' places and classes.
        read: gives a line for a prompt; EOFError ends the sitting.
    """
    tally = Tally()
    items, place = answering.open_items(), 0
    done: list[tuple[int, bool]] = []
    while place < len(items):
        item = items[place]
        _show(answering, console, item, place, len(items))
        try:
            key = read(_prompt(answering)).strip()
        except EOFError:
            break
        if key == "q":
            break
        if key == "u":
            if done:
                place, skipped = done.pop()
                answering.undo(items[place].sha256)
                tally.skipped -= skipped
                tally.answered -= not skipped
            continue
        try:
            skipped = _take(answering, item, key)
        except AnnotationError as e:
            console.print(f"[red]{escape(str(e))}[/]")
            continue
        done.append((place, skipped))
        tally.skipped += skipped
        tally.answered += not skipped
        place += 1
    return tally


def offered(answering: Answering, item: Item) -> list[str]:
    """The classes that have a number, the most probable first."""
    likely = [name for name, _ in top_classes(item.answer, _NUMBERED) if name in answering.classes]
    return [*likely, *(name for name in answering.classes if name not in likely)][:_NUMBERED]


def _take(answering: Answering, item: Item, key: str) -> bool:
    """Take what was typed; gives whether it is a skip."""
    if key == "s":
        answering.skip(item.sha256)
        return True
    if answering.task == "detection":
        if key != "y":
            raise AnnotationError(
                "boxes are drawn in the browser: 'pixloop review label --web'. Here: y where the "
                "model's boxes are all right, s, u or q."
            )
        boxes = (AnnotatedBox(label=b["label"], xyxy=b["xyxy"]) for b in item.answer["boxes"])
        answering.boxes(item.sha256, tuple(boxes))
        return False
    classes = offered(answering, item)
    if key.isdecimal() and 1 <= int(key) <= len(classes) and key not in answering.classes:
        key = classes[int(key) - 1]
    answering.label(item.sha256, key)
    return False


def _show(answering: Answering, console: Console, item: Item, place: int, total: int) -> None:
    file = answering.queue.picture_file(item.sha256).resolve()
    console.print(
        f"\n[bold]{place + 1} of {total}[/]  [link={file.as_uri()}]{escape(str(file))}[/]"
    )
    for reason in item.reasons:
        detail = f": {escape(reason.detail)}" if reason.detail else ""
        console.print(f"  [dim]{reason.kind.replace('_', ' ')}{detail}[/]")
    for line in _choices(answering, item):
        console.print(f"  {line}")


def _choices(answering: Answering, item: Item) -> Iterator[str]:
    if answering.task == "detection":
        for box in item.answer.get("boxes", []):
            edges = ", ".join(f"{edge:.0f}" for edge in box["xyxy"])
            yield f"{escape(box['label'])} {box['score']:.0%} at {edges}".replace("%", " %")
        return
    shares = item.answer.get("probabilities", {})
    for number, name in enumerate(offered(answering, item), start=1):
        yield f"[bold]{number}[/] {escape(name)}  [dim]{shares.get(name, 0):.0%}[/]".replace(
            "%", " %"
        )


def _prompt(answering: Answering) -> str:
    if answering.task == "detection":
        return "y boxes are right, s cannot say, u undo, q quit: "
    return "number or class, s cannot say, u undo, q quit: "
