"""A picture as training sees it: with all its augmentations, and with each alone.

albumentations brings torch along where it can, so what needs it runs apart from the pages' process,
without torch.
"""

import base64
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from pixloop.bundle import MANIFEST
from pixloop.config import Config
from pixloop.data.dataset import Row
from pixloop.decoding import RgbArray
from pixloop.imaging import Preprocessing
from pixloop.run_summary import output_of
from pixloop.web.data.pictures import Box, box_at
from pixloop.web.data.shown import Shown
from pixloop.web.thumbnails import TINY_PX, encode

#: Versions with all augmentations, and with one alone.
TOGETHER, ALONE = 11, 4
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
        changed: how many of the tries changed anything.
        tries: that there were.
        versions: the first of these that differ.
    """

    name: str
    description: str
    used: bool
    changed: int
    tries: int
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


def augment_apart(asked: Asked) -> Augmented:
    """As ``augment``, for a process that does nothing else."""
    # albumentations imports torch where it can, which takes seconds, and nothing here needs it.
    sys.modules.setdefault("torch", None)  # type: ignore[arg-type]
    return augment(asked)


def augment(asked: Asked) -> Augmented:
    """Augment a picture as training does.

    Raises:
        ConfigError: there is no augmentation of a name.
        ImageError: the picture cannot be read.
    """
    from pixloop.data.augment import AUGMENTATIONS

    plain = next(_versions(asked, (), [0]))
    # As training draws them.
    seeds = np.random.default_rng(asked.seed).integers(2**32, size=_TRIES).tolist()
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
    tries, changed = 0, list[Version]()
    for version in _versions(asked, (name,), seeds):
        tries += 1
        if version.image != plain.image:
            changed.append(version)
        if len(changed) == ALONE:
            break
    # A mirrored picture is always the same one.
    unlike = {each.image: each for each in reversed(changed)}
    shown = tuple(each for each in changed if unlike[each.image] is each)
    return Alone(name, words, name in asked.names, len(changed), tries, shown)


def _versions(asked: Asked, names: tuple[str, ...], seeds: Sequence[int]) -> Iterator[Version]:
    from pixloop.data.augment import Augmenter, BoxAugmenter

    row, objects = asked.row, asked.row.objects
    if objects is None:
        change = Augmenter(names, asked.preprocessing)
        yield from (_version(change(row.image, seed), (), seed) for seed in seeds)
        return
    move = BoxAugmenter(names, asked.preprocessing)
    for seed in seeds:
        pixels, boxes, labels = move(row.image, objects, seed)
        pairs = zip(boxes.tolist(), labels.tolist(), strict=True)
        moved = tuple(box_at(xyxy, int(label), asked.classes) for xyxy, label in pairs)
        yield _version(pixels, moved, seed)


def _version(pixels: RgbArray, boxes: tuple[Box, ...], seed: int) -> Version:
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
