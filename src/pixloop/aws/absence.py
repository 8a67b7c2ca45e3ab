"""How AWS's services say that there is no such thing, each in its own words.

Functions carry this module: only the standard library and botocore.
"""

from collections.abc import Callable
from typing import Any

from botocore.exceptions import ClientError

from pixloop.aws.function_clients import error_code

_CODES = (
    "404",
    "AWS.SimpleQueueService.NonExistentQueue",
    "NoSuchBucket",
    "NoSuchKey",
    "NotFound",
    "NotFoundException",
    "ObjectNotFoundException",  # Application Auto Scaling
    "QueueDoesNotExist",
    "RepositoryNotFoundException",
    "ResourceNotFound",  # SageMaker's pipelines
    "ResourceNotFoundException",
)
#: SageMaker and CloudFormation have one code for all that is wrong with a request.
_VAGUE_CODES = ("ValidationException", "ValidationError")
_WORDS = ("could not find", "does not exist", "no scalable target found")


def find(ask: Callable[..., Any], **request: Any) -> Any:
    """What a client's method answers, or None where there is no such thing."""
    try:
        return ask(**request)
    except ClientError as e:
        if is_absent(e):
            return None
        raise


def is_absent(error: ClientError) -> bool:
    """Whether an error says that what was asked for does not exist."""
    code = error_code(error)
    return code in _CODES or (
        code in _VAGUE_CODES and any(words in str(error).lower() for words in _WORDS)
    )
