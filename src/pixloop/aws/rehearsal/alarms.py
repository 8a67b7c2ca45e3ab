"""CloudWatch alarms: moto keeps them, here they are evaluated whenever a metric is put.

The last periods of an alarm on one metric decide, as CloudWatch counts them; alarms on metric math
or on other alarms are left alone, and so is the clock: without a new value nothing changes.
"""

import operator
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from moto.cloudwatch.models import Alarm, CloudWatchBackend, MetricDatum

from pixloop.aws.rehearsal.events import Events
from pixloop.aws.rehearsal.patches import Patches

_COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    "GreaterThanOrEqualToThreshold": operator.ge,
    "GreaterThanThreshold": operator.gt,
    "LessThanThreshold": operator.lt,
    "LessThanOrEqualToThreshold": operator.le,
}
_STATISTICS: Mapping[str, Callable[[list[float]], float]] = {
    "Sum": sum,
    "Average": lambda values: sum(values) / len(values),
    "Minimum": min,
    "Maximum": max,
    "SampleCount": len,
}


def install(patches: Patches, events: Events, notify: Callable[[str, str], None]) -> None:
    """Evaluate alarms, and say what they turn to.

    Args:
        patches: keeps what moto had.
        events: gets "CloudWatch Alarm State Change".
        notify: called with the ARN of each action of the new state, and the message for it.
    """
    put = CloudWatchBackend.put_metric_data
    update = Alarm.update_state

    def put_metric_data(self: Any, namespace: str, metric_data: list[dict[str, Any]]) -> None:
        put(self, namespace, metric_data)
        names = {metric["MetricName"] for metric in metric_data}
        for alarm in list(self.alarms.values()):
            if alarm.namespace == namespace and alarm.metric_name in names:
                _evaluate(self, alarm)

    def update_state(self: Any, reason: str, reason_data: str, state_value: str) -> None:
        before = _state(self)
        update(self, reason, reason_data, state_value)
        if before["value"] == state_value:
            return
        detail = {
            "alarmName": self.name,
            "configuration": _configuration(self),
            "previousState": before,
            "state": _state(self),
        }
        events.emit("aws.cloudwatch", "CloudWatch Alarm State Change", detail, [self.alarm_arn])
        actions = {"ALARM": self.alarm_actions, "OK": self.ok_actions}.get(state_value) or []
        for action in actions if self.actions_enabled else []:
            notify(action, f"{self.name} is {state_value}: {reason}")

    patches.replace(CloudWatchBackend, "put_metric_data", put_metric_data)
    patches.replace(Alarm, "update_state", update_state)


def _evaluate(backend: Any, alarm: Any) -> None:
    compare, count = _COMPARISONS.get(alarm.comparison_operator), int(alarm.evaluation_periods)
    statistic = _STATISTICS.get(alarm.statistic)
    if compare is None or statistic is None:
        return
    now, period = datetime.now(UTC), timedelta(seconds=int(alarm.period))
    points = []
    for back in range(count):
        end = now - back * period
        values = [
            datum.value
            for datum in backend.metric_data
            if _belongs(datum, alarm) and end - period < _aware(datum.timestamp) <= end
        ]
        points.append(statistic(values) if values else None)
    missing_breaches = alarm.treat_missing_data == "breaching"
    breaching = [
        missing_breaches if point is None else compare(point, float(alarm.threshold))
        for point in points
    ]
    least = int(alarm.datapoints_to_alarm or count)
    state = "ALARM" if sum(breaching) >= least else "OK"
    if state != alarm.state_value:
        reason = (
            f"{sum(breaching)} of the last {count} datapoints {points} "
            f"{alarm.comparison_operator} ({alarm.threshold})."
        )
        alarm.update_state(reason, "{}", state)


def _belongs(datum: Any, alarm: Any) -> bool:
    same = (datum.namespace, datum.name) == (alarm.namespace, alarm.metric_name)
    return isinstance(datum, MetricDatum) and same and _pairs(datum) == _pairs(alarm)


def _pairs(owner: Any) -> set[tuple[str, str]]:
    return {(dimension.name, dimension.value) for dimension in owner.dimensions}


def _aware(time: datetime) -> datetime:
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _state(alarm: Any) -> dict[str, str]:
    return {
        "value": alarm.state_value,
        "reason": alarm.state_reason,
        "reasonData": alarm.state_reason_data,
        "timestamp": f"{alarm.state_updated_timestamp:%Y-%m-%dT%H:%M:%S}.000+0000",
    }


def _configuration(alarm: Any) -> dict[str, Any]:
    metric = {
        "namespace": alarm.namespace,
        "name": alarm.metric_name,
        "dimensions": {dimension.name: dimension.value for dimension in alarm.dimensions},
    }
    stat = {"metric": metric, "period": alarm.period, "stat": alarm.statistic}
    return {
        "description": alarm.description,
        "metrics": [{"id": "m1", "metricStat": stat, "returnData": True}],
    }
