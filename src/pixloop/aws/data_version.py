"""What lies below addresses, as one digest: the pipeline parameter ``DataVersion``.

SageMaker's step cache compares addresses, not what lies there. With the digest as a parameter the
first steps run again exactly when data have changed, whoever starts the run: so the command line
and the function that triggers start reckon it alike. Only the standard library and botocore.
"""

import hashlib
from collections.abc import Iterable
from typing import Any

from pixloop.aws.addresses import split_address
from pixloop.errors import AwsError


def data_version(client: Any, addresses: Iterable[str]) -> str:
    """A digest of the keys, sizes and ETags below some ``s3://`` addresses; 64 digits.

    Args:
        client: boto's of ``s3``.
        addresses: folders; one that is there twice counts once.

    Raises:
        AwsError: there is nothing below one of them.
    """
    digest = hashlib.sha256()
    for address in dict.fromkeys(addresses):
        bucket, prefix = split_address(address)
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        empty = True
        for found in (each for page in pages for each in page.get("Contents", [])):
            if found["Key"].endswith("/"):  # marks a folder
                continue
            digest.update(f"{found['Key']}\0{found['Size']}\0{found['ETag']}\n".encode())
            empty = False
        if empty:
            raise AwsError(f"{address}: there are no pictures.")
    return digest.hexdigest()
