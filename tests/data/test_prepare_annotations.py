import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from pixloop.bundle import Task
from pixloop.config import DataConfig
from pixloop.config_loop import AnnotationConfig
from pixloop.data.annotation_lineage import Annotated
from pixloop.data.annotations import AnnotatedBox, Annotation, AnnotationStore
from pixloop.data.dataset import SPLITS, Dataset, DatasetInfo
from pixloop.data.prepare import prepare
from pixloop.errors import DataError

Put = Callable[..., Path]


class Room:
    """Class folders, annotations, and what prepare makes of them."""

    def __init__(self, folder: Path) -> None:
        self.source, self.output, self.work = (folder / n for n in ("source", "out", "work"))
        self.store = AnnotationStore(folder / "annotations")

    def say(self, picture: bytes, label: str | None, *, keep: bool = True, **more: Any) -> str:
        sha256 = hashlib.sha256(picture).hexdigest()
        id_ = more.pop("id", f"a-{len(self.store.read())}")
        at = more.pop("at", f"2026-01-01T00:00:{len(self.store.read()):02}")
        said = Annotation(id=id_, sha256=sha256, label=label, at=at, **more)
        self.store.add(said, picture if keep else None)
        return sha256

    def prepare(
        self,
        task: Task = "classification",
        test: Path | None = None,
        with_annotations: bool = True,
        rule: AnnotationConfig | None = None,
        **data: Any,
    ) -> DatasetInfo:
        asked = Annotated(self.store.folder, rule or AnnotationConfig())
        config = DataConfig(train="source", **data)
        return prepare(
            config,
            self.source,
            test,
            self.output,
            self.work,
            task,
            annotations=asked if with_annotations else None,
        )

    @property
    def rows(self) -> dict[str, tuple[str, str, str]]:
        """SHA-256 → split, class, source."""
        data = Dataset.open(self.output)
        return {
            row.sha256: (name, data.info.classes[row.label], source)
            for name in SPLITS
            for row, source in zip(data.split(name), data.split(name).sources, strict=True)
        }

    @property
    def findings(self) -> set[str]:
        return {
            f["kind"]
            for f in json.loads((self.output / "data_report.json").read_text())["findings"]
        }


@pytest.fixture
def room(tmp_path: Path, put: Put) -> Room:
    made = Room(tmp_path)
    for i in range(24):
        put(made.source / ("cat" if i % 2 else "dog") / f"{i}.png", i)
    return made


def picture(encode: Any, paint: Any, seed: int) -> bytes:
    return encode(paint(seed))


def test_annotated_pictures_come_into_the_data_set_and_its_lineage_names_them(
    room: Room, encode: Any, paint: Any
) -> None:
    room.prepare(with_annotations=False)
    old = room.rows
    new = [room.say(picture(encode, paint, 100 + i), "cat", annotator="ann") for i in range(3)]
    info = room.prepare()
    assert {sha: row for sha, row in room.rows.items() if sha in old} == old
    assert [room.rows[sha] for sha in new] == [
        ("train", "cat", f"annotation:a-{i}") for i in range(3)
    ]
    lines = (room.output / "annotations.jsonl").read_text().splitlines()
    assert {json.loads(line)["id"] for line in lines} == {"a-0", "a-1", "a-2"}
    assert json.loads(lines[0]).keys() == {"id", "sha256", "annotator", "at", "drawn", "split"}
    assert info.annotations is not None
    assert (info.annotations.count, info.annotations.pictures) == (3, 3)
    room.prepare(with_annotations=False)
    assert not (room.output / "annotations.jsonl").exists()


def test_an_annotation_corrects_a_label_and_its_split_stays(room: Room) -> None:
    room.prepare(with_annotations=False)
    old = room.rows
    wrong = {}
    for file in sorted(room.source.glob("dog/*"))[:6]:
        # Half with the picture kept, half with the data set's own alone.
        wrong[room.say(file.read_bytes(), "cat", keep=len(wrong) % 2 == 0)] = file
    room.prepare()
    assert room.rows.keys() == old.keys()
    for sha, (split, label, _) in room.rows.items():
        assert split == old[sha][0]
        assert label == ("cat" if sha in wrong else old[sha][1])
    assert "relabelled" in room.findings


