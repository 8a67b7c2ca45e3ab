"""From SQS to Lambda on a laptop: what Lambda's event source mappings do.

moto accepts mappings and then delivers in its own way, one message a call. Here each mapping has
a poller that works as AWS documents it: batches, the batching window, partial failures
(``ReportBatchItemFailures``). What was not done stays in the queue until its visibility timeout
is over; after ``maxReceiveCount`` times the queue itself moves it to the dead-letter queue.

Source: Lambda Developer Guide, "Using Lambda with Amazon SQS".
"""

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import moto.s3.notifications
from botocore.exceptions import BotoCoreError, ClientError
from moto.sqs.models import Queue

from pixloop.aws.rehearsal.patches import Patches

_LOOK_S = 0.25  # how often mappings are listed
_PAUSE_S = 0.5  # after an error
#: SQS gives at most ten messages a call, and Lambda at most 6 MB to a function.
_MESSAGES, _BATCH_BYTES = 10, 6_000_000

log = logging.getLogger(__name__)


class Queues:
    """The pollers of all event source mappings."""

    def __init__(self, client: Callable[[str], Any], pollers: int = 1) -> None:
        """
        Args:
            client: gives a boto3 client of a service; threads share it.
            pollers: how many poll each queue that has no batching window; Lambda begins with five.
        """
        self._client, self._pollers = client, pollers
        self._patches = Patches()
        self._closed = threading.Event()
        self._threads: list[threading.Thread] = []
        self._stopped: dict[str, threading.Event] = {}

    def install(self) -> None:
        """Keep moto from delivering by itself, and begin to poll, until ``close``."""
        nothing = property(lambda queue: {}, lambda queue, value: None)
        self._patches.replace(Queue, "lambda_event_source_mappings", nothing)
        _number_uploads(self._patches)
        self._start(self._look)

    def close(self) -> None:
        """Stop polling; what is being worked on is finished first."""
        self._closed.set()
        for thread in self._threads:
            thread.join()
        self._patches.undo()

    def _start(self, target: Callable[..., None], *arguments: Any) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _look(self) -> None:
        """Start pollers for mappings that appear, stop those of mappings that go."""
        while not self._closed.wait(_LOOK_S):
            try:
                listed = self._client("lambda").list_event_source_mappings()["EventSourceMappings"]
            except (BotoCoreError, ClientError) as e:
                log.warning("event source mappings cannot be listed: %s", e)
                continue
            wanted = {
                mapping["UUID"]: mapping
                for mapping in listed
                if ":sqs:" in mapping["EventSourceArn"] and mapping["State"] == "Enabled"
            }
            for identity in set(self._stopped) - set(wanted):
                self._stopped.pop(identity).set()
            for identity in set(wanted) - set(self._stopped):
                stop = self._stopped[identity] = threading.Event()
                # With a window, one poller makes one batch of what arrives together.
                window = wanted[identity].get("MaximumBatchingWindowInSeconds")
                for _ in range(1 if window else self._pollers):
                    self._start(self._poll, wanted[identity], stop)

    def _poll(self, mapping: Mapping[str, Any], stop: threading.Event) -> None:
        while not (self._closed.is_set() or stop.is_set()):
            try:
                messages = self._receive(mapping, stop)
                if messages:
                    self._hand_over(mapping, messages)
            except Exception as e:  # a poller outlives every error of one batch
                log.warning("%s: %s", mapping["EventSourceArn"], e)
                stop.wait(_PAUSE_S)

    def _receive(
        self, mapping: Mapping[str, Any], stop: threading.Event
    ) -> Sequence[Mapping[str, Any]]:
        """A batch: full, or what came until the window closed."""
        queue, size = self._url(mapping["EventSourceArn"]), mapping["BatchSize"]
        window_s = mapping.get("MaximumBatchingWindowInSeconds") or 0
        batch: list[Mapping[str, Any]] = []
        closes: float | None = None
        while len(batch) < size and not (self._closed.is_set() or stop.is_set()):
            if closes is not None and time.monotonic() >= closes:
                break
            batch += (
                self._client("sqs")
                .receive_message(
                    QueueUrl=queue,
                    MaxNumberOfMessages=min(_MESSAGES, size - len(batch)),
                    WaitTimeSeconds=1,
                    AttributeNames=["All"],
                    MessageAttributeNames=["All"],
                )
                .get("Messages", [])
            )
            if batch and closes is None:
                closes = time.monotonic() + window_s
            if sum(len(each["Body"]) for each in batch) > _BATCH_BYTES - 2**20:
                break
        return batch

    def _hand_over(self, mapping: Mapping[str, Any], messages: Sequence[Mapping[str, Any]]) -> None:
        event = {"Records": [_record(each, mapping["EventSourceArn"]) for each in messages]}
        answer = self._client("lambda").invoke(
            FunctionName=mapping["FunctionArn"], Payload=json.dumps(event).encode()
        )
        payload = answer["Payload"].read()
        if "FunctionError" in answer:
            log.info("%s: %s", mapping["FunctionArn"], payload[:500])
            return
        failed: set[str] = set()
        if "ReportBatchItemFailures" in (mapping.get("FunctionResponseTypes") or ()):
            failed = read_failures(payload, [each["MessageId"] for each in messages])
        done = [each for each in messages if each["MessageId"] not in failed]
        for start in range(0, len(done), _MESSAGES):
            self._client("sqs").delete_message_batch(
                QueueUrl=self._url(mapping["EventSourceArn"]),
                Entries=[
                    {"Id": str(number), "ReceiptHandle": each["ReceiptHandle"]}
                    for number, each in enumerate(done[start : start + _MESSAGES])
                ],
            )

    def _url(self, arn: str) -> str:
        name = arn.rpartition(":")[2]
        return str(self._client("sqs").get_queue_url(QueueName=name)["QueueUrl"])


