"""What is absent, told apart from what is refused."""

from typing import Any

import pytest
from botocore.exceptions import ClientError

from pixloop.aws.absence import find


def refusing(code: str, message: str) -> Any:
    def ask(**_: Any) -> None:
        raise ClientError({"Error": {"Code": code, "Message": message}}, "Describe")

    return ask


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("404", "Not Found"),
        ("ResourceNotFoundException", "Cannot find alias arn: function:live"),
        ("ValidationException", 'Could not find endpoint "arn:e".'),
        ("ValidationException", "ModelPackageGroup arn:g does not exist."),
        ("ValidationError", "Stack with id s does not exist"),
    ],
)
def test_each_service_says_it_in_its_own_words(code: str, message: str) -> None:
    assert find(refusing(code, message), Name="n") is None


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("403", "Forbidden"),
        ("AccessDeniedException", "the role does not exist"),
        ("ValidationException", "1 validation error detected"),
    ],
)
def test_what_is_refused_may_be_there(code: str, message: str) -> None:
    with pytest.raises(ClientError, match=message):
        find(refusing(code, message), Name="n")


def test_what_is_there_is_given() -> None:
    assert find(lambda **request: request, Name="n") == {"Name": "n"}
