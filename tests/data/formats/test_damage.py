"""Whatever is wrong with a label file: it is read, or it is an error of pixloop's that names it."""

import contextlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from pixloop.data.formats import FORMATS, WritableFormat, voc, write_samples, yolo
from pixloop.errors import DataError
from pixloop.records import Box, Sample

BOX_FORMATS = [f for f in FORMATS if isinstance(f, WritableFormat)]
STRUCTURED = (".json", ".manifest", ".yaml")
anything = st.recursive(
    st.sampled_from([None, True, -1, 0, 1e300, "", "x", "9" * 300, "\0", "../..", "\ud800"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ax"), inner),
    max_leaves=3,
)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small data set in each format, in folders of their names."""
    folder = tmp_path_factory.mktemp("written")
    boxes = (Box("cat", (1, 2, 3, 4)), Box("dog", (1, 2, 3, 4), crowd=True))
    samples = []
    for i, (split, found) in enumerate(
        [("train", boxes), ("test", ()), (None, boxes), (None, None)]
    ):
        Image.new("RGB", (20, 10)).save(folder / f"{i}.jpg")
        samples.append(Sample(folder / f"{i}.jpg", None, split, "", found, (40, 20)))
    for module in BOX_FORMATS:
        write_samples(samples, folder / module.NAME, module.NAME)
    return folder


def replace_one(value: Any, draw: st.DrawFn) -> Any:
    """The value with something in it, or all of it, replaced by anything."""
    if isinstance(value, dict | list) and value and draw(st.integers(0, 9)):
        keys = list(value) if isinstance(value, dict) else range(len(value))
        key = draw(st.sampled_from(keys))
        copy: Any = value.copy()
        if draw(st.integers(0, 9)) == 0:
            del copy[key]
        else:
            copy[key] = replace_one(value[key], draw)
        return copy
    return draw(anything)


def damage(file: Path, draw: st.DrawFn) -> None:
    content = file.read_bytes()
    if file.suffix in STRUCTURED and draw(st.booleans()):
        lines = content.decode().splitlines() if file.suffix == ".manifest" else [content.decode()]
        parsed = [yaml.safe_load(x) if file.suffix == ".yaml" else json.loads(x) for x in lines]
        index = draw(st.integers(0, len(parsed) - 1))
        parsed[index] = replace_one(parsed[index], draw)
        dump = yaml.safe_dump if file.suffix == ".yaml" else json.dumps
        damaged = "\n".join(map(dump, parsed)).encode("utf-8", "surrogatepass")
    else:
        start = draw(st.integers(0, len(content)))
        end = draw(st.integers(start, min(len(content), start + 20)))
        noise = draw(st.sampled_from([b"", b"\xff", b"\0", b"<", b'"', b"9", b"\n", b"{", b": "]))
        damaged = content[:start] + noise + content[end:]
    file.unlink()  # pictures are hard links
    file.write_bytes(damaged)


@pytest.mark.parametrize("module", BOX_FORMATS, ids=lambda module: module.NAME)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_damaged_labels(module, data: st.DataObject, written: Path, tmp_path_factory) -> None:
    folder = tmp_path_factory.mktemp("damaged") / "labels"
    shutil.copytree(written / module.NAME, folder)
    labels = sorted(f for f in folder.rglob("*") if f.is_file() and f.suffix != ".jpg")
    file = data.draw(st.sampled_from(labels))
    damage(file, data.draw)
    with contextlib.suppress(DataError):
        if module.matches(folder):
            list(module.read(folder))


@pytest.mark.parametrize(
    ("module", "labels"),
    [(voc, "Annotations/*.xml"), (yolo, "labels/*/*.txt")],
    ids=["voc", "yolo"],
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_a_damaged_label_file_stops_nothing_and_loses_no_picture(
    module, labels: str, data: st.DataObject, written: Path, tmp_path_factory
) -> None:
    folder = tmp_path_factory.mktemp("damaged") / "labels"
    shutil.copytree(written / module.NAME, folder)
    before = {sample.path: sample.boxes for sample in module.read(folder)}
    file = data.draw(st.sampled_from(sorted(folder.glob(labels))))
    damage(file, data.draw)
    after = {sample.path: sample for sample in module.read(folder)}
    assert after.keys() == before.keys()
    for path, boxes in before.items():
        if boxes and path.stem != file.stem:
            assert after[path].boxes == boxes
