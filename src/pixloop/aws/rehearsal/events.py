"""EventBridge: events that AWS's services would emit, and their way to the targets of the rules.

moto keeps rules and matches patterns; it delivers to few kinds of targets, and while the caller
waits. Here deliveries happen in threads of their own, to every kind of target that pixloop's
stacks have, over the wire as AWS does it.
"""

import json
import logging
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import moto.events.models
from moto.core import DEFAULT_ACCOUNT_ID

from pixloop.aws.rehearsal.patches import Patches
from pixloop.aws.rehearsal.transformer import target_input

#: How often an asynchronous invocation is tried again, unless the function's settings say it.
#: Source: AWS Lambda Developer Guide, "How Lambda handles errors and retries with asynchronous
#: invocation"; AWS waits a minute and two between tries, which a rehearsal does not.
_RETRIES = 2
_MOTO_PLACEHOLDER_ID = "17793124-05d4-b198-2fde-7ededc63b103"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Delivery:
    """What came of one event at one target; ``failure`` is None where it arrived."""

    rule: str
    target: str  #: ARN
    event: Mapping[str, Any]
    answer: str = ""
    failure: str | None = None


class Events:
    """The default event bus's deliveries."""

    def __init__(self, region: str, client: Callable[[str], Any]) -> None:
        """``client`` gives a boto3 client of a service; threads share it."""
        self.deliveries: list[Delivery] = []
        self._region, self._client = region, client
        self._pool = ThreadPoolExecutor(8, thread_name_prefix="eventbridge")
        self._lock = threading.Lock()
        self._under_way = 0
        self._closed = False

    def install(self, patches: Patches) -> None:
        """Let moto hand its matched rules to us."""
        bus = self

        def send_to_targets(
            rule: Any, original_event: dict[str, Any], transform_input: bool = True
        ) -> None:
            del transform_input  # moto's own way of saying that it cannot
            if original_event.get("id") == _MOTO_PLACEHOLDER_ID:
                original_event["id"] = str(uuid.uuid4())
            bus.take(rule, original_event)

        patches.replace(moto.events.models.Rule, "send_to_targets", send_to_targets)

    @property
    def failures(self) -> Sequence[Delivery]:
        """The deliveries that failed."""
        return [each for each in self.deliveries if each.failure is not None]

    @property
    def quiet(self) -> bool:
        """Whether nothing is being delivered."""
        return self._under_way == 0

    def emit(
        self,
        source: str,
        detail_type: str,
        detail: Mapping[str, Any],
        resources: Sequence[str] = (),
    ) -> None:
        """Put an event of an AWS service on the bus."""
        event = {
            "version": "0",
            "id": str(uuid.uuid4()),
            "detail-type": detail_type,
            "source": source,
            "account": DEFAULT_ACCOUNT_ID,
            "time": now_text(),
            "region": self._region,
            "resources": list(resources),
            "detail": json.loads(json.dumps(detail, default=_json_value)),
        }
        for rule in self._rules():
            self.take(rule, event)

    def take(self, rule: Any, event: Mapping[str, Any]) -> None:
        """Deliver an event to a rule's targets, where its pattern matches."""
        # A rule that only has a schedule matches no event, though moto's empty pattern does.
        if rule.state != "ENABLED" or not rule.event_pattern.get_pattern():
            return
        event = {key: value for key, value in event.items() if key != "ingestion-time"}
        if isinstance(event["time"], int | float):
            event["time"] = _time_text(datetime.fromtimestamp(event["time"], UTC))
        if rule.event_pattern.matches_event(event):
            for target in list(rule.targets):
                self._hand_over(rule.name, target, event)

    def run_schedule(self, rule_name: str) -> None:
        """Fire a scheduled rule once, as its clock would."""
        rule = next(rule for rule in self._rules() if rule.name == rule_name)
        event = {
            "version": "0",
            "id": str(uuid.uuid4()),
            "detail-type": "Scheduled Event",
            "source": "aws.events",
            "account": DEFAULT_ACCOUNT_ID,
            "time": now_text(),
            "region": self._region,
            "resources": [rule.arn],
            "detail": {},
        }
        for target in list(rule.targets):
            self._hand_over(rule.name, target, event)

    def notify(self, arn: str, message: str) -> None:
        """Carry out an alarm's action: a topic gets the message; others are not acted out."""
        if arn.split(":")[2] == "sns":
            self._hand_over("alarm", {"Arn": arn, "Input": message}, {})

    def close(self) -> None:
        """Deliver no more; what is under way is waited for."""
        with self._lock:
            self._closed = True
        self._pool.shutdown(wait=True, cancel_futures=True)

    # ---- inside

    def _rules(self) -> list[Any]:
        backend = moto.events.models.events_backends[DEFAULT_ACCOUNT_ID][self._region]
        return list(backend.event_buses["default"].rules.values())

    def _hand_over(self, rule: str, target: Mapping[str, Any], event: Mapping[str, Any]) -> None:
        with self._lock:
            if not self._closed:
                self._under_way += 1
                self._pool.submit(self._deliver, rule, target, event)

    def _deliver(self, rule: str, target: Mapping[str, Any], event: Mapping[str, Any]) -> None:
        arn = target["Arn"]
        try:
            answer = self._send(arn, target, target_input(target, event))
            delivery = Delivery(rule, arn, event, answer=answer)
        except Exception as e:  # whatever it is, the rehearsal shows it
            delivery = Delivery(rule, arn, event, failure=f"{type(e).__name__}: {e}")
            log.warning("rule %s → %s: %s", rule, arn, delivery.failure)
        with self._lock:
            self.deliveries.append(delivery)
            self._under_way -= 1

    def _send(self, arn: str, target: Mapping[str, Any], text: str) -> str:
        service, name = arn.split(":")[2], arn.split(":")[-1]
        if service == "sqs":
            # moto goes by the address's end; asking for it doubles the work of a large upload.
            url = f"https://sqs.{self._region}.amazonaws.com/{DEFAULT_ACCOUNT_ID}/{name}"
            group = target.get("SqsParameters", {})
            sent = self._client("sqs").send_message(QueueUrl=url, MessageBody=text, **group)
            return str(sent["MessageId"])
        if service == "lambda":
            return self._invoke(arn, text)
        if service == "states":
            started = self._client("stepfunctions").start_execution(
                stateMachineArn=arn, name=f"event-{uuid.uuid4()}", input=text
            )
            return str(started["executionArn"])
        if service == "sagemaker":
            given = target.get("SageMakerPipelineParameters", {}).get("PipelineParameterList", [])
            started = self._client("sagemaker").start_pipeline_execution(
                PipelineName=arn.rpartition("/")[2],
                PipelineParameters=given,
                ClientRequestToken=str(uuid.uuid4()),
            )
            return str(started["PipelineExecutionArn"])
        if service == "sns":
            return str(self._client("sns").publish(TopicArn=arn, Message=text)["MessageId"])
        raise NotImplementedError(f"the stand-in delivers no events to {service}")

    def _invoke(self, arn: str, text: str) -> str:
        settings = self._invoke_settings(arn)
        tries = 1 + settings.get("MaximumRetryAttempts", _RETRIES)
        for _ in range(tries):
            answer = self._client("lambda").invoke(FunctionName=arn, Payload=text.encode())
            payload = str(answer["Payload"].read().decode())
            if "FunctionError" not in answer:
                return payload
        failed = settings.get("DestinationConfig", {}).get("OnFailure", {}).get("Destination")
        if failed:
            said = {
                "requestContext": {"functionArn": arn, "condition": "RetriesExhausted"},
                "requestPayload": json.loads(text),
                "responsePayload": json.loads(payload),
            }
            self._send(failed, {}, json.dumps(said))
        raise RuntimeError(f"the function failed {tries} times: {payload}")

    def _invoke_settings(self, arn: str) -> Mapping[str, Any]:
        client = self._client("lambda")
        try:
            return dict(client.get_function_event_invoke_config(FunctionName=arn))
        except client.exceptions.ResourceNotFoundException:
            return {}


def now_text() -> str:
    """The time as events give it, such as ``2026-01-31T12:00:00Z``."""
    return _time_text(datetime.now(UTC))


def _time_text(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def _json_value(value: Any) -> Any:
    if isinstance(value, datetime):
        return _time_text(value)
    raise TypeError(f"{type(value).__name__} cannot be part of an event")
