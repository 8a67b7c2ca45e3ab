"""What S3 says of uploads: one SQS message's body to the objects that came."""

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_plus


class NotAnUpload(Exception):
    """A message that is no S3 event."""


@dataclass(frozen=True)
class Upload:
    """An object that was written.

    Attributes:
        version_id: None in a bucket that keeps no versions.
        etag: of its content, without quotes.
        sequencer: hexadecimal; of two uploads of the same key, the later one has the greater.
    """

    bucket: str
    key: str
    version_id: str | None
    etag: str
    sequencer: str

    def is_older_than(self, sequencer: str) -> bool:
        """Whether an upload of the same key with that sequencer came later.

        Source: S3 User Guide, "Event message structure": pad the shorter one with zeros on the
        right, then compare as text.
        """
        width = max(len(self.sequencer), len(sequencer))
        return self.sequencer.upper().ljust(width, "0") < sequencer.upper().ljust(width, "0")


def read_uploads(body: str) -> list[Upload]:
    """The uploads that a message tells of; none for S3's test event, deletions and folders.

    Raises:
        NotAnUpload: it is no JSON, or not what S3 sends.
    """
    try:
        event = json.loads(body)
        if event.get("Event") == "s3:TestEvent":
            return []
        records = [each for each in event["Records"] if "ObjectCreated" in each["eventName"]]
        uploads = [_upload(each["s3"]) for each in records]
    except (ValueError, AttributeError, KeyError, TypeError) as e:
        raise NotAnUpload(f"no event of S3: {body[:200]!r} ({type(e).__name__}: {e})") from e
    # S3's console makes a folder by writing an empty object whose key ends so.
    return [upload for upload in uploads if not upload.key.endswith("/")]


def _upload(s3: dict[str, Any]) -> Upload:
    entry = s3["object"]
    return Upload(
        bucket=s3["bucket"]["name"],
        key=unquote_plus(entry["key"]),
        version_id=entry.get("versionId"),
        etag=entry["eTag"].strip('"'),
        sequencer=entry.get("sequencer", ""),
    )
