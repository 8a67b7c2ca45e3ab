"""Forms as browsers send them."""

from urllib.parse import parse_qs

from starlette.requests import Request


async def read_fields(request: Request) -> dict[str, list[str]]:
    """Every value of every field of a form (``application/x-www-form-urlencoded``)."""
    body = (await request.body()).decode("utf-8", "replace")
    return parse_qs(body, keep_blank_values=True)


async def read_form(request: Request) -> dict[str, str]:
    """The last value of every field of a form."""
    return {name: values[-1] for name, values in (await read_fields(request)).items()}
