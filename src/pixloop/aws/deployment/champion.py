"""The archive of the version that was deployed and verified last, where the pipeline finds it."""

from typing import Any

from pixloop.aws.absence import find
from pixloop.aws.addresses import split_address
from pixloop.aws.deployment.target import Clients, ModelSource, Target

KEY = "champion/model.tar.gz"


def crown(clients: Clients, target: Target, source: ModelSource) -> bool:
    """Copy a version's archive to ``champion/``, within S3. False where it lies there already.

    An archive may have up to 5 GB: what S3 copies in one request.
    """
    s3 = clients.client("s3")
    bucket, key = split_address(source.data_url)
    etag = s3.head_object(Bucket=bucket, Key=key)["ETag"]
    noted = {"model": source.name, "source": source.data_url, "source-etag": etag.strip('"')}
    # A copy has an ETag of its own, which the pipeline takes for a new champion.
    if read_champion(clients, target) == noted:
        return False
    s3.copy_object(
        Bucket=target.bucket,
        Key=KEY,
        CopySource={"Bucket": bucket, "Key": key},
        CopySourceIfMatch=etag,
        Metadata=noted,
        MetadataDirective="REPLACE",
        ContentType="application/gzip",
    )
    return True


def read_champion(clients: Clients, target: Target) -> dict[str, str] | None:
    """What is noted of the champion: ``model``, ``source``, ``source-etag``; None without one."""
    found = find(clients.client("s3").head_object, Bucket=target.bucket, Key=KEY)
    return None if found is None else dict(found["Metadata"])


def open_archive(clients: Clients, source: ModelSource) -> Any:
    """A stream of a version's ``model.tar.gz``."""
    bucket, key = split_address(source.data_url)
    return clients.client("s3").get_object(Bucket=bucket, Key=key)["Body"]
