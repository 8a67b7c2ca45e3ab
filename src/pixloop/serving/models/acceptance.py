"""Whether a bundle may take the place of a model that serves: what is asked of it before it does.

Its task is the same, and it knows every class that the other knows: who asks the server finds in
an answer what was always there. It may know more classes; a new one is a common reason to train
again. And it answers its certificate's pictures here, on this machine, as it was certified.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pixloop.bundle import Bundle, Manifest
from pixloop.certificate import read_certificate
from pixloop.comparison import find_differences
from pixloop.errors import BundleError, ServingError
from pixloop.serving.codec import Place, Request, encode_answer
from pixloop.serving.predictor import Predictor

#: Loads a bundle's graph.
OpenModel = Callable[[Bundle], Predictor]
#: Of a certificate's differences, this many are told.
_TOLD = 3


class Unfit(ServingError):
    """A bundle answers otherwise than those who ask the server expect."""


def open_successor(path: Path, serving: Manifest, open_model: OpenModel) -> Predictor:
    """Load a bundle that is to take the place of a model, warmed up.

    Args:
        path: the bundle's folder, or its model.tar.gz.
        serving: the model's that it is to replace.
        open_model: loads the graph that is to be served.

    Raises:
        Unfit: it has another task, or lacks a class.
        BundleError: it is damaged, or does not answer as it was certified.
        ServingError: it fails on a picture.
    """
    bundle = Bundle.open(path)
    _check_kind(bundle.manifest, serving)
    certificate = read_certificate(bundle.path)
    predictor = open_model(bundle)
    predictor.warm_up()
    for alone in (True, False):  # they are two compilations of one graph
        differences = find_differences(lambda picture: _ask(predictor, picture, alone), certificate)  # noqa: B023
        if differences:
            more = f" And {len(differences) - _TOLD} more." if len(differences) > _TOLD else ""
            told = " ".join(differences[:_TOLD])
            raise BundleError(f"{path} does not answer here as it was certified: {told}{more}")
    return predictor


def _check_kind(new: Manifest, serving: Manifest) -> None:
    if new.task != serving.task:
        raise Unfit(f"its task is {new.task}, what serves is for {serving.task}.")
    missing = [label for label in serving.classes if label not in new.classes]
    if missing:
        raise Unfit(
            f"it does not know {', '.join(map(repr, missing))}, which is a class of what serves. "
            "Start the server anew to serve other classes."
        )


def _ask(predictor: Predictor, picture: bytes, alone: bool) -> dict[str, Any]:
    """What the server would answer about a picture, as JSON.

    Raises:
        BundleError: the picture cannot be read.
    """
    side = predictor.manifest.preprocessing.image_size
    pixels = np.empty((1, side, side, 3), np.uint8)
    size = predictor.prepare(picture, pixels[0])
    if isinstance(size, Exception):
        raise BundleError(f"a picture of its certificate cannot be read: {size}.")
    answers = predictor.answer(pixels, [size], alone=alone)
    body, _ = encode_answer(Request((picture,), (Place(),)), answers, predictor.manifest.name)
    answer: dict[str, Any] = json.loads(body)
    return answer
