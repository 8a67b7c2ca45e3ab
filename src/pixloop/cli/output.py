"""How commands speak: people read tables and sentences, programs read one JSON object.

Results go to standard output, progress and errors to standard error.
"""

import json
from typing import Annotated, Any

import typer
from pydantic import BaseModel
from rich.console import Console

out = Console(soft_wrap=True, highlight=False, emoji=False)
err = Console(stderr=True, soft_wrap=True, highlight=False, emoji=False)

JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON object on standard output.")
]
ProjectOption = Annotated[
    str, typer.Option("--project", "-C", help="The project's folder.", show_default="here")
]


def print_json(value: BaseModel | dict[str, Any]) -> None:
    """Print one JSON object on standard output."""
    plain = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    print(json.dumps(plain, indent=2, ensure_ascii=False), flush=True)


def percent(share: float | None) -> str:
    """A share as people read it.

    >>> percent(0.9734), percent(None)
    ('97.3 %', '–')
    """
    return "–" if share is None else f"{share:.1%}".replace("%", " %")