def test_an_annotation_settles_a_contradiction(room: Room, put: Put) -> None:
    content = (room.source / "dog" / "0.png").read_bytes()
    put(room.source / "cat" / "same.png", content)
    sha = hashlib.sha256(content).hexdigest()
    room.prepare()
    assert sha not in room.rows
    room.say(content, "dog")
    room.prepare()
    assert room.rows[sha][:2] == ("train", "dog")


def test_random_pictures_judge_and_chosen_ones_teach(room: Room, encode: Any, paint: Any) -> None:
    random = [room.say(picture(encode, paint, 200 + i), "cat", drawn="random") for i in range(40)]
    chosen = [room.say(picture(encode, paint, 300 + i), "dog") for i in range(10)]
    room.prepare()
    assert {room.rows[sha][0] for sha in chosen} == {"train"}
    splits = [room.rows[sha][0] for sha in random]
    assert set(splits) == {"test", "validation", "calibration"}
    assert 10 <= splits.count("test") <= 30


def test_what_was_drawn_at_random_judges_also_beside_test_pictures_of_the_source(
    room: Room, put: Put, encode: Any, paint: Any, tmp_path: Path
) -> None:
    for i in range(4):
        put(tmp_path / "test" / ("cat" if i % 2 else "dog") / f"{i}.png", 50 + i)
    random = [room.say(picture(encode, paint, 200 + i), "cat", drawn="random") for i in range(20)]
    room.prepare(test=tmp_path / "test")
    assert {room.rows[sha][0] for sha in random} == {"test", "validation", "calibration"}


def test_a_chosen_picture_that_looks_like_a_held_out_one_does_not_teach(
    room: Room, encode: Any, paint: Any
) -> None:
    room.prepare(with_annotations=False)
    old = room.rows
    for i in range(24):
        # The same picture encoded again.
        room.say(encode(paint(i), "JPEG", quality=90), "cat" if i % 2 else "dog")
    room.prepare()
    held_out = {hashlib.sha256(f.read_bytes()).hexdigest() for f in room.source.rglob("*.png")}
    assert held_out == old.keys()
    new = [row for sha, row in room.rows.items() if sha not in old]
    assert {split for split, *_ in new} == {"train"}
    assert len(new) == sum(split == "train" for split, *_ in old.values())
    assert "like_held_out" in room.findings


def test_a_random_picture_that_looks_like_a_training_one_does_not_judge(
    room: Room, encode: Any, paint: Any
) -> None:
    room.prepare(with_annotations=False)
    old = room.rows
    by_look = {}
    for i in range(24):
        sha = room.say(encode(paint(i), "JPEG", quality=90), "cat", drawn="random")
        source = next(room.source.rglob(f"{i}.png"))
        by_look[sha] = old[hashlib.sha256(source.read_bytes()).hexdigest()][0]
    room.prepare()
    assert {sha: room.rows[sha][0] for sha in by_look} == by_look


def test_unresolved_pictures_are_left_out_and_said_to_be(
    room: Room, encode: Any, paint: Any
) -> None:
    content = picture(encode, paint, 400)
    sha = room.say(content, "cat", annotator="a")
    room.say(content, "dog", annotator="b")
    room.prepare(rule=AnnotationConfig(annotators=2))
    assert sha not in room.rows
    lines = (room.output / "quarantine.jsonl").read_text().splitlines()
    reasons = {json.loads(line)["reason"] for line in lines}
    assert reasons == {"unresolved_annotation"}


def test_a_class_that_is_not_listed_is_left_out(room: Room, encode: Any, paint: Any) -> None:
    named = ((500, "cow"), (501, "CAT"))
    cow, cat = (room.say(picture(encode, paint, seed), name) for seed, name in named)
    assert "cow" in room.prepare().classes
    assert room.prepare(classes=["cat", "dog"]).classes == ("cat", "dog")
    assert cow not in room.rows
    assert room.rows[cat][1] == "cat"


