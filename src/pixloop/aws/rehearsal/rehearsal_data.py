"""The pictures and the settings that a rehearsal learns with: small ones, for a few minutes."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pixloop.config import Config
from pixloop.config_file import parse_config, render_config
from pixloop.data.formats import read_samples
from pixloop.data.samples import write_digits
from pixloop.errors import DataError
from pixloop.files import sha256_file, write_text
from pixloop.records import Sample

#: So many digits are learned from at first: below 1000, the most messages that a batch holds, so
#: that one run starts for all of them; a run is short, and the threshold has enough to go by.
_DIGITS = 600
#: Of so many pictures to learn from, one comes only later, as new raw data.
_LATER = 20
_SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "data": {"calibration_share": 0.2},
    "model": {"name": "test_resnet", "pretrained": False, "image_size": 32, "resize": "squash"},
    "training": {
        "epochs": 8,
        "batch_size": 32,
        "learning_rate": 0.003,
        "augmentations": ["rotate"],
        "precision": "float32",
    },
    "export": {"formats": ["onnx"]},
    "thresholds": {"max_error": 0.1},
    # A few more pictures need not make a better model, which would end the story.
    "gate": {"minimum": 0.7, "better_than_champion": False},
    "aws": {"training_instance": "ml.m5.xlarge"},
}
#: Other pictures need more pixels, and what they give is no concern of a rehearsal.
_FOR_ANY: Mapping[str, Mapping[str, Any]] = {
    "model": {"image_size": 64},
    "thresholds": {"max_error": 0.3},
    "gate": {"minimum": 0.0},
}


@dataclass(frozen=True)
class Pictures:
    """Labelled pictures as folders below ``raw/`` have them.

    Attributes:
        first: the folder with ``train/<class>/`` and ``test/<class>/``, or with ``<class>/``.
        later: a folder of the same form with the pictures that come later.
        asked: pictures that are asked about.
    """

    first: Path
    later: Path
    asked: Sequence[Path]


def write_pictures(source: Path | None, folder: Path) -> Pictures:
    """Lay out the pictures: handwritten digits, or those of a labelled folder.

    Args:
        source: in any format that ``pixloop init --data`` takes, with a class a picture.
        folder: where they are laid out.

    Raises:
        DataError: the folder cannot be read, or has too few pictures.
    """
    shutil.rmtree(folder, ignore_errors=True)  # of an earlier rehearsal
    if source is None:
        write_digits(folder / "all")
        source = folder / "all"
        samples = _some(list(read_samples(source, task="classification")))
    else:
        samples = list(read_samples(source, task="classification"))
    samples = [sample for sample in samples if sample.label is not None]
    learned = [sample for sample in samples if sample.split != "test"]
    later = learned[_LATER - 1 :: _LATER]
    if not later:
        raise DataError(f"{source}: a rehearsal needs at least {_LATER} pictures with a class.")
    held_back = {sample.path for sample in later}
    first = [sample for sample in samples if sample.path not in held_back]
    test = [sample for sample in samples if sample.split == "test"] or later
    _lay_out(first, folder / "first")
    _lay_out(later, folder / "later")
    return Pictures(folder / "first", folder / "later", [sample.path for sample in test])


def write_settings(name: str, data: str, own_pictures: bool, folder: Path) -> Config:
    """The configuration of a rehearsal, which is also written to ``pixloop.yaml``."""
    sections: dict[str, dict[str, Any]] = {key: dict(part) for key, part in _SETTINGS.items()}
    for key, part in _FOR_ANY.items() if own_pictures else ():
        sections[key] |= part
    sections["data"] = {"train": data, **sections["data"]}
    raw: dict[str, Any] = {"task": "classification", "name": name, **sections}
    write_text(folder / "pixloop.yaml", render_config(raw))
    return parse_config(raw, where=str(folder / "pixloop.yaml"))


def _some(samples: Sequence[Sample]) -> list[Sample]:
    """As many digits as are learned from, evenly from all of them."""
    chosen = sorted(samples, key=lambda sample: sample.path.as_posix())
    step = len(chosen) / _DIGITS
    return [chosen[int(number * step)] for number in range(_DIGITS)]


def _lay_out(samples: Sequence[Sample], folder: Path) -> None:
    for sample in samples:
        parts = [sample.split] if sample.split in ("train", "test") else []
        place = folder.joinpath(*parts, str(sample.label))
        place.mkdir(parents=True, exist_ok=True)
        # By content: what comes later must not take the place of what is there.
        name = f"{sha256_file(sample.path)[:16]}{sample.path.suffix.lower()}"
        shutil.copyfile(sample.path, place / name)
