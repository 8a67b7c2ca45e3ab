"""Whatever happens, each upload ends with one answer or among the dead letters.

The function's real package under AWS's runtime client, a real server process, and trouble: the
worker is killed at random moments, messages come twice, some are poisoned, the endpoint throttles
or is down. ``PIXLOOP_TEST_SEED`` repeats the choices of a run, though not the machine's timing.
"""

import contextlib
import json
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from pixloop.aws.answering.answers import answer_key
from pixloop.aws.answering.upload_events import read_uploads
from pixloop.aws.infrastructure.packages import build_package
from pixloop.aws.rehearsal.lambdas import Lambdas
from pixloop.aws.rehearsal.queues import Queues
from pixloop.aws.session import Session

pytestmark = pytest.mark.integration

FUNCTION = "answer_upload"
RECEIVES = 4  # as the stack has it
VISIBLE_AGAIN_S = 3  # for the stack's six minutes


@pytest.fixture
def random_(capsys: pytest.CaptureFixture[str]) -> random.Random:
    seed = int(os.environ.get("PIXLOOP_TEST_SEED") or random.randrange(10**6))
    with capsys.disabled():
        print(f"\nPIXLOOP_TEST_SEED={seed}", end=" ")
    return random.Random(seed)


class Line:
    """Bucket → queue → function → endpoint → bucket, as the serving stack has it."""

    def __init__(
        self, aws: Session, bucket: str, make_function: Callable[..., str], server: str
    ) -> None:
        self.s3, self.sqs, self.bucket, self.server = (
            aws.client("s3"),
            aws.client("sqs"),
            bucket,
            server,
        )
        self.uploaded: dict[str, tuple[str, bytes]] = {}  # key: the last ETag and picture
        self.dead = self._queue("pictures-dead")
        redrive = {"deadLetterTargetArn": self._arn(self.dead), "maxReceiveCount": RECEIVES}
        self.pictures = self._queue(
            "pictures",
            VisibilityTimeout=str(VISIBLE_AGAIN_S),
            RedrivePolicy=json.dumps(redrive),
        )
        self.copies = self._queue("copies")  # a second reader of S3's events, for duplicates
        variables = {
            "PROJECT": "colours",
            "PICTURES_BUCKET": bucket,
            "ENDPOINT_NAME": "pixloop-colours",
            "FUNCTION_NAME": "",
        }
        arn = make_function(
            FUNCTION,
            build_package(FUNCTION),
            Handler=f"pixloop.aws.functions.{FUNCTION}.handler",
            Environment={"Variables": variables},
            Timeout=60,
        )
        # With versions, a second writing of an answer shows.
        self.s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        incoming = {"Key": {"FilterRules": [{"Name": "prefix", "Value": "in/"}]}}
        self.s3.put_bucket_notification_configuration(
            Bucket=bucket,
            NotificationConfiguration={
                "QueueConfigurations": [
                    {
                        "QueueArn": self._arn(url),
                        "Events": ["s3:ObjectCreated:*"],
                        "Filter": incoming,
                    }
                    for url in (self.pictures, self.copies)
                ]
            },
        )
        aws.client("lambda").create_event_source_mapping(
            EventSourceArn=self._arn(self.pictures),
            FunctionName=arn,
            BatchSize=10,
            FunctionResponseTypes=["ReportBatchItemFailures"],
        )

    def put(self, key: str, picture: bytes) -> None:
        answer = self.s3.put_object(Bucket=self.bucket, Key=key, Body=picture)
        self.uploaded[key] = answer["ETag"].strip('"'), picture

    def send(self, body: str) -> None:
        self.sqs.send_message(QueueUrl=self.pictures, MessageBody=body)

    def take(self, url: str) -> list[str]:
        """The bodies of all messages of a queue, which is empty then."""
        bodies = []
        while messages := self.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get(
            "Messages"
        ):
            for message in messages:
                self.sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
                bodies.append(message["Body"])
        return bodies

    def is_drained(self) -> bool:
        kinds = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        answer = self.sqs.get_queue_attributes(QueueUrl=self.pictures, AttributeNames=kinds)
        return all(answer["Attributes"][kind] == "0" for kind in kinds)

    def answers(self) -> Counter[str]:
        """How often each answer was written."""
        pages = self.s3.get_paginator("list_object_versions").paginate(
            Bucket=self.bucket, Prefix="out/"
        )
        return Counter(v["Key"] for page in pages for v in page.get("Versions", []))

    def check_answer(self, key: str) -> None:
        """The answer of a key is the server's to the last upload of it."""
        stored = self.s3.get_object(Bucket=self.bucket, Key=answer_key(key))
        answer = json.loads(stored["Body"].read())
        etag, picture = self.uploaded[key]
        asked = httpx.post(f"{self.server}/invocations", content=picture).json()
        assert answer["prediction"] == asked["predictions"][0], key
        assert answer["model"] == asked["model"]
        assert answer["etag"] == stored["Metadata"]["source-etag"] == etag, key

    def _queue(self, name: str, **attributes: str) -> str:
        return str(self.sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"])

    def _arn(self, url: str) -> str:
        answer = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        return str(answer["Attributes"]["QueueArn"])


@pytest.fixture
def line(
    aws: Session,
    bucket: str,
    make_function: Callable[..., str],
    server: str,
    front: Any,
) -> Iterator[Line]:
    queues = Queues(aws.client, pollers=3)
    queues.install()
    yield Line(aws, bucket, make_function, server)
    queues.close()


def uploads(bodies: list[str]) -> set[str]:
    """The keys that messages tell of, without the poisoned ones."""
    told = [body for body in bodies if '"s3"' in body]
    return {upload.key for body in told for upload in read_uploads(body)}


class Killer(threading.Thread):
    """Kills a running worker again and again, at random moments."""

    def __init__(self, lambdas: Lambdas, random_: random.Random, times: int) -> None:
        super().__init__(daemon=True)
        self.lambdas, self.random, self.left = lambdas, random_, times

    def run(self) -> None:
        while self.left:
            time.sleep(self.random.uniform(0, 0.7))
            if pids := self.lambdas.processes(FUNCTION):
                with contextlib.suppress(ProcessLookupError):  # it is dead already
                    os.kill(self.random.choice(pids), signal.SIGKILL)
                    self.left -= 1


def test_a_worker_killed_fifty_times_loses_nothing_and_repeats_nothing(
    aws: Session,
    line: Line,
    lambdas: Lambdas,
    front: Any,
    random_: random.Random,
    make_picture: Callable[..., bytes],
    until: Callable[..., Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    busy = [(429, "ThrottlingException"), (503, "ServiceUnavailable")]
    front.trouble = lambda: random_.choice(busy) if random_.random() < 0.2 else None
    poisoned = ["no JSON", json.dumps({"Records": [{"what": "is this"}]})]
    killer = Killer(lambdas, random.Random(random_.random()), times=50)
    killer.start()
    count = 0
    while killer.is_alive() or count < 60:
        colour = tuple(random_.randrange(256) for _ in range(3))
        line.put(f"in/{count}.png", make_picture(colour))
        count += 1
        if random_.random() < 0.3:
            for body in line.take(line.copies):
                line.send(body)
        if count % 20 == 0 and poisoned:
            line.send(poisoned.pop())
        time.sleep(random_.uniform(0, 0.2))
    line.put("in/text.png", b"no picture")
    line.put("in/large.png", make_picture() + bytes(7_000_000))
    bad = {"in/text.png", "in/large.png"}
    good = set(line.uploaded) - bad

    until(line.is_drained, patience_s=100)
    dead = line.take(line.dead)
    first_dead = uploads(dead)
    written = line.answers()
    unanswered = {key for key in good if answer_key(key) not in written}
    assert unanswered <= first_dead
    # What an operator does when the trouble is over: the dead letters go back.
    front.trouble = lambda: None
    for body in dead:
        line.send(body)
    until(line.is_drained, patience_s=60)
    written = line.answers()
    died = aws.client("logs").filter_log_events(
        logGroupName=f"/aws/lambda/{FUNCTION}", filterPattern='"Runtime.ExitError"'
    )
    with capsys.disabled():
        print(
            f"kills 50 (in the middle of a batch: {len(died['events'])}), "
            f"uploads {len(line.uploaded)}, worker starts {len(lambdas.cold_starts[FUNCTION])}, "
            f"throttled {front.refused}, dead letters {len(dead)} "
            f"(of good pictures not answered: {len(unanswered)})",
            end=" ",
        )
    assert written == Counter({answer_key(key): 1 for key in good})
    for key in good:
        line.check_answer(key)
    dead = line.take(line.dead)
    assert uploads(dead) == bad
    assert sum("no JSON" in body for body in dead) == 1
    assert sum("is this" in body for body in dead) == 1


def test_an_endpoint_that_is_down_for_a_while_answers_all_in_the_end(
    line: Line,
    front: Any,
    random_: random.Random,
    make_picture: Callable[..., bytes],
    until: Callable[..., Any],
) -> None:
    line.sqs.set_queue_attributes(QueueUrl=line.pictures, Attributes={"VisibilityTimeout": "12"})
    down = threading.Event()
    front.trouble = lambda: (503, "ServiceUnavailable") if down.is_set() else None
    for number in range(20):
        if number == 5:
            down.set()
        line.put(f"in/{number % 15}.png", make_picture(random_.choice(["red", "green", "blue"])))
    until(lambda: front.refused > 10)
    down.clear()
    until(line.is_drained, patience_s=60)
    dead = uploads(line.take(line.dead))
    written = line.answers()
    for key in line.uploaded:
        if answer_key(key) in written:
            line.check_answer(key)
        else:
            assert key in dead
    # Those that were uploaded once are answered once.
    assert {written[answer_key(f"in/{number}.png")] for number in range(5, 15)} <= {0, 1}


def test_messages_that_tell_nothing_are_dealt_with(
    line: Line, make_picture: Callable[..., bytes], until: Callable[..., Any]
) -> None:
    line.send(json.dumps({"Service": "Amazon S3", "Event": "s3:TestEvent"}))
    line.put("in/folder/", b"")
    line.put("in/a+b ä.png", make_picture("blue"))
    until(line.is_drained)
    assert line.take(line.dead) == []
    assert line.answers() == Counter({"out/a+b ä.png.json": 1})
    line.check_answer("in/a+b ä.png")
