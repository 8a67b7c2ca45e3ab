from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image


@pytest.fixture
def put_picture() -> Callable[[Path], Path]:
    """``put_picture(file)``: a picture of 48 by 40 pixels, in the format of its suffix."""

    def put_picture(file: Path) -> Path:
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (48, 40), "teal").save(file)
        return file

    return put_picture
