"""Annotations of Label Studio as ours: percent to pixels of the upright picture."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pixloop.annotation.label_studio.marks import Mark
from pixloop.bundle import Task
from pixloop.data.annotations import AnnotatedBox, Annotation
from pixloop.data.formats.boxes import read_number, scale
from pixloop.data.formats.label_studio import choices, region_boxes, regions
from pixloop.errors import DataError
from pixloop.records import Finding, Xyxy

#: What of a box's findings is no fault: the upright box around it is what is learned.
_HARMLESS = "turned_box"
#: A box thinner than this, in pixels, was a slip of the hand.
_THIN_PX = 0.5
_USERNAME = re.compile(r"(\S+@\S+), \d+$")


@dataclass(frozen=True, slots=True)
class Converted:
    """An annotation, and what is the matter with it.

    Where something is, the annotation counts as skipped: half of what a person said would teach
    that the other half is background.
    """

    annotation: Annotation
    findings: tuple[Finding, ...] = ()


def convert(
    written: Mapping[str, Any], identity: str, mark: Mark, task: Task, classes: Collection[str]
) -> Converted:
    """One annotation of a task, as the API gives it. Pure; whatever is written, it does not raise.

    Args:
        written: the annotation.
        identity: what it is called here.
        mark: what its task's ``meta`` says of the picture.
        task: whether boxes or a class are asked for.
        classes: those that the interface has.
    """
    blank = Annotation(
        id=identity,
        sha256=mark.sha256,
        annotator=_address(written) or _annotator(written.get("completed_by")),
        at=_instant(written.get("updated_at") or written.get("created_at")),
        drawn=mark.drawn,
        reasons=mark.reasons,
        origin=dict(mark.origin) | ({"model": mark.model} if mark.model else {}),
        skipped=True,
    )
    if written.get("was_cancelled"):
        return Converted(blank)
    where = f"annotation {written.get('id')}"
    try:
        said = _said(written.get("result"), where, mark, task, classes)
    except DataError as e:
        return Converted(blank, (Finding("unreadable_annotation", str(e)),))
    return Converted(blank.model_copy(update={"skipped": False, **said}))


def _said(
    result: Any, where: str, mark: Mark, task: Task, classes: Collection[str]
) -> dict[str, Any]:
    if not isinstance(result, list) or not all(isinstance(part, dict) for part in result):
        raise DataError(f"{where}: expected its result to be a list of objects.")
    if task == "detection":
        return {"boxes": _boxes(result, where, mark, classes)}
    chosen = [_known(name, where, classes) for name in choices(result)]
    if len(chosen) != 1:
        raise DataError(f"{where}: expected one class, got {', '.join(chosen) or 'none'}.")
    return {"label": chosen[0]}


def _boxes(
    result: list[dict[str, Any]], where: str, mark: Mark, classes: Collection[str]
) -> tuple[AnnotatedBox, ...]:
    found: list[AnnotatedBox] = []
    for name, parts in regions(result).items():
        found += _region(parts, f"{where}, region {name}", mark, classes)
    return tuple(found)


def _region(
    parts: list[dict[str, Any]], where: str, mark: Mark, classes: Collection[str]
) -> list[AnnotatedBox]:
    size = mark.width, mark.height
    # A rectangle turns in the picture that was shown, whatever size the region states.
    first = {**parts[0], "original_width": size[0], "original_height": size[1]}
    value = first.get("value")
    turned = value.get("rotation") if isinstance(value, dict) else None
    rotation = read_number(turned or 0, f"{where}, rotation") % 360
    boxes = []
    for box in region_boxes([first, *parts[1:]], where):
        faults = [finding.detail for finding in box.findings if finding.kind != _HARMLESS]
        if faults:
            raise DataError(faults[0])
        xyxy = _clip(scale(box.xyxy, size[0] / 100, size[1] / 100), size)
        if min(xyxy[2] - xyxy[0], xyxy[3] - xyxy[1]) < _THIN_PX:
            raise DataError(f"{where} has no area within the picture of {size[0]}×{size[1]}.")
        label = _known(box.label, where, classes)
        boxes.append(AnnotatedBox(label=label, xyxy=xyxy, rotation=rotation))
    return boxes


def _clip(xyxy: Xyxy, size: tuple[int, int]) -> Xyxy:
    x1, y1, x2, y2 = xyxy
    width, height = size
    return (
        min(max(x1, 0.0), width),
        min(max(y1, 0.0), height),
        min(max(x2, 0.0), width),
        min(max(y2, 0.0), height),
    )


def _known(label: str, where: str, classes: Collection[str]) -> str:
    if label not in classes:
        raise DataError(
            f"{where}: there is no class {label!r}; there are {', '.join(classes)}. Choose one of "
            "them, or add it to the data and train, so that the model has it."
        )
    return label


def _address(written: Mapping[str, Any]) -> str:
    """The annotator's address, where it stands in ``created_username``: "Ann ann@here.org, 4"."""
    found = _USERNAME.search(str(written.get("created_username") or ""))
    return found[1] if found else ""


def _annotator(written: Any) -> str:
    """Who: an address where the API gives it, else the number in Label Studio."""
    if isinstance(written, Mapping):
        name = written.get("email") or written.get("username") or written.get("id")
        return _annotator(name)
    if isinstance(written, int) and not isinstance(written, bool):
        return f"user {written}"
    return written if isinstance(written, str) else ""


def _instant(written: Any) -> str:
    """An instant as ISO 8601 in UTC; nothing where it is none."""
    try:
        at = datetime.fromisoformat(str(written))
    except ValueError:
        return ""
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC).isoformat()
