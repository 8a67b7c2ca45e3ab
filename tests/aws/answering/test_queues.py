"""What Lambda does with queues, done by pollers of this machine."""

import json
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pixloop.aws.rehearsal.queues import Queues
from pixloop.aws.session import Session

Make = Callable[..., str]
Until = Callable[..., Any]

pytestmark = pytest.mark.integration

#: Notes each event, fails for bodies that say so.
FUNCTION = """
import json
def handler(event, context):
    bodies = [record["body"] for record in event["Records"]]
    with open({notes!r}, "a") as file:
        file.write(json.dumps(event) + "\\n")
    if "crash" in bodies:
        raise RuntimeError("crash")
    bad = [r["messageId"] for r in event["Records"] if r["body"] == "bad"]
    return {{"batchItemFailures": [{{"itemIdentifier": each}} for each in bad]}}
"""


@pytest.fixture
def queues(aws: Session) -> Iterator[Queues]:
    queues = Queues(aws.client)
    queues.install()
    yield queues
    queues.close()


class Line:
    """A queue with a dead-letter queue, a function, and what the function noted."""

    def __init__(self, aws: Session, make_function: Make, notes: Path, **mapping: Any) -> None:
        self.sqs, self.notes = aws.client("sqs"), notes
        self.dead = self.sqs.create_queue(QueueName="dead")["QueueUrl"]
        attributes = {
            "VisibilityTimeout": "1",
            "RedrivePolicy": json.dumps(
                {"deadLetterTargetArn": self._arn(self.dead), "maxReceiveCount": "2"}
            ),
        }
        self.url = self.sqs.create_queue(QueueName="line", Attributes=attributes)["QueueUrl"]
        source = textwrap.dedent(FUNCTION).format(notes=str(notes))
        self.mapping = aws.client("lambda").create_event_source_mapping(
            EventSourceArn=self._arn(self.url),
            FunctionName=make_function("reader", source),
            FunctionResponseTypes=["ReportBatchItemFailures"],
            **mapping,
        )

    def send(self, *bodies: str) -> None:
        for body in bodies:
            self.sqs.send_message(QueueUrl=self.url, MessageBody=body)

    def batches(self) -> list[list[str]]:
        lines = self.notes.read_text().splitlines() if self.notes.exists() else []
        return [[record["body"] for record in json.loads(line)["Records"]] for line in lines]

    def left(self, url: str) -> int:
        """Messages in a queue, also those that a reader has."""
        kinds = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        answer = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=kinds)
        return sum(int(answer["Attributes"][kind]) for kind in kinds)

    def _arn(self, url: str) -> str:
        answer = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        return str(answer["Attributes"]["QueueArn"])


def test_messages_come_as_lambda_words_them_and_are_deleted(
    aws: Session, make_function: Make, queues: Queues, until: Until, tmp_path: Path
) -> None:
    line = Line(aws, make_function, tmp_path / "notes", BatchSize=10)
    line.send("one")
    until(lambda: line.batches() == [["one"]] and line.left(line.url) == 0)
    record = json.loads(line.notes.read_text())["Records"][0]
    assert record["eventSource"] == "aws:sqs"
    assert record["eventSourceARN"].endswith(":line")
    assert record["attributes"]["ApproximateReceiveCount"] == "1"
    assert set(record) >= {"messageId", "receiptHandle", "md5OfBody", "awsRegion"}


def test_a_window_gathers_more_than_one_call_gives(
    aws: Session, make_function: Make, queues: Queues, until: Until, tmp_path: Path
) -> None:
    line = Line(
        aws, make_function, tmp_path / "notes", BatchSize=1000, MaximumBatchingWindowInSeconds=3
    )
    line.sqs.set_queue_attributes(QueueUrl=line.url, Attributes={"VisibilityTimeout": "30"})
    line.send(*(str(i) for i in range(25)))
    until(lambda: line.left(line.url) == 0)
    assert [len(batch) for batch in line.batches()] == [25]


def test_what_failed_alone_comes_again_and_ends_among_the_dead(
    aws: Session, make_function: Make, queues: Queues, until: Until, tmp_path: Path
) -> None:
    line = Line(aws, make_function, tmp_path / "notes", BatchSize=10)
    line.send("good", "bad", "fine")
    until(lambda: line.left(line.dead) == 1 and line.left(line.url) == 0)
    seen = [body for batch in line.batches() for body in batch]
    assert sorted(seen) == ["bad", "bad", "fine", "good"]


def test_a_function_that_fails_keeps_its_whole_batch_in_the_queue(
    aws: Session, make_function: Make, queues: Queues, until: Until, tmp_path: Path
) -> None:
    line = Line(
        aws, make_function, tmp_path / "notes", BatchSize=10, MaximumBatchingWindowInSeconds=1
    )
    line.send("good", "crash")
    until(lambda: line.left(line.dead) >= 1 and line.left(line.url) == 0)
    assert line.left(line.url) == 0
    # The good one shared the crash's fate unless it came in a batch of its own.
    alone = ["good"] in line.batches()
    assert line.left(line.dead) == (1 if alone else 2)


def test_a_mapping_that_is_disabled_is_polled_no_more(
    aws: Session, make_function: Make, queues: Queues, until: Until, tmp_path: Path
) -> None:
    line = Line(aws, make_function, tmp_path / "notes", BatchSize=1)
    line.send("one")
    until(lambda: line.batches() == [["one"]])
    functions = aws.client("lambda")
    functions.update_event_source_mapping(UUID=line.mapping["UUID"], Enabled=False)
    until(lambda: all(stop.is_set() for stop in queues._stopped.values()))
    until(lambda: sum(thread.is_alive() for thread in queues._threads) == 1)
    line.send("two")
    assert line.left(line.url) == 1
    functions.update_event_source_mapping(UUID=line.mapping["UUID"], Enabled=True)
    until(lambda: line.batches() == [["one"], ["two"]])


def test_an_upload_says_its_version_and_its_place_in_the_order(
    aws: Session, queues: Queues, bucket: str
) -> None:
    s3, sqs = aws.client("s3"), aws.client("sqs")
    url = sqs.create_queue(QueueName="uploads")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    s3.put_bucket_notification_configuration(
        Bucket=bucket,
        NotificationConfiguration={
            "QueueConfigurations": [{"QueueArn": arn["QueueArn"], "Events": ["s3:ObjectCreated:*"]}]
        },
    )
    versions = [s3.put_object(Bucket=bucket, Key="in/a b.jpg", Body=b"x") for _ in range(3)]
    messages = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]
    objects = [
        json.loads(each["Body"])["Records"][0]["s3"]["object"]
        for each in messages
        if "Records" in json.loads(each["Body"])
    ]
    objects.sort(key=lambda each: each["sequencer"])
    assert [each["versionId"] for each in objects] == [each["VersionId"] for each in versions]
    assert {each["key"] for each in objects} == {"in%2Fa+b.jpg"}
