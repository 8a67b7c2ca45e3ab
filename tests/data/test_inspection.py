"""Inspection in processes: how many there are changes nothing in what is found."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pixloop.config import DataConfig
from pixloop.data import inspection
from pixloop.data.prepare import prepare
from pixloop.files import sha256_folder

Put = Callable[..., Path]


@pytest.mark.slow
def test_the_data_set_is_the_same_whatever_the_number_of_workers(
    tmp_path: Path, put: Put, paint: Any, encode: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "source"
    turned = Image.Exif()
    turned[0x0112] = 8
    for number in range(60):
        options = {"exif": turned} if number % 20 == 7 else {}
        content = encode(paint(number), "JPEG", **options)
        put(source / ("cat", "dog")[number % 2] / f"{number:02}.jpg", content)
    put(source / "dog/near.jpg", encode(paint(1), "JPEG", quality=40))
    put(source / "dog/half.jpg", encode(paint(70, 400, 300), "JPEG")[:5000])
    put(source / "cat/empty.jpg", b"")
    monkeypatch.setattr(inspection, "_ALONE_S", 0.0)
    monkeypatch.setattr(inspection, "_CHUNK", 5)
    digests = set()
    for workers in (1, 2, 3):
        monkeypatch.setattr(inspection, "cores", lambda workers=workers: workers)
        made = tmp_path / str(workers)
        prepare(DataConfig(train="source"), source, None, made / "set", made / "work")
        assert len(list((made / "work" / "upright").iterdir())) == 3
        digests.add(sha256_folder(made / "set"))
    assert len(digests) == 1
