"""What any format with boxes writes, any other can take over, and nothing is lost."""

import itertools
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from pixloop.data.formats import (
    coco,
    label_studio,
    manifest,
    read_samples,
    voc,
    write_samples,
    yolo,
)
from pixloop.data.formats.boxes import unreadable_box, unreadable_sample
from pixloop.errors import DataError
from pixloop.records import Box, Sample

FORMATS = (coco, voc, yolo, label_studio, manifest)
TOLERANCE_PX = 1e-6


@dataclass(frozen=True)
class Picture:
    path: Path
    stored: tuple[int, int]
    upright: tuple[int, int]


def draw(path: Path, width: int, height: int, orientation: int = 1, kind: str = "JPEG") -> Picture:
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (width, height), "teal").save(path, kind, exif=exif)
    return Picture(path, (width, height), (height, width) if orientation > 4 else (width, height))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Picture]:
    folder = tmp_path_factory.mktemp("pictures")
    return [
        draw(folder / "a/1.jpg", 40, 30),
        draw(folder / "b/1.jpg", 17, 53),
        draw(folder / "a/1.png", 30, 30, kind="PNG"),
        draw(folder / "Zelle, „groß“ 100%?.jpg", 64, 48),
        draw(folder / "images/lying.jpg", 48, 20, orientation=6),
        draw(folder / "png.jpg", 21, 21, kind="PNG"),
    ]


characters = st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff")
labels = st.sampled_from(
    [
        "cat",
        "red blood cell",
        "no",
        "1",
        "null",
        "Größe",
        "it's",
        'a "b"',
        "a, b: {c} #d",
        "<&>",
        "",
    ]
) | st.text(characters, max_size=8).map(str.strip)
edges = st.one_of(
    st.integers(-20, 600),
    st.floats(-20, 600, allow_nan=False, allow_subnormal=False),
)
xyxys = st.tuples(edges, edges, edges, edges)
found = st.none() | st.lists(st.builds(Box, labels, xyxys, st.booleans()), max_size=3).map(tuple)


@st.composite
def described(draw: st.DrawFn) -> list[tuple[int, str | None, tuple[Box, ...] | None, str]]:
    """Which of the pictures there are, and what is said of each."""
    chosen = draw(st.lists(st.integers(0, 5), min_size=1, max_size=5, unique=True))
    splits = st.sampled_from([None, "train", "test"])
    frames = st.sampled_from(["upright", "stored", "foreign", "shares", "unknown"])
    return [(i, draw(splits), draw(found), draw(frames)) for i in chosen]


def make(pictures: list[Picture], descriptions: list) -> list[Sample]:  # type: ignore[type-arg]
    samples = []
    for i, split, boxes, frame in descriptions:
        picture = pictures[i]
        size = {
            "upright": picture.upright,
            "stored": picture.stored,
            "foreign": (640.0, 480.5),
            "shares": (1, 1),
            "unknown": None,
        }[frame]
        if frame == "shares" and boxes is not None:
            boxes = tuple(
                Box(b.label, tuple(value / 640 for value in b.xyxy), b.crowd) for b in boxes
            )
        samples.append(Sample(picture.path, None, split, "", boxes, size))
    return samples


