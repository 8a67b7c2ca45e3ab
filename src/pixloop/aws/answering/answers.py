"""Answers in S3: one for each upload, whoever works on it and however often.

SQS may deliver a message twice, late, or to two workers at once. What decides is S3 itself: an
answer is written on the condition that the answer read before is still the one that is there.
"""

import json
from dataclasses import dataclass
from typing import Any

from pixloop.aws.answering.upload_events import Upload
from pixloop.aws.function_clients import error_code
from pixloop.aws.names import ANSWERS, INCOMING

#: Two writers met: S3 refused one of them, which looks again.
_LOST = ("PreconditionFailed", "ConditionalRequestConflict", "NoSuchKey", "412", "409", "404")
_TRIES = 10


@dataclass(frozen=True)
class Stored:
    """An answer that is there: its own ETag (quoted, as S3 has it), and its upload's marks."""

    etag: str
    source_etag: str
    source_sequencer: str

    def settles(self, upload: Upload) -> bool:
        """Whether an upload needs no answer: this is its answer, or that of a later one."""
        return self.source_etag == upload.etag or upload.is_older_than(self.source_sequencer)


def answer_key(key: str) -> str:
    """Where the answer to a picture is.

    >>> answer_key("in/road/a.jpg")
    'out/road/a.jpg.json'
    """
    return f"{ANSWERS}/{key.removeprefix(f'{INCOMING}/')}.json"


def find_answer(s3: Any, upload: Upload) -> Stored | None:
    """The answer that an upload's key has now, to this upload or another."""
    try:
        head = s3.head_object(Bucket=upload.bucket, Key=answer_key(upload.key))
    except s3.exceptions.ClientError as e:
        if error_code(e) in ("404", "NoSuchKey"):
            return None
        raise
    marks = head["Metadata"]
    return Stored(head["ETag"], marks.get("source-etag", ""), marks.get("source-sequencer", ""))


def store_answer(s3: Any, upload: Upload, answer: dict[str, Any]) -> bool:
    """Write the answer to an upload; False where it has one by now, or a later upload has.

    Args:
        s3: boto's client.
        upload: what is answered.
        answer: the server's, to one picture.
    """
    document = {
        "picture": f"s3://{upload.bucket}/{upload.key}",
        "etag": upload.etag,
        "version_id": upload.version_id,
        "model": answer["model"],
        "prediction": answer["predictions"][0],
    }
    for _ in range(_TRIES):
        stored = find_answer(s3, upload)
        if stored is not None and stored.settles(upload):
            return False
        condition = {"IfNoneMatch": "*"} if stored is None else {"IfMatch": stored.etag}
        try:
            s3.put_object(
                Bucket=upload.bucket,
                Key=answer_key(upload.key),
                Body=json.dumps(document).encode(),
                ContentType="application/json",
                Metadata={"source-etag": upload.etag, "source-sequencer": upload.sequencer},
                **condition,
            )
        except s3.exceptions.ClientError as e:
            if error_code(e) not in _LOST:
                raise
        else:
            return True
    raise RuntimeError(f"{answer_key(upload.key)} was written by others {_TRIES} times; try again")