def read_failures(payload: bytes, sent: Sequence[str]) -> set[str]:
    """The ids of the messages that a function did not deal with, from its answer.

    An answer that says nothing sensible counts as a failure of all, as it does on AWS.

    >>> sorted(read_failures(b'{"batchItemFailures": [{"itemIdentifier": "b"}]}', ["a", "b"]))
    ['b']
    >>> sorted(read_failures(b'{"batchItemFailures": [{"itemIdentifier": ""}]}', ["a", "b"]))
    ['a', 'b']
    >>> read_failures(b"null", ["a", "b"])
    set()
    """
    try:
        failures = (json.loads(payload) or {}).get("batchItemFailures") or []
        failed = {failure["itemIdentifier"] for failure in failures}
    except (ValueError, AttributeError, KeyError, TypeError):
        return set(sent)
    return failed if failed <= set(sent) else set(sent)


def _record(message: Mapping[str, Any], arn: str) -> dict[str, Any]:
    """A message as functions see it."""
    return {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": message["Body"],
        "attributes": message.get("Attributes", {}),
        "messageAttributes": {
            name: {"stringValue": value.get("StringValue"), "dataType": value["DataType"]}
            for name, value in message.get("MessageAttributes", {}).items()
        },
        "md5OfBody": message["MD5OfBody"],
        "eventSource": "aws:sqs",
        "eventSourceARN": arn,
        "awsRegion": arn.split(":")[3],
    }


def _number_uploads(patches: Patches) -> None:
    """Let moto's S3 events say which version came, and in which order, as S3's do."""

    def complete(event_name: str, bucket: Any, key: Any, notification_id: str) -> Any:
        event = original(event_name, bucket, key, notification_id)
        for record in event["Records"]:
            entry = record["s3"]["object"]
            entry["sequencer"] = f"{int(key.last_modified.timestamp() * 1e6):018X}"
            if bucket.is_versioned:
                entry["versionId"] = key.version_id
        return event

    original = patches.replace(moto.s3.notifications, "_get_s3_event", complete)
