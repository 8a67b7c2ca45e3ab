"""The bucket that holds what a deployment needs: code of functions, definitions, templates.

It is made here and not by a stack, whose templates lie in it. What lies in it is named by its
content, so that a stack changes exactly when its code does.
"""

import hashlib
import json
from typing import Any

from botocore.exceptions import ClientError

from pixloop.aws.absence import is_absent
from pixloop.aws.session import Session, error_code, translated
from pixloop.errors import AwsError

#: S3's first region, which CreateBucket wants unnamed.
_FIRST_REGION = "us-east-1"


class CodeBucket:
    """``pixloop-code-<account>-<region>``: one for all projects of an account in a region."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.name = f"pixloop-code-{session.account()}-{session.region}"

    def prepare(self) -> None:
        """Make the bucket where there is none: private, encrypted, versioned, TLS only.

        Raises:
            AwsError: it belongs to another account, or may not be made.
        """
        s3 = self._session.client("s3")
        with translated(f"the bucket {self.name}"):
            if not bucket_exists(self._session, self.name):
                s3.create_bucket(Bucket=self.name, **_place(self._session.region))
            elif self._is_prepared():
                return
            s3.put_public_access_block(
                Bucket=self.name,
                PublicAccessBlockConfiguration={
                    "BlockPublicAcls": True,
                    "IgnorePublicAcls": True,
                    "BlockPublicPolicy": True,
                    "RestrictPublicBuckets": True,
                },
            )
            s3.put_bucket_encryption(
                Bucket=self.name,
                ServerSideEncryptionConfiguration={
                    "Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]
                },
            )
            s3.put_bucket_versioning(
                Bucket=self.name, VersioningConfiguration={"Status": "Enabled"}
            )
            s3.put_bucket_policy(
                Bucket=self.name, Policy=json.dumps(_tls_only(self._session, self.name))
            )

    def put(self, folder: str, content: bytes, suffix: str) -> str:
        """Store content under ``<folder>-<its hash><suffix>``, once; its key."""
        key = f"{folder}-{hashlib.sha256(content).hexdigest()[:16]}{suffix}"
        s3 = self._session.client("s3")
        with translated(f"s3://{self.name}/{key}"):
            try:
                s3.head_object(Bucket=self.name, Key=key)
            except ClientError as e:
                if not is_absent(e):
                    raise
                s3.put_object(Bucket=self.name, Key=key, Body=content)
        return key

    def url(self, key: str) -> str:
        """The https address that CloudFormation reads a template from."""
        end = "amazonaws.com.cn" if self._session.region.startswith("cn-") else "amazonaws.com"
        return f"https://{self.name}.s3.{self._session.region}.{end}/{key}"

    def _is_prepared(self) -> bool:
        """Whether the bucket has its policy, which is what it gets last."""
        try:
            self._session.client("s3").get_bucket_policy(Bucket=self.name)
        except ClientError as e:
            if error_code(e) == "NoSuchBucketPolicy":
                return False
            raise
        return True


def bucket_exists(session: Session, bucket: str) -> bool:
    """Whether this account has a bucket.

    Raises:
        AwsError: another account has it, or S3 cannot be asked.
    """
    with translated(f"the bucket {bucket}"):
        try:
            session.client("s3").head_bucket(Bucket=bucket)
        except ClientError as e:
            if is_absent(e):
                return False
            if error_code(e) in ("403", "AccessDenied"):
                raise AwsError(
                    f"The bucket {bucket} exists and may not be used: it belongs to another "
                    "account, or these credentials lack s3:ListBucket on it."
                ) from e
            raise
    return True


def partition(session: Session) -> str:
    """The first part of this region's ARNs: ``aws``, ``aws-cn`` or ``aws-us-gov``."""
    if session.region.startswith("cn-"):
        return "aws-cn"
    return "aws-us-gov" if session.region.startswith("us-gov-") else "aws"


def _place(region: str) -> dict[str, Any]:
    if region == _FIRST_REGION:
        return {}
    return {"CreateBucketConfiguration": {"LocationConstraint": region}}


def _tls_only(session: Session, bucket: str) -> dict[str, Any]:
    arn = f"arn:{partition(session)}:s3:::{bucket}"
    denied = {
        "Sid": "TlsOnly",
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": [arn, f"{arn}/*"],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }
    return {"Version": "2012-10-17", "Statement": [denied]}
