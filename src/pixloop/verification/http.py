"""A deployment that is found by its URL."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from pixloop.errors import VerificationError
from pixloop.verification.deployment import AnswerRefused, Deployment

_TIMEOUT_S = 60.0


@contextmanager
def open_url(url: str, model: str | None = None) -> Iterator[Deployment]:
    """The server at ``url``, which may end in ``/invocations``; connections close with the block.

    What has a public address is asked without credentials. A function URL that wants AWS's
    signature is not: name the function instead.
    """
    base = url.rstrip("/").removesuffix("/invocations")
    with httpx.Client(timeout=_TIMEOUT_S) as http:

        def send(method: str, path: str, **options: Any) -> httpx.Response:
            try:
                return http.request(method, base + path, **options)
            except (httpx.HTTPError, httpx.InvalidURL) as e:
                raise VerificationError(
                    f"no answer from {base}{path}: {str(e) or type(e).__name__}. "
                    "Is the server running? 'pixloop serve' starts one."
                ) from e

        def ask(picture: bytes) -> dict[str, Any]:
            headers = {"Content-Type": "application/x-image"}
            response = send("POST", "/invocations", content=picture, headers=headers)
            if 400 <= response.status_code < 500:
                raise AnswerRefused(f"{response.status_code}: {response.text[:300]}")
            try:
                response.raise_for_status()
                answer: dict[str, Any] = response.json()
            except (httpx.HTTPStatusError, ValueError) as e:
                raise VerificationError(
                    f"{base}/invocations answered {response.status_code}: {response.text[:300]}"
                ) from e
            return answer

        def ping() -> str | None:
            status = send("GET", "/ping").status_code
            return None if status == 200 else f"{base}/ping answered {status}, not 200"

        yield Deployment(base, ask, ping, model)
