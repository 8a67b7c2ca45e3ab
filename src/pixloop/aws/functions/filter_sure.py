"""Workflow, step 3: let pass what the version's threshold accepts."""

from typing import Any

from pixloop.aws.answering.accepting import count_answers, doubts


class ThresholdNotMet(Exception):
    """The model is not sure enough of a picture; a person should look at it."""


def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    """``event`` as it came, where its prediction is accepted; of boxes, all must be.

    Args:
        event: what ``classify`` returned.
        context: Lambda's.

    Raises:
        ThresholdNotMet: says the labels and scores that are not sure.
    """
    unsure = doubts(event["prediction"])
    count_answers(accepted=0 if unsure else 1, referred=1 if unsure else 0)
    if unsure:
        raise ThresholdNotMet(
            f"{event['picture']}: {event['model']} is not sure of {', '.join(unsure)}"
        )
    return event
