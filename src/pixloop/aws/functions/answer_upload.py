"""The queue's worker: uploaded pictures to answers in S3.

A message that cannot be dealt with is handed back, and only that one: SQS gives it again, and
after some times puts it among the dead letters. Whatever happens to the worker, a message is
deleted only after its answer was written.
"""

from typing import Any

from pixloop.aws.answering.accepting import count_answers, doubts
from pixloop.aws.answering.answers import find_answer, store_answer
from pixloop.aws.answering.asking import MAX_PAYLOAD_BYTES, PICTURE, PictureRefused, ask_served
from pixloop.aws.answering.pictures import get_object, picture_format
from pixloop.aws.answering.upload_events import Upload, read_uploads
from pixloop.aws.function_clients import client

#: With less time left than this, no further message is begun.
_RESERVE_MS = 15_000


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answer a batch of messages; which of them SQS shall keep.

    Args:
        event: SQS messages whose bodies are S3's events.
        context: Lambda's; tells the time that is left.
    """
    kept: list[str] = []
    predictions: list[dict[str, Any]] = []
    for number, record in enumerate(event["Records"]):
        if number and context.get_remaining_time_in_millis() < _RESERVE_MS:
            kept += [each["messageId"] for each in event["Records"][number:]]
            print(f"out of time: {len(event['Records']) - number} message(s) handed back")
            break
        try:
            for upload in read_uploads(record["body"]):
                predictions += _answer(upload)
        except Exception as e:  # this one alone; the queue decides how often it comes again
            kept.append(record["messageId"])
            print(f"message {record['messageId']}: {type(e).__name__}: {e}")
    if predictions:
        referred = sum(bool(doubts(prediction)) for prediction in predictions)
        count_answers(accepted=len(predictions) - referred, referred=referred)
    return {"batchItemFailures": [{"itemIdentifier": each} for each in kept]}


def _answer(upload: Upload) -> list[dict[str, Any]]:
    """Answer one upload; its prediction, or nothing where it has its answer already."""
    s3 = client("s3")
    stored = find_answer(s3, upload)
    if stored is not None and stored.settles(upload):
        return []
    picture = _read(s3, upload)
    if picture is None:
        return []
    found = picture_format(picture)
    answer = ask_served(client, picture, found[0] if found else PICTURE)
    return [answer["predictions"][0]] if store_answer(s3, upload, answer) else []


def _read(s3: Any, upload: Upload) -> bytes | None:
    """The picture as it was uploaded; None where it was replaced, which has a message of its own.

    Raises:
        PictureNotFound: it was deleted.
        PictureRefused: it is larger than any endpoint takes.
    """
    version = {} if upload.version_id is None else {"VersionId": upload.version_id}
    found = get_object(s3, upload.bucket, upload.key, **version)
    with found["Body"] as body:
        if found["ETag"].strip('"') != upload.etag:
            return None
        if found["ContentLength"] > MAX_PAYLOAD_BYTES:
            raise PictureRefused(
                f"s3://{upload.bucket}/{upload.key} has {found['ContentLength']:,} bytes; "
                f"endpoints take at most {MAX_PAYLOAD_BYTES:,}. Make it smaller and upload it again"
            )
        return bytes(body.read())
