"""What a Label Studio of our own is entered with: made once, for this user's eyes only."""

import os
import secrets
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from pixloop.errors import AnnotationError

TOKEN_VARIABLE = "LABEL_STUDIO_TOKEN"  # noqa: S105 - its name


class Credentials(BaseModel):
    """Who enters, and the secret that the backend is told by."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    email: str
    password: str
    token: str
    secret: str


def credentials(file: Path) -> Credentials:
    """Those of a file, which is made where it is missing.

    Raises:
        AnnotationError: the file is damaged.
    """
    if not file.exists():
        made = Credentials(
            email="you@pixloop.local",
            password=secrets.token_urlsafe(12),
            token=secrets.token_hex(20),
            secret=secrets.token_urlsafe(32),
        )
        write_private(file, made.model_dump_json(indent=2) + "\n")
    try:
        return Credentials.model_validate_json(file.read_bytes())
    except ValidationError as e:
        raise AnnotationError(
            f"{file} is damaged. Remove the folder {file.parent} to start afresh; annotations that "
            "were synced are kept elsewhere."
        ) from e


def token_of_another(url: str) -> str:
    """The token for a Label Studio that runs already.

    Raises:
        AnnotationError: there is none.
    """
    token = os.environ.get(TOKEN_VARIABLE, "").strip()
    if not token:
        raise AnnotationError(
            f"annotation.label_studio is {url}: set {TOKEN_VARIABLE} to a token of it, from its "
            "page 'Account & Settings'."
        )
    return token


def write_private(file: Path, text: str) -> None:
    """Write a file that only its owner reads, atomically."""
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
        opened.write(text)
    temporary.replace(file)
