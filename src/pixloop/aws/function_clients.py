"""boto's clients inside a Lambda function: made when first used, kept as long as the process."""

from functools import cache
from typing import Any

_ATTEMPTS, _CONNECT_TIMEOUT_S = 4, 5


@cache
def client(service: str, read_timeout_s: int = 60) -> Any:
    """The client of a service, such as ``"s3"``; region and credentials are the function's.

    Made of botocore alone, and imported here: boto3 and what it brings for other purposes take a
    third of a second to import, which every cold start would pay, also where nothing is asked.
    """
    from botocore.config import Config
    from botocore.session import get_session

    settings = Config(
        retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
        connect_timeout=_CONNECT_TIMEOUT_S,
        read_timeout=read_timeout_s,
    )
    return get_session().create_client(service, config=settings)


def error_code(error: Exception) -> str:
    """The code of a botocore ClientError, such as ``"NoSuchKey"``; "" for other errors."""
    response: dict[str, Any] = getattr(error, "response", {})
    return str(response.get("Error", {}).get("Code", ""))
