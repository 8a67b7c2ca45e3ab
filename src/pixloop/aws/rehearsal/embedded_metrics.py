"""Metrics that functions print: CloudWatch makes them of log lines in its embedded format.

Source: CloudWatch User Guide, "Specification: Embedded metric format".
"""

import json
from typing import Any


def read_metrics(line: str) -> list[tuple[str, dict[str, Any]]]:
    """The metrics of a log line, each with its namespace, as PutMetricData takes them.

    A line in another format has none.

    >>> read_metrics("START")
    []
    """
    try:
        document = json.loads(line)
        return [
            (directive["Namespace"], _metric(document, metric, names))
            for directive in document["_aws"]["CloudWatchMetrics"]
            for names in directive["Dimensions"]
            for metric in directive["Metrics"]
        ]
    except (ValueError, KeyError, TypeError):
        return []


def _metric(document: dict[str, Any], metric: dict[str, Any], names: list[str]) -> dict[str, Any]:
    return {
        "MetricName": metric["Name"],
        "Dimensions": [{"Name": name, "Value": str(document[name])} for name in names],
        "Unit": metric.get("Unit", "None"),
        "Value": float(document[metric["Name"]]),
    }
