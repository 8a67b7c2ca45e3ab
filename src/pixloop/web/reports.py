"""Pages that pixloop wrote: reports, model cards, comparisons."""

from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.responses import FileResponse

#: They have scripts and styles of their own, and come from models and data, so they may show
#: themselves and do nothing: no origin, no requests, no forms.
SANDBOX = (
    "sandbox allow-scripts; default-src 'none'; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; img-src data:; font-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)


def sandboxed(file: Path, missing: str = "") -> FileResponse:
    """A page that pixloop wrote, shown so that it can act on nothing.

    Args:
        file: the page.
        missing: what is said where it is not there.

    Raises:
        HTTPException: 404, it is not there.
    """
    if not file.is_file():
        raise HTTPException(404, missing or f"{file.name} is not there.")
    headers = {"Content-Security-Policy": SANDBOX, "Cache-Control": "no-store"}
    return FileResponse(file, media_type="text/html; charset=utf-8", headers=headers)
