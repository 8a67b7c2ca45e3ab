"""What Rekognition Custom Labels answers, in the form of pixloop's server.

Only the standard library: Lambda functions carry this module.
"""

import struct
from collections.abc import Mapping, Sequence
from typing import Any

from pixloop.acceptance import Acceptance

Json = dict[str, Any]

#: What DetectCustomLabels takes as bytes; larger pictures must lie in S3.
LARGEST_PICTURE_BYTES = 4 * 1024 * 1024
#: Rekognition's errors that are the picture's fault.
UNREADABLE = ("InvalidImageFormatException", "ImageTooLargeException")


def ask_rekognition(
    client: Any, version_arn: str, picture: bytes, *, model: str, acceptance: Acceptance
) -> Json:
    """Ask a running model version about one picture.

    Args:
        client: botocore's client for ``rekognition``.
        version_arn: the project version's ARN; it must be running.
        picture: an encoded PNG or JPEG of at most ``LARGEST_PICTURE_BYTES``.
        model: what the answer gives as ``model``.
        acceptance: from which score on an answer of each class is accepted.

    Returns:
        ``{"model", "predictions": [one]}``, as ``POST /invocations`` would.
    """
    found = client.detect_custom_labels(
        ProjectVersionArn=version_arn, Image={"Bytes": picture}, MinConfidence=0
    )["CustomLabels"]
    boxed = any("BoundingBox" in label.get("Geometry", {}) for label in found)
    prediction = (
        _detection(found, picture_size(picture), acceptance)
        if boxed
        else _classification(found, acceptance)
    )
    return {"model": model, "predictions": [prediction]}


def _classification(found: Sequence[Mapping[str, Any]], acceptance: Acceptance) -> Json:
    scores = {label["Name"]: label["Confidence"] / 100 for label in found}
    best = max(scores, key=lambda name: scores[name], default="")
    score = scores.get(best, 0.0)
    return {
        "label": best,
        "score": score,
        "decision": str(acceptance.decide(best, score)),
        "probabilities": scores,  # confidences: unlike our own they need not sum to 1
    }


def _detection(
    found: Sequence[Mapping[str, Any]], size: tuple[int, int], acceptance: Acceptance
) -> Json:
    width, height = size
    boxes = []
    for label in sorted(found, key=lambda each: -each["Confidence"]):
        box, score = label["Geometry"]["BoundingBox"], label["Confidence"] / 100
        left, top = box["Left"] * width, box["Top"] * height
        edges = [left, top, left + box["Width"] * width, top + box["Height"] * height]
        boxes.append(
            {
                "label": label["Name"],
                "score": score,
                "xyxy": [round(edge, 2) for edge in edges],
                "decision": str(acceptance.decide(label["Name"], score)),
            }
        )
    return {"boxes": boxes, "width": width, "height": height}


def picture_size(picture: bytes) -> tuple[int, int]:
    """Width and height in pixels of a PNG or JPEG, read from its header.

    Raises:
        ValueError: it is neither, or cut off before its size.
    """
    try:
        if picture.startswith(b"\x89PNG\r\n\x1a\n"):
            width, height = struct.unpack(">II", picture[16:24])
            return int(width), int(height)
        if picture.startswith(b"\xff\xd8"):
            return _jpeg_size(picture)
    except (struct.error, IndexError) as e:
        raise ValueError("the picture ends before its size is said") from e
    raise ValueError("the picture is neither a PNG nor a JPEG, which is all that Rekognition reads")


def _jpeg_size(picture: bytes) -> tuple[int, int]:
    """From the first start-of-frame segment (ITU-T T.81, B.2.2)."""
    place = 2
    while True:
        while picture[place] == 0xFF and picture[place + 1] == 0xFF:
            place += 1  # fill bytes
        marker = picture[place + 1]
        # Of C0 to CF, these three hold tables and no frame.
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", picture[place + 5 : place + 9])
            return int(width), int(height)
        place += 2 + int(struct.unpack(">H", picture[place + 2 : place + 4])[0])
