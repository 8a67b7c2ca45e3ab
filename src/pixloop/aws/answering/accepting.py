"""Whether an answer stands by itself, or a person should look; and the counts of both."""

import json
import os
import time
from typing import Any

from pixloop.aws.names import NAMESPACE


def doubts(prediction: dict[str, Any]) -> list[str]:
    """What the version's threshold refers to people, as ``label score``; empty: all is accepted.

    Args:
        prediction: of one picture, as the server gives it: a class, or boxes.

    >>> doubts({"label": "bus", "score": 0.41, "decision": "refer"})
    ['bus 0.410']
    >>> doubts({"boxes": []})
    []
    """
    decided = prediction.get("boxes", [prediction])
    return [
        f"{each['label']} {each['score']:.3f}" for each in decided if each["decision"] != "accept"
    ]


def count_answers(accepted: int, referred: int) -> None:
    """Print the counts so that CloudWatch makes metrics ``Accepted`` and ``Referred`` of them.

    Source: CloudWatch User Guide, "Specification: Embedded metric format".
    """
    metrics = [{"Name": name, "Unit": "Count"} for name in ("Accepted", "Referred")]
    described = {"Namespace": NAMESPACE, "Dimensions": [["Project"]], "Metrics": metrics}
    document = {
        "_aws": {"Timestamp": int(time.time() * 1000), "CloudWatchMetrics": [described]},
        "Project": os.environ["PROJECT"],
        "Accepted": accepted,
        "Referred": referred,
    }
    print(json.dumps(document))
