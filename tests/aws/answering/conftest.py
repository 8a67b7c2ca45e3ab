"""Lambda on this machine, over the tests' moto."""

import io
import os
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pixloop.aws.rehearsal.lambdas import Lambdas
from pixloop.aws.session import Session


@pytest.fixture
def lambdas(aws: Session, tmp_path: Path) -> Iterator[Lambdas]:
    names = ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    lambdas = Lambdas({name: os.environ[name] for name in names}, tmp_path / "lambdas")
    lambdas.install()
    yield lambdas
    lambdas.close()


@pytest.fixture
def role(aws: Session) -> str:
    made = aws.client("iam").create_role(RoleName="functions", AssumeRolePolicyDocument="{}")
    return str(made["Role"]["Arn"])


@pytest.fixture
def make_function(aws: Session, role: str, lambdas: Lambdas) -> Callable[..., str]:
    """Make a function of source code, or of a package; its ARN."""

    def make(name: str, source: str | bytes, **options: Any) -> str:
        settings: dict[str, Any] = {
            "Runtime": "python3.12",
            "Handler": "function.handler",
            "Code": {"ZipFile": source if isinstance(source, bytes) else pack(source)},
            "Timeout": 20,
            "MemorySize": 256,
        }
        made = aws.client("lambda").create_function(
            FunctionName=name, Role=role, **(settings | options)
        )
        return str(made["FunctionArn"])

    return make


def pack(source: str) -> bytes:
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as package:
        package.writestr("function.py", source)
    return code.getvalue()


@pytest.fixture
def until() -> Callable[..., Any]:
    """Wait until something is true, and give it."""

    def wait(condition: Callable[[], Any], patience_s: float = 30) -> Any:
        end = time.monotonic() + patience_s
        while not (value := condition()):
            assert time.monotonic() < end, "it did not happen"
            time.sleep(0.05)
        return value

    return wait
