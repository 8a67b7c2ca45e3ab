import hashlib
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pixloop.bundle import Bundle
from pixloop.data.dataset import Dataset, DatasetWriter, Objects, Row
from pixloop.evaluation.comparison.worsened import WorsenedPictures, compare_worsened
from pixloop.evaluation.scoring import CLASSIFICATION
from pixloop.monitoring.corrupted import MOST_PIXELS

Maker = Callable[..., Path]


def test_every_picture_is_worsened_and_stays_what_it_is(make_dataset: Maker) -> None:
    split = Dataset.open(make_dataset(60)).split("test")
    worse = WorsenedPictures(split, 40)
    assert len(worse) == len(list(worse)) == 40
    assert np.all(np.diff(worse.rows) > 0)
    for index, row in zip(worse.rows.tolist(), worse, strict=True):
        original = split.read(index)
        assert (row.path, row.label) == (original.path, original.label)
        assert row.image != original.image
    again = WorsenedPictures(split, 40)
    assert [row.image for row in again] == [row.image for row in worse]


def test_boxes_move_with_a_picture_that_is_made_smaller(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (1600, 400), "gray").save(buffer, "JPEG")
    content = buffer.getvalue()
    box = Objects(np.array([[160.0, 40, 320, 80]]), np.array([0]), np.array([False]))
    writer = DatasetWriter(tmp_path / "data", ("thing",), "detection")
    writer.add(
        "test", Row(content, "1.jpg", -1, 1600, 400, hashlib.sha256(content).hexdigest(), box)
    )
    writer.finish()
    worse = WorsenedPictures(Dataset.open(tmp_path / "data").split("test"), 10)
    smaller = Image.open(io.BytesIO(next(iter(worse)).image))
    assert smaller.width * smaller.height <= MOST_PIXELS
    share = smaller.width / 1600
    assert worse.objects[0].boxes[0] == pytest.approx(box.boxes[0] * share, abs=0.5)


def test_both_models_are_asked_about_the_same_pictures(
    make_bundle: Maker, make_dataset: Maker
) -> None:
    good, blind = Bundle.open(make_bundle()), Bundle.open(make_bundle(in_the_dark="blue"))
    data = Dataset.open(make_dataset())
    ours, theirs = ((b, CLASSIFICATION.answer(b, data, "test")) for b in (good, blind))
    found = compare_worsened(ours, theirs, data, 300, 0.95)
    assert found is not None
    assert found.paired.pictures == 120
    assert found.paired.challenger > found.paired.champion
    clean = float(ours[1].correct.mean())
    assert found.kept.challenger == pytest.approx(found.paired.challenger / clean)
    assert found.kept.champion == pytest.approx(
        found.paired.champion / float(theirs[1].correct.mean())
    )
