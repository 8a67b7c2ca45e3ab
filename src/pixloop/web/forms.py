"""Forms and numbers as browsers send them."""

from urllib.parse import parse_qs

from starlette.requests import Request

from pixloop.web.guard import TooLarge

_MOST_BYTES, _MOST_FIELDS = 1_000_000, 10_000


async def read_fields(request: Request) -> dict[str, list[str]]:
    """Every value of every field of a form (``application/x-www-form-urlencoded``).

    Raises:
        TooLarge: no page has such a form.
    """
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > _MOST_BYTES:
            raise TooLarge
    try:
        text = body.decode("utf-8", "replace")
        return parse_qs(text, keep_blank_values=True, max_num_fields=_MOST_FIELDS)
    except ValueError as e:
        raise TooLarge from e


async def read_form(request: Request) -> dict[str, str]:
    """The last value of every field of a form."""
    return {name: values[-1] for name, values in (await read_fields(request)).items()}


def read_number(text: str, otherwise: int) -> int:
    """A whole number of up to nine digits, else another one.

    >>> read_number("12", 1), read_number("-1", 1), read_number("9" * 5000, 1)
    (12, 1, 1)
    """
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 9 else otherwise
