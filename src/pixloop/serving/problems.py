"""What is wrong with a request, as a problem document (RFC 9457)."""

import json
from http import HTTPStatus

from pixloop.errors import ServingError

PROBLEM_MEDIA_TYPE = "application/problem+json"

#: The problem types beyond plain HTTP ones; a client can tell a bad picture from a bad request.
UNREADABLE_PICTURE = "urn:pixloop:unreadable-picture"
PICTURE_TOO_LARGE = "urn:pixloop:picture-too-large"


class RequestProblem(ServingError):
    """A request that the server does not answer with a prediction.

    Attributes:
        status: the HTTP status, 4xx or 503.
        detail: what is wrong with this request, for a person.
        type: a URI of the kind of problem; ``about:blank`` says no more than the status.
        pointer: JSON pointer to the place in the body, such as ``#/instances/3/b64``.
        line: 1-based line of a JSON-lines body.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        type: str = "about:blank",  # noqa: A002 - RFC 9457's word
        pointer: str | None = None,
        line: int | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.type = status, detail, type
        self.pointer, self.line = pointer, line


def encode_problem(problem: RequestProblem) -> bytes:
    """The problem document.

    >>> json.loads(encode_problem(RequestProblem(415, "text/csv is no picture.")))["title"]
    'Unsupported Media Type'
    """
    document: dict[str, str | int] = {
        "type": problem.type,
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": problem.detail,
    }
    if problem.pointer is not None:
        document["pointer"] = problem.pointer
    if problem.line is not None:
        document["line"] = problem.line
    return json.dumps(document).encode()
