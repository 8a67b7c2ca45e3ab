"""A deployment as the verification sees it, wherever it runs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


class AnswerRefused(Exception):
    """The deployment refuses a request for what is in it: a 4xx, with its reason."""


@dataclass(frozen=True)
class Deployment:
    """Something that answers as a pixloop server does.

    Attributes:
        name: what it is called, for messages: a URL, or the name of an endpoint or a function.
        ask: sends one encoded picture and gives the server's JSON, ``{"model", "predictions"}``.
            Raises ``AnswerRefused`` where the deployment finds fault with the picture.
        ping: says in words why the deployment is not ready, or nothing where it is.
        model: what its answers must give as ``model``; None where any name is right.
    """

    name: str
    ask: Callable[[bytes], dict[str, Any]]
    ping: Callable[[], str | None]
    model: str | None = None
