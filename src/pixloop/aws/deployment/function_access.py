"""Who may ask the function's URL: who signs as AWS does, or anybody.

It is closed unless a person opens it: a browser cannot sign. Opened, its answers may be read by
the pages of one origin alone, which browsers see to; programs need no page to ask.
"""

from typing import Any

from botocore.exceptions import ClientError

from pixloop.aws.absence import find, is_absent
from pixloop.aws.answering.asking import LIVE
from pixloop.aws.deployment.target import Clients
from pixloop.aws.session import error_code
from pixloop.errors import AwsError

#: The two rights that a URL without signatures takes; the second only by way of the URL.
_RIGHTS: dict[str, dict[str, Any]] = {
    "pixloop-page-url": {"Action": "lambda:InvokeFunctionUrl", "FunctionUrlAuthType": "NONE"},
    "pixloop-page-invoke": {"Action": "lambda:InvokeFunction", "InvokedViaFunctionUrl": True},
}
#: How long a browser remembers that a page may ask, in seconds.
_REMEMBERED_S = 600


def is_public(clients: Clients, name: str) -> bool:
    """Whether anybody may ask the function; False where there is none."""
    url = _url(clients, name)
    return url is not None and url["AuthType"] == "NONE"


def open_to_page(clients: Clients, name: str, origin: str) -> None:
    """Let anybody ask the function, and the pages of one origin read its answers.

    Raises:
        AwsError: nothing is deployed to the function.
    """
    client = clients.client("lambda")
    if _url(clients, name) is None:
        raise AwsError(f"function {name} has no URL: nothing was deployed to it yet.")
    for statement, right in _RIGHTS.items():
        try:
            client.add_permission(
                FunctionName=name, Qualifier=LIVE, StatementId=statement, Principal="*", **right
            )
        except ClientError as e:
            if error_code(e) != "ResourceConflictException":  # it is there
                raise
    client.update_function_url_config(
        FunctionName=name,
        Qualifier=LIVE,
        AuthType="NONE",
        Cors={
            "AllowOrigins": [origin],
            "AllowMethods": ["GET", "POST"],
            "AllowHeaders": ["content-type"],
            "MaxAge": _REMEMBERED_S,
        },
    )


def close(clients: Clients, name: str) -> bool:
    """Let only those ask that sign; whether it was otherwise. No function is fine."""
    client = clients.client("lambda")
    was_public = is_public(clients, name)
    if was_public:
        client.update_function_url_config(
            FunctionName=name, Qualifier=LIVE, AuthType="AWS_IAM", Cors={}
        )
    for statement in _RIGHTS:
        try:
            client.remove_permission(FunctionName=name, Qualifier=LIVE, StatementId=statement)
        except ClientError as e:
            if not is_absent(e):
                raise
    return was_public


def _url(clients: Clients, name: str) -> dict[str, Any] | None:
    get = clients.client("lambda").get_function_url_config
    found: dict[str, Any] | None = find(get, FunctionName=name, Qualifier=LIVE)
    return found
