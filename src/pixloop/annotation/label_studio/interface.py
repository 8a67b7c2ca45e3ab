"""What people see in Label Studio: the labelling interface for a task and its classes."""

import colorsys
from xml.sax.saxutils import quoteattr

from pixloop.bundle import Task

#: The names in the interface: of the picture, and of what people answer.
IMAGE, CONTROL = "image", "label"
#: The keys of a task's data: the picture's address, and why it is asked.
PICTURE, WHY = "image", "why"
#: How many classes have a key of their own.
_KEYS = "123456789"
#: The golden angle, in turns: hues by it stay far apart, however many there are.
_TURN = 0.381966


def labelling_interface(task: Task, classes: tuple[str, ...], says_why: bool = True) -> str:
    """The interface as Label Studio's XML: one choice, or rectangles in a colour for each class.

    Without ``says_why``, why a picture is asked stands in the list of tasks only: Label Studio
    takes uploads only where the interface shows nothing but the picture.
    """
    answer = _rectangles(classes) if task == "detection" else _choices(classes)
    picture = (
        f'  <Image name="{IMAGE}" value="${PICTURE}" zoom="true" zoomControl="true" '
        'rotateControl="false" />'
    )
    why = f'  <Text name="why" value="${WHY}" />\n' if says_why else ""
    return f"<View>\n{why}{picture}\n{answer}\n</View>\n"


def colours(count: int) -> tuple[str, ...]:
    """``count`` colours that are told apart, as ``#rrggbb``; a class keeps its own as more come.

    >>> colours(2)
    ('#cc1f1f', '#1fcc51')
    """
    return tuple(_hex(number * _TURN % 1.0) for number in range(count))


def _hex(hue: float) -> str:
    red, green, blue = (round(255 * part) for part in colorsys.hsv_to_rgb(hue, 0.85, 0.8))
    return f"#{red:02x}{green:02x}{blue:02x}"


def _choices(classes: tuple[str, ...]) -> str:
    lines = [
        f"    <Choice value={quoteattr(name)}{_key(number)} />"
        for number, name in enumerate(classes)
    ]
    head = f'  <Choices name="{CONTROL}" toName="{IMAGE}" choice="single" showInline="true">'
    return "\n".join([head, *lines, "  </Choices>"])


def _rectangles(classes: tuple[str, ...]) -> str:
    lines = [
        f'    <Label value={quoteattr(name)} background="{colour}"{_key(number)} />'
        for number, (name, colour) in enumerate(zip(classes, colours(len(classes)), strict=True))
    ]
    head = f'  <RectangleLabels name="{CONTROL}" toName="{IMAGE}">'
    return "\n".join([head, *lines, "  </RectangleLabels>"])


def _key(number: int) -> str:
    return f' hotkey="{_KEYS[number]}"' if number < len(_KEYS) else ""
