"""A deployment's answer held against the certificate's: every difference, in words.

Probabilities may differ by the certificate's ``max_difference``, so may a detector's scores before
calibration; boxes are matched as ``export.box_matching`` does it. A label or a decision must be the
same, unless the certificate's own score lies so near the next class or the threshold that what is
allowed to differ decides it.

Only the standard library is used, so that a Lambda function can carry this module.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pixloop.certificate import Certificate, CertifiedBox, CertifiedPicture

#: What rounding in the answer may add: half of the last decimal of a score and of an edge, and a
#: little for the arithmetic.
_SCORE_ROUNDING, _EDGE_ROUNDING_PX = 6e-7, 6e-3


def find_differences(
    ask: Callable[[bytes], Mapping[str, Any]], certificate: Certificate, model: str | None = None
) -> list[str]:
    """Ask a deployment about every picture of a certificate.

    Args:
        ask: sends an encoded picture, gives the server's JSON. What it raises is raised on.
        certificate: what to expect.
        model: what answers must give as ``model``; None does not ask.

    Returns:
        The differences; none where the deployment answers as it should.
    """
    differences = []
    for picture in certificate.pictures:
        answer = ask(picture.content)
        if model is not None and answer.get("model") != model:
            return [f"the answers are of model {answer.get('model')!r}, not of {model!r}."]
        differences += compare(certificate, picture, answer)
    return differences


def compare(
    certificate: Certificate, picture: CertifiedPicture, answer: Mapping[str, Any]
) -> list[str]:
    """Hold the server's JSON about one picture against the certificate."""
    predictions = answer.get("predictions")
    if not isinstance(predictions, list) or len(predictions) != 1:
        return [f"{picture}: expected one prediction, the answer is {str(answer)[:200]}."]
    try:
        if picture.boxes is None:
            found = _compare_classes(certificate, picture, predictions[0])
        else:
            found = _compare_boxes(certificate, picture.boxes, predictions[0]["boxes"])
    except (LookupError, TypeError, ValueError) as e:
        found = [f"the answer is not a pixloop server's ({e!r}): {str(answer)[:200]}"]
    return [f"{picture}: {difference}." for difference in found]


def _compare_classes(
    certificate: Certificate, picture: CertifiedPicture, prediction: Mapping[str, Any]
) -> list[str]:
    expected, answered = picture.probabilities or {}, prediction["probabilities"]
    if set(answered) != set(expected):
        return [f"the classes are {', '.join(answered)}, the certificate has {', '.join(expected)}"]
    allowed = certificate.max_difference
    differences = [
        f"probability of {label!r} is {answered[label]:.4g}, the certificate has {share:.4g}; "
        f"at most {allowed:.2g} may differ"
        for label, share in expected.items()
        if not abs(answered[label] - share) <= allowed
    ]
    best = max(expected, key=lambda label: expected[label])
    label, score = prediction["label"], expected[best]
    if label != best and not expected.get(label, -1.0) >= score - 2 * allowed:
        differences.append(f"label is {label!r}, the certificate has {best!r}")
    elif label != best:
        # Another class that is as likely has its own threshold.
        best, score = label, expected[label]
    right = str(certificate.acceptance.decide(best, score))
    least = certificate.acceptance.least(best)
    near = least is not None and abs(score - least) <= allowed
    if prediction["decision"] != right and not near:
        differences.append(_wrong_decision(prediction["decision"], right, best, score, certificate))
    return differences


def _compare_boxes(
    certificate: Certificate,
    expected: Sequence[CertifiedBox],
    answered: Sequence[Mapping[str, Any]],
) -> list[str]:
    differences = []
    free = list(answered)
    for box in expected:
        same = [each for each in free if _is_same(box, each, certificate.min_box_iou)]
        if same:
            best = max(same, key=lambda each: overlap(box.xyxy, each["xyxy"]))
            free.remove(best)
            differences += _compare_decision(certificate, box, best)
        elif box.least >= certificate.minimum:  # else rounding decides whether it is answered
            differences.append(
                f"the certificate has {_name(box.label, box.score, box.xyxy)}, the answer has "
                "no such box"
            )
    differences += [
        f"the answer has {_name(each['label'], each['score'], each['xyxy'])}, the certificate has "
        "no such box"
        for each in free
    ]
    return differences


def _compare_decision(
    certificate: Certificate, box: CertifiedBox, answer: Mapping[str, Any]
) -> list[str]:
    least = certificate.acceptance.least(box.label)
    if least is not None and box.least <= least <= box.most:
        return []
    right = str(certificate.acceptance.decide(box.label, box.score))
    if answer["decision"] == right:
        return []
    return [_wrong_decision(answer["decision"], right, box.label, box.score, certificate)]


def _is_same(box: CertifiedBox, answer: Mapping[str, Any], min_box_iou: float) -> bool:
    return (
        answer["label"] == box.label
        and box.least - _SCORE_ROUNDING <= answer["score"] <= box.most + _SCORE_ROUNDING
        and (
            overlap(box.xyxy, answer["xyxy"]) >= min_box_iou
            # The rounding of a box of a few pixels costs more overlap than that.
            or all(
                abs(here - there) <= _EDGE_ROUNDING_PX
                for here, there in zip(box.xyxy, answer["xyxy"], strict=True)
            )
        )
    )


def overlap(first: Sequence[float], second: Sequence[float]) -> float:
    """Intersection over union of two boxes, xyxy.

    >>> overlap((0, 0, 2, 1), (1, 0, 3, 1))
    0.3333333333333333
    """
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    shared = max(width, 0.0) * max(height, 0.0)
    united = _area(first) + _area(second) - shared
    return shared / united if united > 0 else 0.0


def _area(box: Sequence[float]) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _wrong_decision(
    answered: str, right: str, label: str, score: float, certificate: Certificate
) -> str:
    return (
        f"decision is {answered!r}, the certificate has {right!r} for {label!r} at {score:.4g} "
        f"(threshold {certificate.acceptance.least(label)})"
    )


def _name(label: str, score: float, xyxy: Sequence[float]) -> str:
    edges = ", ".join(f"{edge:.1f}" for edge in xyxy)
    return f"{label!r} at [{edges}] with score {score:.4g}"