def identity(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_dev, stat.st_ino


def assert_same(samples: Iterable[Sample], expected: list[Sample], pictures: list[Picture]) -> None:
    upright = {identity(p.path): p.upright for p in pictures}
    read = {identity(s.path): s for s in samples}
    assert read.keys() == {identity(s.path) for s in expected}
    for sample in expected:
        key = identity(sample.path)
        got = read[key]
        assert (got.label, got.split) == (None, sample.split)
        if sample.boxes is None:
            assert got.boxes is None
            continue
        assert got.boxes is not None
        wanted, seen = in_frame(sample, upright[key]), in_frame(got, upright[key])
        assert seen[0] == wanted[0]
        assert len(seen[1]) == len(wanted[1])
        for (*a, xyxy), (*b, other) in zip(seen[1], wanted[1], strict=True):
            assert a == b
            assert xyxy == pytest.approx(other, abs=TOLERANCE_PX, rel=0)


def in_frame(
    sample: Sample, upright: tuple[int, int]
) -> tuple[tuple[float, float], list[tuple[str, bool, tuple[float, ...]]]]:
    """The size and the boxes in pixels, in one order."""
    assert sample.boxes is not None
    size = upright if sample.size in (None, (1, 1)) else sample.size
    width, height = upright if sample.size == (1, 1) else (1, 1)
    boxes = [
        (b.label, b.crowd, tuple(v * (height if i % 2 else width) for i, v in enumerate(b.xyxy)))
        for b in sample.boxes
    ]
    return size, sorted(boxes, key=lambda b: (b[0], b[1], [round(v, 3) for v in b[2]]))


@pytest.mark.parametrize(
    ("first", "second"), itertools.product(FORMATS, FORMATS), ids=lambda module: module.NAME
)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(descriptions=described())
def test_nothing_is_lost_on_the_way_through_two_formats(
    first, second, descriptions, pictures: list[Picture], tmp_path_factory: pytest.TempPathFactory
) -> None:
    samples = make(pictures, descriptions)
    folder = tmp_path_factory.mktemp("trip")
    write_samples(iter(samples), folder / "first", first.NAME)
    assert_same(read_samples(folder / "first", task="detection"), samples, pictures)
    write_samples(
        read_samples(folder / "first", first.NAME, "detection"), folder / "second", second.NAME
    )
    assert_same(second.read(folder / "second"), samples, pictures)


@pytest.mark.parametrize("module", FORMATS, ids=lambda module: module.NAME)
def test_a_folder_with_labels_is_not_written_into(module, pictures, tmp_path: Path) -> None:
    samples = [Sample(pictures[0].path, None, boxes=(Box("cat", (1, 2, 3, 4)),), size=(40, 30))]
    write_samples(samples, tmp_path, module.NAME)
    with pytest.raises(DataError, match=f"holds labels in the format {module.NAME} already"):
        write_samples(samples, tmp_path, module.NAME)


@pytest.mark.parametrize("module", FORMATS, ids=lambda module: module.NAME)
def test_a_picture_that_is_gone_still_has_its_boxes(module, tmp_path: Path) -> None:
    lost = Sample(tmp_path / "gone.jpg", None, boxes=(Box("cat", (1, 2, 3, 4)),), size=(40, 30))
    if module in (voc, yolo):  # which lay pictures into folders of their own
        with pytest.raises(DataError, match=r"gone\.jpg cannot be laid"):
            write_samples([lost], tmp_path / "out", module.NAME)
        return
    write_samples([lost], tmp_path / "out", module.NAME)
    (sample,) = module.read(tmp_path / "out")
    assert [b.xyxy for b in sample.boxes] == [pytest.approx((1, 2, 3, 4))]
    assert (sample.path.name, sample.size) == ("gone.jpg", (40, 30))


@pytest.mark.parametrize("module", FORMATS, ids=lambda module: module.NAME)
def test_pictures_of_the_same_name_stay_apart_and_are_not_copied(
    module, pictures, tmp_path
) -> None:
    samples = [Sample(p.path, None, boxes=(), size=p.upright) for p in pictures[:3]]
    write_samples(samples, tmp_path, module.NAME)
    read = [sample.path for sample in module.read(tmp_path)]
    assert {identity(path) for path in read} == {identity(s.path) for s in samples}
    assert len({os.path.realpath(path) for path in read}) == 3


def test_what_cannot_be_written_is_refused(pictures: list[Picture], tmp_path: Path) -> None:
    path = pictures[0].path
    with pytest.raises(
        DataError, match="cannot be written in the format 'csv'; there are manifest"
    ):
        write_samples([], tmp_path, "csv")
    with pytest.raises(DataError, match="has the class 'cat'"):
        write_samples([Sample(path, "cat")], tmp_path, "coco")
    with pytest.raises(DataError, match="split 'dev' is not train or test"):
        write_samples([Sample(path, None, "dev")], tmp_path, "coco")
    bell = Sample(path, None, boxes=(Box("a\a", (0, 0, 1, 1)),), size=(40, 30))
    with pytest.raises(DataError, match="XML cannot hold the class"):
        write_samples([bell], tmp_path / "voc", "voc")
    broken = Sample(path, None, boxes=(unreadable_box(DataError("1.txt:2: got 4 words.")),))
    with pytest.raises(DataError, match=r"1\.txt:2: got 4 words\. What cannot be read"):
        write_samples([broken], tmp_path / "coco", "coco")
    unknown = unreadable_sample(path, "1.xml", DataError("1.xml is not valid XML."))
    with pytest.raises(DataError, match=r"1\.xml is not valid XML\. What cannot be read"):
        write_samples([unknown], tmp_path / "coco", "coco")
    surrogate = Sample(path, None, boxes=(Box("\ud800", (0, 0, 1, 1)),), size=(40, 30))
    with pytest.raises(DataError, match="no Unicode text"):
        write_samples([surrogate], tmp_path / "coco", "coco")
