"""Pictures of the data set as the pages show them: small, upright, without what a camera noted."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from pixloop.data.dataset import SPLITS, Row, SplitName
from pixloop.errors import ImageError
from pixloop.web.data.catalogue import Place
from pixloop.web.data.shown import Shown
from pixloop.web.thumbnails import TINY_PX, shrink

#: Longest sides that may be asked for, in pixels.
SIZES = (160, 320, 1024)
#: Classes of boxes have so many colours, then the first again.
COLOURS = 6
_KEPT = "private, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class Box:
    """A box on a picture, in its pixels."""

    x: float
    y: float
    width: float
    height: float
    label: str
    colour: int
    crowd: bool = False


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture of the data set, as templates show it."""

    place: Place
    path: str
    width: int
    height: int
    label: str  #: in detection its classes in words
    boxes: tuple[Box, ...]
    sha256: str
    version: str  #: of the data set

    @property
    def page(self) -> str:
        """The address of its page."""
        return f"/data/picture/{self.place.split}/{self.place.row}"

    @property
    def tiny(self) -> bool:
        """Whether its pixels are shown as they are, enlarged."""
        return max(self.width, self.height) <= TINY_PX

    def address(self, size: int) -> str:
        """Where its pixels are, at most ``size`` along each side."""
        where = f"/data/pictures/{self.place.split}/{self.place.row}"
        return f"{where}?size={size}&v={self.version}"


def read_place(shown: Shown, split: str, row: int) -> Place:
    """The place that an address names.

    Raises:
        HTTPException: 404, there is no such picture.
    """
    name = next((each for each in SPLITS if each == split), None)
    if name is None or not 0 <= row < shown.catalogue.count(name):
        raise HTTPException(404, "The data set has no such picture.")
    return Place(name, row)


def read_row(shown: Shown, place: Place) -> Row:
    """A row with its picture: of its file, one small group of rows is read."""
    return shown.catalogue.splits[place.split].read(place.row)


def picture_of(shown: Shown, place: Place) -> Picture:
    """A picture as templates show it."""
    row, classes = read_row(shown, place), shown.data.info.classes
    boxes = boxes_of(row, classes)
    return Picture(
        place=place,
        path=row.path,
        width=row.width,
        height=row.height,
        label=classes[row.label] if row.objects is None else _count_words(boxes),
        boxes=boxes,
        sha256=row.sha256,
        version=shown.version,
    )


def boxes_of(row: Row, classes: Sequence[str]) -> tuple[Box, ...]:
    """What is in a picture; nothing in classification."""
    if row.objects is None:
        return ()
    edges, labels = row.objects.boxes.tolist(), row.objects.labels.tolist()
    return tuple(
        box_at(xyxy, label, classes, crowd)
        for xyxy, label, crowd in zip(edges, labels, row.objects.crowd.tolist(), strict=True)
    )


def box_at(xyxy: Sequence[float], label: int, classes: Sequence[str], crowd: bool = False) -> Box:
    """A box as templates draw it."""
    x1, y1, x2, y2 = (round(edge, 2) for edge in xyxy)
    return Box(x1, y1, x2 - x1, y2 - y1, classes[label], label % COLOURS, crowd)


def answer_picture(request: Request, shown: Shown) -> Response:
    """``/data/pictures/<split>/<row>?size=…``: a JPEG, or a PNG of a tiny picture."""
    place = read_place(shown, request.path_params["split"], request.path_params["row"])
    size = request.query_params.get("size", "160")
    if size not in map(str, SIZES):
        raise HTTPException(404, f"Pictures are given in {', '.join(map(str, SIZES))} pixels.")
    try:
        content, kind = shrink(read_row(shown, place).image, int(size))
    except ImageError as e:
        raise HTTPException(404, str(e)) from e
    # The address names the data set, whose pictures never change.
    kept = request.query_params.get("v") == shown.version
    return Response(content, media_type=kind, headers={"Cache-Control": _KEPT} if kept else {})


def split_named(name: str) -> SplitName | None:
    """The split of a name, None for any other name."""
    return next((split for split in SPLITS if split == name), None)


def _count_words(boxes: Sequence[Box]) -> str:
    """What is in a picture: "2 × circle, star"."""
    labels = [box.label for box in boxes]
    counts: dict[str, Any] = {label: labels.count(label) for label in sorted(set(labels))}
    words = (f"{count} × {label}" if count > 1 else label for label, count in counts.items())
    return ", ".join(words) or "nothing in it"
