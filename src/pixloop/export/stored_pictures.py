"""A few test pictures with the answers that they must get wherever the bundle is deployed."""

import hashlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pixloop.data.dataset import Split
from pixloop.decoding import Size, decode_image, open_image
from pixloop.export.box_parity import BoxReference
from pixloop.export.certificate import StoredBox, StoredPicture
from pixloop.export.parity import Reference, one_torch_thread
from pixloop.files import atomic_path
from pixloop.imaging import read_input, unfit_boxes
from pixloop.serving.engines import PixelBatch
from pixloop.training.models import TrainedModel

_STORED, _STORED_BYTES = 8, 200_000
#: A larger picture is carried along scaled down: the longest side in pixels, tried in turn.
_SMALLER_PX = (1024, 768, 512, 384, 256, 128)

#: From a network's pixels and the picture's size to those fields of its ``StoredPicture`` that hold
#: the answer.
_Ask = Callable[[PixelBatch, Size], dict[str, Any]]


def store_pictures(test: Split, trained: TrainedModel, output: Path) -> list[StoredPicture]:
    """Write the pictures into the bundle, large ones scaled down, and ask the trained model."""
    ask = _ask_classifier(trained) if trained.task == "classification" else _ask_detector(trained)
    stored = []
    for index in stored_indices(len(test)):
        row = test.read(index)
        image = scale_down(row.image)
        sha256 = hashlib.sha256(image).hexdigest()
        suffix = (open_image(image).format or "bin").lower()
        file = f"certificate/{sha256[:12]}.{suffix}"
        with atomic_path(output / file) as temporary:
            temporary.write_bytes(image)
        with one_torch_thread():
            pixels, size = read_input(image, trained.preprocessing)
            answer = ask(pixels[None], size)
        stored.append(StoredPicture(sha256=sha256, path=row.path, file=file, **answer))
    return stored


def scale_down(image: bytes) -> bytes:
    """An encoded picture of at most 200 kB: the picture itself, or a smaller JPEG of it.

    A deployment is verified by pictures that its bundle carries, and photos of a phone have
    megabytes. What the trained model says is of the very bytes that are carried.
    """
    if len(image) <= _STORED_BYTES:
        return image
    rgb = Image.fromarray(decode_image(image))
    for side in _SMALLER_PX:
        smaller = rgb.copy()
        smaller.thumbnail((side, side))
        buffer = BytesIO()
        smaller.save(buffer, "JPEG", quality=90)
        if buffer.tell() <= _STORED_BYTES:
            break
    return buffer.getvalue()


def stored_indices(total: int) -> list[int]:
    """Which of ``total`` test pictures are stored."""
    return spread_evenly(_STORED, total)


def spread_evenly(count: int, total: int) -> list[int]:
    """At most ``count`` of ``total`` indices, evenly spread, so that every class has its part."""
    return [int(i) for i in np.linspace(0, total - 1, min(count, total)).round()]


def _ask_classifier(trained: TrainedModel) -> _Ask:
    reference = Reference(trained.network, trained.preprocessing)

    def ask(pixels: PixelBatch, size: Size) -> dict[str, Any]:
        (logits,) = reference(pixels)
        return {"logits": tuple(logits[0].tolist())}

    return ask


def _ask_detector(trained: TrainedModel) -> _Ask:
    reference = BoxReference(trained.network, trained.preprocessing)

    def ask(pixels: PixelBatch, size: Size) -> dict[str, Any]:
        boxes, scores, labels = (each[0] for each in reference(pixels))
        boxes = unfit_boxes(boxes, size.width, size.height, trained.preprocessing)
        there = (scores > 0) & (boxes[:, :2] < boxes[:, 2:]).all(1)  # none in the input's margin
        found = zip(labels[there], scores[there], boxes[there].tolist(), strict=True)
        return {
            "boxes": tuple(
                StoredBox(label=trained.classes[label], score=float(score), xyxy=tuple(xyxy))
                for label, score, xyxy in found
            )
        }

    return ask
