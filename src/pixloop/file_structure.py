"""How many parts a picture's file has, before anybody reads them.

A decoder's work is usually bounded by the pixels, whose number is known at once. Not so where a
file has millions of tiny parts, each read in Python, or a JPEG that refines all its pixels
thousands of times by scans of a few bytes each.
"""

from pixloop.errors import ImageError

#: Segments of a JPEG before its pixels, and chunks of a PNG. Large colour profiles take 255
#: segments; PNGs have one chunk for each 8 kB or more.
MAX_PARTS = 10_000
#: Scans of a JPEG. Encoders make about ten.
MAX_SCANS = 100

_LEAST_SEGMENT, _LEAST_CHUNK = 4, 12  # bytes
_START_OF_SCAN, _END = 0xDA, 0xD9
#: Frames whose scans refine the same pixels; other scans cost what their bytes cost.
_PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)


def check_structure(data: bytes) -> None:
    """Refuse a file of so many parts that only somebody who means harm makes it.

    Other formats than JPEG and PNG, and what is broken, pass: decoding them takes no longer than
    their bytes and pixels explain.

    Raises:
        ImageError: it has more than ``MAX_PARTS`` parts or ``MAX_SCANS`` scans.
    """
    if data[:2] == b"\xff\xd8":
        _check_jpeg(data)
    elif data[:4] == b"\x89PNG" and len(data) > MAX_PARTS * _LEAST_CHUNK:
        _check_png(data)


def _check_jpeg(data: bytes) -> None:
    place, parts, progressive = 2, 0, False
    while (marker := data[place + 1 : place + 2]) and marker[0] not in (_START_OF_SCAN, _END):
        # Between segments, libjpeg passes over whatever is no marker; so does this, in one step.
        if data[place] != 0xFF or marker[0] in (0x00, 0xFF):
            place = data.find(b"\xff", place + 1)
            if place < 0:
                return
            continue
        progressive = progressive or marker[0] in _PROGRESSIVE
        place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
        parts += 1
        if parts > MAX_PARTS:
            raise ImageError(f"the JPEG has more than {MAX_PARTS} segments")
    if progressive and _count_scans(data, place) > MAX_SCANS:
        raise ImageError(f"the JPEG has more than {MAX_SCANS} scans")


def _count_scans(data: bytes, place: int) -> int:
    """Up to the picture's end: a film that a phone appended to it may hold any bytes."""
    scans = 0
    # Within coded pixels a 0xFF is followed by a zero. Most pictures have few scans: count first.
    if data.count(b"\xff\xda", place) <= MAX_SCANS:
        return 0
    while (place := data.find(b"\xff", place)) >= 0 and scans <= MAX_SCANS:
        marker = data[place + 1] if place + 1 < len(data) else _END
        if marker == _END:
            break
        scans += marker == _START_OF_SCAN
        place += 1 if marker == 0xFF else 2
    return scans


def _check_png(data: bytes) -> None:
    place, parts = 8, 0
    while place < len(data):
        place += _LEAST_CHUNK + int.from_bytes(data[place : place + 4], "big")
        parts += 1
        if parts > MAX_PARTS:
            raise ImageError(f"the PNG has more than {MAX_PARTS} chunks")
