"""The queue's pictures as browsers show them, whole or as thumbnails.

They are named by the SHA-256 of their bytes and never by a path, so that a browser may keep them
for ever.
"""

import io
from functools import lru_cache
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pixloop.decoding import load_upright, open_image
from pixloop.errors import AnnotationError, ImageError
from pixloop.web.site import Site
from pixloop.web.thumbnails import shrink

#: The sides, in pixels, of the squares that thumbnails fit into.
SIZES = (160, 320, 640)
#: What browsers show as it is, turning it upright themselves; all else is encoded again.
_SHOWN = {b"\xff\xd8\xff": "image/jpeg", b"\x89PNG": "image/png", b"GIF8": "image/gif"}
_HEADERS = {"Cache-Control": "private, max-age=31536000, immutable"}
#: Thumbnails in memory, of ten or twenty thousand bytes each.
_KEPT = 1000


def routes(site: Site) -> list[Route]:
    """``/review/pictures/<sha256>``, with ``?size=`` of ``SIZES`` as a thumbnail."""

    def picture(request: Request) -> Response:
        asked = request.query_params.get("size")
        if asked is not None and asked not in map(str, SIZES):
            raise HTTPException(422, f"size is one of {', '.join(map(str, SIZES))}")
        queue = site.project.review
        try:
            file = queue.picture_file(request.path_params["sha256"])
            if asked is not None:
                content, media_type = thumbnail(file, int(asked))
            else:
                content, media_type = shown(queue.picture(request.path_params["sha256"]))
        except (AnnotationError, OSError) as e:
            raise HTTPException(404, "the queue has no such picture") from e
        except ImageError as e:
            raise HTTPException(422, f"the picture cannot be shown: {e}") from e
        return Response(content, media_type=media_type, headers=_HEADERS)

    return [Route("/review/pictures/{sha256}", picture)]


def shown(content: bytes) -> tuple[bytes, str]:
    """A picture in a format that browsers show, and its media type.

    Raises:
        ImageError: it cannot be decoded.
    """
    for start, media_type in _SHOWN.items():
        if content.startswith(start):
            return content, media_type
    file = io.BytesIO()
    load_upright(open_image(content)).save(file, "PNG")
    return file.getvalue(), "image/png"


@lru_cache(_KEPT)
def thumbnail(file: Path, side: int) -> tuple[bytes, str]:
    """A picture made to fit into a square, and its media type; small ones stay as they are.

    Args:
        file: named by its content.
        side: of the square, in pixels.

    Raises:
        ImageError: it cannot be decoded.
        OSError: there is no such file.
    """
    content = file.read_bytes()
    return shown(content) if max(open_image(content).size) <= side else shrink(content, side)
