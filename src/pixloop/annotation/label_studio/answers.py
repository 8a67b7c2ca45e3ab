"""What the model answered, as a prediction that Label Studio fills in."""

from collections.abc import Iterable
from typing import Any

from pixloop.annotation.label_studio.interface import CONTROL, IMAGE
from pixloop.data.formats.label_studio import rectangle
from pixloop.records import Box, Detection, Prediction

#: What all predictions are called there. In the label stream Label Studio shows the predictions of
#: one version only, and a queue holds the answers of several.
MODEL = "pixloop"


def prefill(answer: Prediction | Detection, classes: Iterable[str]) -> dict[str, Any]:
    """A prediction for one task: its result, and a score by which tasks can be sorted.

    Boxes of classes that the interface does not have are left out: Label Studio refuses a
    prediction with them. A score is that of the class, or of the box that is least sure.
    """
    known = set(classes)
    if isinstance(answer, Detection):
        boxes = [box for box in answer.boxes if box.label in known]
        size = (answer.width, answer.height)
        result = [
            {**rectangle(Box(box.label, box.xyxy), f"box-{number}", size), "score": box.score}
            for number, box in enumerate(boxes)
        ]
        return _prediction(result, min((box.score for box in boxes), default=1.0))
    if answer.label not in known:
        return _prediction([], answer.score)
    choice = {
        "id": "choice",
        "from_name": CONTROL,
        "to_name": IMAGE,
        "type": "choices",
        "value": {"choices": [answer.label]},
        "score": answer.score,
    }
    return _prediction([choice], answer.score)


def _prediction(result: list[dict[str, Any]], score: float) -> dict[str, Any]:
    return {"model_version": MODEL, "score": score, "result": result}
