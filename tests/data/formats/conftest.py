from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from PIL import Image

from pixloop.records import Sample


@pytest.fixture
def put_picture() -> Callable[[Path], Path]:
    """``put_picture(file)``: a picture of 48 by 40 pixels, in the format of its suffix."""

    def put_picture(file: Path) -> Path:
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (48, 40), "teal").save(file)
        return file

    return put_picture


@pytest.fixture
def said() -> Callable[[Iterable[Sample]], list[tuple[str, str]]]:
    """``said(samples)``: kind and words of the findings of samples and of their boxes."""

    def said(samples: Iterable[Sample]) -> list[tuple[str, str]]:
        found = []
        for sample in samples:
            found += [*sample.findings, *(f for b in sample.boxes or () for f in b.findings)]
        return [(finding.kind, finding.detail) for finding in found]

    return said
