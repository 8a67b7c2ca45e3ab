"""The functions in this process, with clients of the tests' moto."""

import io
from collections.abc import Callable, Iterator

import pytest
from PIL import Image

from pixloop.aws import function_clients


@pytest.fixture(autouse=True)
def fresh_clients() -> Iterator[None]:
    """No client of an earlier test's AWS."""
    function_clients.client.cache_clear()
    yield
    function_clients.client.cache_clear()


@pytest.fixture(scope="session")
def make_picture() -> Callable[..., bytes]:
    def make(format_: str = "PNG", colour: str = "red") -> bytes:
        buffer = io.BytesIO()
        Image.new("RGB", (20, 30), colour).save(buffer, format_)
        return buffer.getvalue()

    return make
