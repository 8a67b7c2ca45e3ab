import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pixloop.data.dataset import Dataset, DatasetWriter, Row
from pixloop.evaluation.slices.facts import MEASURED, PictureFacts
from pixloop.evaluation.slices.slices import cut_slices, describe

CLASSES = ("cat", "dog")


def write_dataset(folder: Path, pictures: int, sources: list[str]) -> Dataset:
    writer = DatasetWriter(folder, CLASSES)
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4)).save(buffer, "PNG")
    for i in range(pictures):
        row = Row(buffer.getvalue(), f"{i}.png", i % 2, 4, 4, f"{i:064d}")
        writer.add("test", row, sources[i])
    writer.finish()
    return Dataset.open(folder)


def facts(n: int, sources: list[str], **values: np.ndarray) -> PictureFacts:
    constant = {name: np.full(n, 0.5) for name in MEASURED}
    return PictureFacts({**constant, **values}, tuple(sources), None, "it is a test")


def test_classes_and_the_ends_of_facts_become_slices(tmp_path: Path) -> None:
    data = write_dataset(tmp_path, 80, [""] * 80)
    found = cut_slices(facts(80, [""] * 80, brightness=np.linspace(0, 1, 80)), data, 10)
    assert [each.name for each in found.slices] == [
        "cat", "dog", "darkest quarter", "brightest quarter",
    ]  # fmt: skip
    dark, bright = found.slices[2:]
    assert np.flatnonzero(dark.inside).tolist() == list(range(20))
    assert np.flatnonzero(bright.inside).tolist() == list(range(60, 80))
    assert dark.detail == "up to 0.25"
    assert (found.clusters, found.without_clusters) == (None, "it is a test")


def test_what_all_pictures_have_in_common_is_no_slice(tmp_path: Path) -> None:
    data = write_dataset(tmp_path, 80, [""] * 80)
    mostly_equal = np.r_[np.full(70, 0.5), np.linspace(0.6, 0.9, 10)]
    found = cut_slices(facts(80, [""] * 80, contrast=mostly_equal), data, 10)
    assert {each.kind for each in found.slices} == {"class"}


def test_a_slice_has_enough_pictures_inside_and_outside(tmp_path: Path) -> None:
    sources = ["near"] * 75 + ["far"] * 5
    data = write_dataset(tmp_path, 80, sources)
    few = cut_slices(facts(80, sources), data, 6)
    assert [each.name for each in few.slices] == ["cat", "dog"]
    both = cut_slices(facts(80, sources), data, 5)
    assert [each.name for each in both.slices] == ["cat", "dog", "far", "near"]


def test_a_source_that_is_a_class_is_the_class(tmp_path: Path) -> None:
    sources = ["train/cat", "train/dog"] * 40
    found = cut_slices(facts(80, sources), write_dataset(tmp_path, 80, sources), 10)
    assert [(each.kind, each.name) for each in found.slices] == [("class", "cat"), ("class", "dog")]


def test_pictures_with_names_of_their_own_are_no_sources(tmp_path: Path) -> None:
    sources = [f"site {i // 2}" for i in range(80)]
    found = cut_slices(facts(80, sources), write_dataset(tmp_path, 80, sources), 1)
    assert {each.kind for each in found.slices} == {"class"}


def test_a_group_is_told_by_what_it_has_most_of(tmp_path: Path) -> None:
    data = write_dataset(tmp_path, 80, [""] * 80)
    found = cut_slices(facts(80, [""] * 80, brightness=np.linspace(0, 1, 80)), data, 10)
    dark_cats = np.arange(80) < 16
    dark_cats[1:8:2] = False
    assert describe(dark_cats, found.slices) == "67 % cat, 100 % in the darkest quarter"
    everywhere = np.arange(80) % 4 == 0
    assert describe(everywhere, found.slices) == "100 % cat"


@pytest.mark.parametrize("missing", [0, 30])
def test_pictures_without_a_value_are_at_no_end(tmp_path: Path, missing: int) -> None:
    data = write_dataset(tmp_path, 80, [""] * 80)
    values = np.linspace(0, 1, 80)
    values[:missing] = np.nan
    found = cut_slices(facts(80, [""] * 80, brightness=values), data, 5)
    for each in found.slices[2:]:
        assert not each.inside[:missing].any()
        assert each.pictures == pytest.approx((80 - missing) / 4, abs=1)
