from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pixloop.data.formats import read_samples
from pixloop.data.samples import DIGITS, SHAPES, Shape, draw_shapes, write_digits, write_shapes
from pixloop.decoding import RgbArray
from pixloop.files import sha256_folder


def test_digits_are_written_as_class_folders_and_always_the_same(tmp_path: Path) -> None:
    write_digits(tmp_path / "a")
    write_digits(tmp_path / "b")
    assert sha256_folder(tmp_path / "a") == sha256_folder(tmp_path / "b")
    train = sorted((tmp_path / "a/train").rglob("*.png"))
    test = sorted((tmp_path / "a/test").rglob("*.png"))
    assert len(train) + len(test) == 1797
    assert len(test) == 360
    assert {p.parent.name for p in train} == {p.parent.name for p in test} == set(DIGITS)
    assert not {p.name for p in train} & {p.name for p in test}
    with Image.open(train[0]) as picture:
        assert (picture.size, picture.mode) == ((8, 8), "L")
        assert picture.getextrema() == (0, 255)


def test_boxes_of_drawn_shapes_are_exact() -> None:
    kinds, numbers = set(), set()
    differences = []
    for rgb, shapes in draw_shapes(60, seed=3):
        numbers.add(len(shapes))
        kinds |= {shape.kind for shape in shapes}
        assert all(0 <= s.xyxy[0] < s.xyxy[2] <= rgb.shape[1] for s in shapes)
        assert all(0 <= s.xyxy[1] < s.xyxy[3] <= rgb.shape[0] for s in shapes)
        if len(shapes) == 1:
            differences.append(np.abs(coloured_box(rgb, shapes[0]) - shapes[0].xyxy).max())
    assert kinds == set(SHAPES)
    assert {0, 1, 2, 3, 4, 5} <= numbers <= set(range(7))
    assert len(differences) > 5
    assert np.median(differences) <= 1  # in some, the background has a pixel of the same colour


def coloured_box(rgb: RgbArray, shape: Shape) -> NDArray[np.float64]:
    """The edges of what has the shape's colour, in its neighbourhood."""
    left, top, right, bottom = (round(edge) for edge in shape.xyxy)
    x, y = (left + right) // 2, (top + bottom) // 2
    colour = np.median(rgb[y - 2 : y + 3, x - 2 : x + 3].reshape(-1, 3), axis=0)
    x0, y0 = max(0, left - 5), max(0, top - 5)
    around = rgb[y0 : bottom + 5, x0 : right + 5].astype(float)
    rows, columns = np.nonzero(np.abs(around - colour).max(axis=2) < 30)
    edges = [columns.min() + x0, rows.min() + y0, columns.max() + 1 + x0, rows.max() + 1 + y0]
    return np.array(edges, np.float64)


def test_shapes_are_written_with_a_label_file(tmp_path: Path) -> None:
    write_shapes(tmp_path)
    samples = list(read_samples(tmp_path, task="detection"))
    assert sorted(s.split or "" for s in samples) == ["test"] * 150 + ["train"] * 600
    assert {box.label for s in samples for box in s.boxes or ()} == set(SHAPES)
    assert any(s.boxes == () for s in samples)