def test_an_unlisted_class_does_not_cost_a_picture_its_label(room: Room) -> None:
    sha = room.say((room.source / "dog" / "0.png").read_bytes(), "cow")
    room.prepare(classes=["cat", "dog"])
    assert room.rows[sha][1] == "dog"


def test_a_damaged_or_missing_picture_stops_nothing(room: Room, encode: Any, paint: Any) -> None:
    damaged, missing = (room.say(picture(encode, paint, s), "cat") for s in (600, 601))
    (room.store.folder / "pictures" / damaged).write_bytes(encode(paint(602)))
    (room.store.folder / "pictures" / missing).unlink()
    room.prepare()
    assert not {damaged, missing} & room.rows.keys()
    assert {"other_picture", "missing_file"} <= room.findings


@pytest.mark.slow
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_annotations_never_move_what_was_there(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory, put: Put, encode: Any, paint: Any
) -> None:
    """Small classes that fill splits, duplicates, relabellings: the earlier splits stay."""
    room = Room(tmp_path_factory.mktemp("room"))
    seeds = data.draw(st.lists(st.integers(0, 40), min_size=6, max_size=20, unique=True))
    for i, seed in enumerate(seeds):
        label = ("cat", "dog", data.draw(st.sampled_from(["cat", "dog", "cow"])))[min(i, 2)]
        put(room.source / label / f"{seed}.png", seed)
    room.prepare(with_annotations=False)
    old = {sha: split for sha, (split, *_) in room.rows.items()}
    for _ in range(3):
        for _ in range(data.draw(st.integers(1, 5))):
            seed = data.draw(st.integers(0, 60))
            options = data.draw(
                st.sampled_from([("PNG", {}), ("JPEG", {"quality": 90}), ("JPEG", {"quality": 70})])
            )
            room.say(
                encode(paint(seed), options[0], **options[1]),
                data.draw(st.sampled_from(["cat", "dog", "cow", "hen"])),
                drawn=data.draw(st.sampled_from(["random", "chosen"])),
                annotator="ann",
            )
        try:
            room.prepare()
        except DataError:  # relabelled until one class is left
            return
        now = {sha: split for sha, (split, *_) in room.rows.items()}
        kept = old.keys() & now.keys()
        assert {sha: now[sha] for sha in kept} == {sha: old[sha] for sha in kept}
        old |= now


# ---- Detection


def test_boxes_of_annotations_are_of_the_upright_picture(
    tmp_path: Path, put: Put, paint: Any, encode: Any
) -> None:
    room = Room(tmp_path)
    images = [{"id": i, "file_name": f"{i}.png", "width": 48, "height": 40} for i in range(8)]
    boxes = [{"id": i, "image_id": i, "category_id": 1, "bbox": [4, 4, 20, 20]} for i in range(8)]
    for i in range(8):
        put(room.source / f"{i}.png", i)
    labels = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "RBC"}]}
    (room.source / "labels.json").write_text(json.dumps(labels))
    exif = Image.Exif()
    exif[0x0112] = 6  # shown, it is 40 wide and 48 high
    turned = encode(paint(70), "JPEG", exif=exif)
    box = AnnotatedBox(label="RBC", xyxy=(2, 3, 30, 47))
    sha = room.say(turned, None, boxes=(box,))
    corrected = room.say((room.source / "0.png").read_bytes(), None, boxes=(), keep=False)
    for frame in ("auto", "stored"):
        room.prepare("detection", box_frame=frame)
        data = Dataset.open(room.output)
        rows = {row.sha256: row for name in SPLITS for row in data.split(name)}
        assert rows[sha].objects is not None
        assert rows[sha].objects.boxes.tolist() == [[2, 3, 30, 47]]
        assert rows[corrected].objects is not None
        assert len(rows[corrected].objects.boxes) == 0
