"""Answers drawn over their pictures, for people to look at.

supervision draws. It takes over a second to import, so it is imported with the first box.
"""

from collections.abc import Iterable, Sequence
from itertools import count
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from pixloop.decoding import RgbArray
from pixloop.errors import DataError
from pixloop.files import atomic_path
from pixloop.records import Decision, DetectedBox, Detection, Prediction

#: A colour a class, then from the first again. White text is legible on each.
PALETTE = (
    "#2457c5",
    "#c4341c",
    "#157f4c",
    "#8e3bb8",
    "#a35c00",
    "#00808c",
    "#c21f73",
    "#566b0d",
    "#5b50d6",
    "#7d4f3a",
)

#: Written into drawings, so that a later run may replace them, and nothing else.
_MARK = "drawn by pixloop predict"


def draw_detection(rgb: RgbArray, detection: Detection, classes: Sequence[str]) -> RgbArray:
    """A detector's answer on its picture.

    An accepted box is drawn whole, a referred one by its corners and with a question mark.

    Args:
        rgb: the upright picture, shape (height, width, 3); it stays as it is.
        detection: its boxes are in pixels of that picture.
        classes: decide on the colours, a class of ``PALETTE`` each in this order.
    """
    # The surest last, so that it lies on top.
    boxes = detection.boxes[::-1]
    return draw_boxes(
        rgb,
        np.array([box.xyxy for box in boxes], np.float64).reshape(-1, 4),
        [_caption(box) for box in boxes],
        [class_colour(box.label, classes) for box in boxes],
        [box.decision is Decision.REFER for box in boxes],
    )


def draw_prediction(rgb: RgbArray, prediction: Prediction, classes: Sequence[str]) -> RgbArray:
    """A classifier's answer on its picture: a frame around it, and the class as its caption."""
    height, width = rgb.shape[:2]
    whole = np.array([[0, 0, width, height]], np.float64)
    colour = class_colour(prediction.label, classes)
    referred = prediction.decision is Decision.REFER
    return draw_boxes(rgb, whole, [_caption(prediction)], [colour], [referred])


def class_colour(label: str, classes: Sequence[str]) -> str:
    """The colour of a class, as ``#rrggbb``; a label that is no class has the first one's."""
    place = classes.index(label) if label in classes else 0
    return PALETTE[place % len(PALETTE)]


def draw_boxes(
    rgb: RgbArray,
    xyxy: NDArray[np.floating],
    captions: Sequence[str],
    colours: Sequence[str],
    corners_only: Sequence[bool] | None = None,
) -> RgbArray:
    """Boxes with captions on a picture, later ones over earlier ones.

    Lines and letters are sized after the picture.

    Args:
        rgb: shape (height, width, 3); it stays as it is.
        xyxy: shape (M, 4), in pixels of the picture; what is outside is not seen.
        captions: one a box.
        colours: one a box, as ``#rrggbb``.
        corners_only: the boxes of which only the corners are drawn; without it, none.
    """
    if len(xyxy) == 0:
        return rgb.copy()
    import supervision

    height, width = rgb.shape[:2]
    # The mean of both sides: a panorama is no reason for huge letters.
    size = sqrt(width * height)
    palette = supervision.ColorPalette.from_hex(list(colours))
    inside = np.clip(np.asarray(xyxy, np.float64), 0, [width - 1, height - 1] * 2)
    found = supervision.Detections(inside, class_id=np.arange(len(inside)))
    scene = np.ascontiguousarray(rgb[..., ::-1])  # supervision draws in blue, green, red
    _draw_lines(scene, found, palette, max(1, round(size / 300)), corners_only)
    letters = supervision.RichLabelAnnotator(
        palette,
        font_size=max(10, round(size / 42)),
        text_padding=max(2, round(size / 200)),
        smart_position=True,
    )
    scene = letters.annotate(scene, found, list(captions))
    return np.ascontiguousarray(scene[..., ::-1])


def _draw_lines(
    scene: RgbArray, found: Any, palette: Any, line: int, corners_only: Sequence[bool] | None
) -> None:
    import supervision

    whole = supervision.BoxAnnotator(palette, line)
    for i, box in enumerate(found.xyxy):
        if corners_only is None or not corners_only[i]:
            whole.annotate(scene, found[[i]])
        else:
            sides = box[2:] - box[:2]
            length = int(max(1, min(sides.max() / 5, sides.min() / 3)))
            supervision.BoxCornerAnnotator(palette, line, length).annotate(scene, found[[i]])


def _caption(answer: DetectedBox | Prediction) -> str:
    doubt = "?" if answer.decision is Decision.REFER else ""
    return f"{answer.label}{doubt} {answer.score:.0%}"


class DrawingFolder:
    """A folder of drawn pictures, each under the name of its source.

    Nothing is overwritten but earlier drawings: where a file of another kind has the name, or
    another source of the same run has it, a number is added.
    """

    def __init__(self, folder: Path, sources: Iterable[Path], classes: Sequence[str] = ()) -> None:
        """Make the folder where it is missing.

        Args:
            folder: where drawings are written.
            sources: the pictures of this run, which are never written over.
            classes: decide on the colours; where they are not known, labels get their colours in
                the order in which they turn up.

        Raises:
            DataError: the folder cannot be made.
        """
        self._folder = folder
        self._taken = {path.resolve() for path in sources}
        self._classes = list(classes)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as e:
            raise DataError(f"{folder} is no folder to draw into: {e}. Name another one.") from e

    def draw(self, source: Path, rgb: RgbArray, answer: Detection | Prediction) -> Path:
        """Draw an answer over its picture, as JPEG where the source is one, else as PNG.

        Raises:
            DataError: the file cannot be written.
        """
        found = answer.boxes if isinstance(answer, Detection) else (answer,)
        labels = dict.fromkeys(each.label for each in found)
        self._classes += [label for label in labels if label not in self._classes]
        if isinstance(answer, Detection):
            drawn = draw_detection(rgb, answer, self._classes)
        else:
            drawn = draw_prediction(rgb, answer, self._classes)
        target = self._free_name(source)
        try:
            _write_drawing(target, drawn)
        except OSError as e:
            raise DataError(f"{target} cannot be written: {e}.") from e
        return target

    def _free_name(self, source: Path) -> Path:
        suffix = ".jpg" if source.suffix.lower() in (".jpg", ".jpeg") else ".png"
        for number in count(1):
            name = source.stem if number == 1 else f"{source.stem}-{number}"
            target = self._folder / f"{name}{suffix}"
            place = target.resolve()
            if place not in self._taken and (not target.exists() or _is_drawing(target)):
                self._taken.add(place)
                return target
        raise AssertionError("count has no end")


def _write_drawing(target: Path, rgb: RgbArray) -> None:
    image = Image.fromarray(rgb)
    with atomic_path(target) as temporary:
        if target.suffix == ".jpg":
            image.save(temporary, "JPEG", quality=92, comment=_MARK)
        else:
            mark = PngImagePlugin.PngInfo()
            mark.add_text("Comment", _MARK)
            image.save(temporary, "PNG", pnginfo=mark)


def _is_drawing(path: Path) -> bool:
    try:
        with Image.open(path, formats=["JPEG", "PNG"]) as image:
            marks = image.info.get("comment"), image.info.get("Comment")
    except Exception:  # Pillow raises nearly anything on files that are no pictures
        return False
    return _MARK.encode() in marks or _MARK in marks
