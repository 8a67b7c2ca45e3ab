"""What lies on S3, as one digest."""

import pytest

from pixloop.aws.data_version import data_version
from pixloop.aws.session import Session
from pixloop.errors import AwsError


def test_it_changes_with_what_lies_there_and_not_with_marks_of_folders(
    aws: Session, bucket: str
) -> None:
    s3, address = aws.client("s3"), f"s3://{bucket}/raw/"
    s3.put_object(Bucket=bucket, Key="raw/")
    with pytest.raises(AwsError, match=r"raw/: there are no pictures"):
        data_version(s3, [address])
    s3.put_object(Bucket=bucket, Key="raw/car/1.jpg", Body=b"a")
    first = data_version(s3, [address])
    s3.put_object(Bucket=bucket, Key="raw/car/")
    assert data_version(s3, [address, address]) == first
    s3.put_object(Bucket=bucket, Key="raw/car/1.jpg", Body=b"b")
    assert data_version(s3, [address]) != first
