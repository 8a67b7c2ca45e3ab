"""A picture as training sees it: with all its augmentations, and with each alone.

albumentations brings torch along, so what needs it runs apart from the pages' process.
"""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from PIL import Image

from pixloop.bundle import MANIFEST
from pixloop.config import Config
from pixloop.data.dataset import Row
from pixloop.imaging import Preprocessing
from pixloop.run_summary import output_of
from pixloop.web.data_pictures import TINY_PX, Box, box_at, encode
from pixloop.web.data_shown import Shown

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Versions with all augmentations, and with one alone.
TOGETHER, ALONE = 6, 4
#: One alone is tried so often: most apply to some pictures only.
_TRIES = 24
_SHOWN_PX = 320


class Asked(NamedTuple):
    """What is augmented, and how; travels to the process that does it."""

    row: Row
    classes: tuple[str, ...]
    names: tuple[str, ...]
    preprocessing: Preprocessing
    seed: int
    alone: bool  #: whether each is shown alone as well, those too that training does not use


@dataclass(frozen=True, slots=True)
class Version:
    """One augmented picture; ``image`` is a data: address, ``seed`` gives it again."""

    image: str
    side: int
    tiny: bool
    boxes: tuple[Box, ...]
    seed: int


@dataclass(frozen=True, slots=True)
class Alone:
    """One augmentation, and how often it changes this picture.

    Attributes:
        name: in ``training.augmentations``.
        description: what it does.
        used: whether training uses it.
        share: of the tries that changed anything.
        versions: the first of these.
    """

    name: str
    description: str
    used: bool
    share: float
    versions: tuple[Version, ...]


@dataclass(frozen=True, slots=True)
class Augmented:
    """A picture as the network sees it, unchanged and augmented."""

    plain: Version
    together: tuple[Version, ...]
    alone: tuple[Alone, ...]


def preprocessing_of(shown: Shown, config: Config) -> Preprocessing:
    """The preprocessing that training has, by pixloop.yaml and by what the last model says."""
    model = config.model
    wanted: dict[str, Any] = {
        "image_size": model.image_size,
        "resize": model.resize,
        "scaled_decoding": model.scaled_decoding,
    }
    if model.interpolation != "auto":
        wanted["interpolation"] = model.interpolation
    # The colours and the crop are the network's own, and known once one was exported.
    known = _exported(output_of(shown.run, "Export", "bundle") / "bundle" / MANIFEST)
    return Preprocessing.model_validate({**known, **wanted})


def augment(asked: Asked) -> Augmented:
    """Augment a picture as training does; called apart from the pages' process.

    Raises:
        ConfigError: there is no augmentation of a name.
        ImageError: the picture cannot be read.
    """
    from pixloop.data.augment import AUGMENTATIONS  # brings torch along

    plain = _versions(asked, (), [0])[0]
    seeds = [(asked.seed + i) % 2**32 for i in range(_TRIES)]
    return Augmented(
        plain=plain,
        together=tuple(_versions(asked, asked.names, seeds[:TOGETHER])),
        alone=tuple(
            _alone(asked, name, AUGMENTATIONS[name].description, plain, seeds)
            for name in sorted(AUGMENTATIONS, key=lambda name: name not in asked.names)
            if asked.alone or name in asked.names
        ),
    )


def _alone(asked: Asked, name: str, words: str, plain: Version, seeds: Sequence[int]) -> Alone:
    tried = _versions(asked, (name,), seeds)
    changed = [each for each in tried if each.image != plain.image]
    share = len(changed) / len(tried)
    return Alone(name, words, name in asked.names, share, tuple(changed[:ALONE]))


def _versions(asked: Asked, names: tuple[str, ...], seeds: Sequence[int]) -> list[Version]:
    from pixloop.data.augment import Augmenter, BoxAugmenter

    row, objects = asked.row, asked.row.objects
    made = []
    if objects is None:
        change = Augmenter(names, asked.preprocessing)
        made = [_version(change(row.image, seed), (), seed) for seed in seeds]
    else:
        move = BoxAugmenter(names, asked.preprocessing)
        for seed in seeds:
            pixels, boxes, labels = move(row.image, objects, seed)
            pairs = zip(boxes.tolist(), labels.tolist(), strict=True)
            moved = tuple(box_at(xyxy, int(label), asked.classes) for xyxy, label in pairs)
            made.append(_version(pixels, moved, seed))
    return made


def _version(pixels: "NDArray[Any]", boxes: tuple[Box, ...], seed: int) -> Version:
    image = Image.fromarray(pixels)
    side = image.width
    image.thumbnail((_SHOWN_PX, _SHOWN_PX))
    content, kind = encode(image)
    address = f"data:{kind};base64,{base64.b64encode(content).decode()}"
    return Version(address, side, side <= TINY_PX, boxes, seed)


def _exported(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))["preprocessing"]
        return Preprocessing.model_validate(found).model_dump()
    except (OSError, ValueError, KeyError, TypeError):
        return {}
