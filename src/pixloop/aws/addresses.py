"""``s3://`` addresses taken apart. Only the standard library: functions carry this module."""

from pixloop.errors import AwsError


def split_address(address: str) -> tuple[str, str]:
    """Bucket and key, or prefix, of an ``s3://`` address.

    >>> split_address("s3://pictures/raw/a b.jpg")
    ('pictures', 'raw/a b.jpg')

    Raises:
        AwsError: it is none.
    """
    scheme, _, rest = address.partition("://")
    bucket, _, key = rest.partition("/")
    if scheme != "s3" or not bucket:
        raise AwsError(f"{address!r}: expected an address such as s3://bucket/folder.")
    return bucket, key
