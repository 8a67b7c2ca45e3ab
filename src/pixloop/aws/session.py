"""boto3's clients, and its errors in our words."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from threading import Lock
from typing import Any

import boto3
from botocore.config import Config as BotoConfig
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
)

from pixloop.aws.function_clients import error_code as error_code
from pixloop.errors import AwsError, AwsUnreachable

_CONNECT_TIMEOUT_S, _ATTEMPTS = 5, 4
_DENIED = ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AuthorizationError")


class Session:
    """Clients for one region, made when they are first asked for.

    Credentials, profile and endpoints are found where boto3 finds them: AWS_PROFILE,
    AWS_ENDPOINT_URL and their kin.
    """

    def __init__(self, region: str) -> None:
        self.region = region
        with translated("the AWS profile"):
            self._session = boto3.session.Session(region_name=region)
        self._clients: dict[str, Any] = {}
        self._making = Lock()

    def client(self, service: str) -> Any:
        """The client of a service, such as ``"s3"``; threads may share it."""
        with self._making:  # clients stand threads, boto3's session does not
            if service not in self._clients:
                with translated(service):
                    settings = BotoConfig(
                        connect_timeout=_CONNECT_TIMEOUT_S,
                        retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
                    )
                    self._clients[service] = self._session.client(service, config=settings)
            return self._clients[service]

    def account(self) -> str:
        """The account's 12 digits."""
        return self._account

    @cached_property
    def _account(self) -> str:
        with translated("who am I"):
            return str(self.client("sts").get_caller_identity()["Account"])


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Errors of boto3 as ``AwsError``; ``what`` says in a few words what was tried."""
    try:
        yield
    except NoCredentialsError as e:
        raise AwsError(
            f"{what}: there are no AWS credentials. 'aws configure', AWS_PROFILE or "
            "AWS_ACCESS_KEY_ID give some; 'pixloop aws rehearse' needs none."
        ) from e
    except (EndpointConnectionError, ConnectTimeoutError) as e:
        raise AwsUnreachable(f"{what}: AWS cannot be reached: {e}") from e
    except ClientError as e:
        code, message = error_code(e), e.response.get("Error", {}).get("Message", str(e))
        hint = " The role or user needs that right; see docs/aws.md." if code in _DENIED else ""
        raise AwsError(f"{what}: AWS answers {code}: {message}{hint}") from e
    except BotoCoreError as e:
        raise AwsError(f"{what}: {e}") from e
