"""Addresses of servers, and the requests that ask them, as text to copy."""

import re
from shlex import quote
from urllib.parse import urlsplit

from pixloop.errors import ConfigError
from pixloop.serving.codec import PICTURE_TYPES

_MOST_NAME, _MOST_ADDRESS = 255, 2000
_PYTHON = """\
from pathlib import Path
from urllib.request import Request, urlopen

request = Request(
    {address!r},
    data=Path({name!r}).read_bytes(),
    headers={{"Content-Type": "{kind}"}},
)
with urlopen(request, timeout=60) as answer:
    print(answer.read().decode())
"""


def checked_address(text: str) -> str:
    """A server's address as a person wrote it, without ``/invocations``.

    Raises:
        ConfigError: it is none that can be asked.

    >>> checked_address(" https://models.example/vehicles/invocations ")
    'https://models.example/vehicles'
    """
    address = text.strip()
    try:
        parts = urlsplit(address)
        known = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        known = False
    if not known or len(address) > _MOST_ADDRESS or re.search(r"[\s\x00-\x1f\x7f]", address):
        raise ConfigError(
            f"{address[:80]!r} is no address of a server; expected such as "
            "http://127.0.0.1:8080 or https://….lambda-url.eu-west-1.on.aws."
        )
    if parts.query or parts.fragment:
        raise ConfigError("a server's address has no '?' and no '#'; leave them out.")
    if parts.username or parts.password:
        raise ConfigError("a password does not belong into an address, which is shown and kept.")
    return address.rstrip("/").removesuffix("/invocations")


def curl(address: str, name: str, kind: str) -> str:
    """The request for a picture's file as a command of a shell.

    Args:
        address: of ``checked_address``.
        name: the file's, whatever it holds.
        kind: the media type that a browser gives it.
    """
    literal = "--globoff " if re.search(r"[][{}]", address) else ""
    return (
        f"curl {literal}{quote(address + '/invocations')} \\\n"
        f"  -H {quote('Content-Type: ' + picture_type(kind))} \\\n"
        f"  --data-binary {_shell_word('@' + file_name(name))}"
    )


def python(address: str, name: str, kind: str) -> str:
    """The same request in Python, with nothing but its standard library."""
    return _PYTHON.format(
        address=address + "/invocations", name=file_name(name), kind=picture_type(kind)
    )


def picture_type(kind: str) -> str:
    """A media type that the server takes for a picture."""
    return kind if kind in PICTURE_TYPES else "application/octet-stream"


def file_name(name: str) -> str:
    """A file's name that stands for a file, whatever it holds.

    >>> file_name("-"), file_name("")
    ('./-', 'picture.jpg')
    """
    cut = name[:_MOST_NAME].replace("\0", "")
    return "./-" if cut == "-" else cut or "picture.jpg"  # curl takes @- for standard input


def _shell_word(text: str) -> str:
    """A word of a shell; what cannot be seen in it is spelt out, so that none hides in a copy."""
    if text.isprintable():
        return quote(text)
    plain = text.replace("\\", "\\\\").replace("'", "\\'")
    spelt = (c if c.isprintable() else "".join(f"\\x{b:02x}" for b in _bytes(c)) for c in plain)
    # After \\x shells read two digits, never a third.
    return "$'" + "".join(spelt) + "'"


def _bytes(character: str) -> bytes:
    return character.encode("utf-8", "replace")
