"""What there is already: kept by an earlier deployment, or the account's own. It is used again."""

from collections.abc import Callable, Iterable, Mapping

from botocore.exceptions import ClientError

from pixloop.aws.absence import is_absent
from pixloop.aws.infrastructure.code_bucket import bucket_exists
from pixloop.aws.session import Session, translated

_GITHUB = "token.actions.githubusercontent.com"


def make_or_find(
    session: Session,
    make: str,
    name: str,
    exists: Callable[[Session, str], bool],
    parameters: Mapping[str, str],
    before: Mapping[str, str],
) -> str:
    """Whether a stack makes a resource, or finds it there: "yes" or "no".

    What it made itself it must go on making, or CloudFormation would let go of it.
    """
    if before.get(name) == parameters[name]:
        return before[make]
    return "no" if exists(session, parameters[name]) else "yes"


def repository_exists(session: Session, name: str) -> bool:
    """Whether ECR has a repository."""
    with translated(f"the repository {name}"):
        try:
            session.client("ecr").describe_repositories(repositoryNames=[name])
        except ClientError as e:
            if is_absent(e):
                return False
            raise
    return True


def group_exists(session: Session, name: str) -> bool:
    """Whether the registry has a model package group."""
    with translated(f"the model package group {name}"):
        try:
            session.client("sagemaker").describe_model_package_group(ModelPackageGroupName=name)
        except ClientError as e:
            if is_absent(e):
                return False
            raise
    return True


def kept_key(session: Session, buckets: Iterable[str]) -> str:
    """The key that buckets of an earlier deployment are encrypted with; empty without one."""
    for bucket in buckets:
        if not bucket_exists(session, bucket):
            continue
        with translated(f"the bucket {bucket}"):
            answer = session.client("s3").get_bucket_encryption(Bucket=bucket)
        rule = answer["ServerSideEncryptionConfiguration"]["Rules"][0]
        if key := rule["ApplyServerSideEncryptionByDefault"].get("KMSMasterKeyID"):
            return str(key)
    return ""


def github_provider(session: Session) -> str:
    """The account's OIDC provider for GitHub, of which it can have one; empty without one."""
    with translated("the account's OIDC providers"):
        answer = session.client("iam").list_open_id_connect_providers()
    arns = [each["Arn"] for each in answer["OpenIDConnectProviderList"]]
    return next((arn for arn in arns if arn.endswith(_GITHUB)), "")
