import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image

from pixloop.config import DataConfig
from pixloop.data.box_rules import settle_boxes
from pixloop.data.check import Facts, Inspection
from pixloop.data.dataset import SPLITS, Dataset, DatasetInfo, Row
from pixloop.data.findings import KINDS, summary
from pixloop.data.index import Entry, FileState, Index
from pixloop.data.prepare import prepare
from pixloop.decoding import decode_image
from pixloop.errors import DataError
from pixloop.files import sha256_folder
from pixloop.records import Box

Put = Callable[..., Path]
XYWH = tuple[float, float, float, float]


class Room:
    """Pictures of 48×40 pixels with boxes in a COCO file, and what prepare makes of them."""

    def __init__(self, folder: Path, put: Put) -> None:
        self.source, self.output, self.work = (folder / n for n in ("source", "out", "work"))
        self.put = put
        self.images: list[dict[str, Any]] = []
        self.annotations: list[dict[str, Any]] = []
        self.unlabelled: list[str] = []

    def add(
        self,
        name: str,
        *boxes: tuple[Any, ...],
        content: bytes | int | None = None,
        size: tuple[int, int] | None = (48, 40),
    ) -> None:
        """Add a picture; a box is its class, its left, top, width, height, and perhaps crowd."""
        number = len(self.images)
        self.put(self.source / name, number if content is None else content)
        image: dict[str, Any] = {"id": number, "file_name": name}
        if size is not None:
            image |= {"width": size[0], "height": size[1]}
        self.images.append(image)
        for label, x, y, w, h, *crowd in boxes:
            self.annotations.append(
                {
                    "id": len(self.annotations),
                    "image_id": number,
                    "category_id": label,
                    "bbox": [x, y, w, h],
                    "iscrowd": int(bool(crowd)),
                }
            )

    def prepare(self, train: Path | None = None, **data: Any) -> DatasetInfo:
        labels = sorted({a["category_id"] for a in self.annotations} - {"no name"})
        coco = {
            "images": self.images,
            "annotations": self.annotations,
            "unlabelled": [{"file_name": name} for name in self.unlabelled],
            "categories": [{"id": label, "name": label} for label in labels],
        }
        self.source.mkdir(exist_ok=True)
        (self.source / "labels.json").write_text(json.dumps(coco))
        config = DataConfig(train="source", **data)
        return prepare(config, train or self.source, None, self.output, self.work, "detection")

    @property
    def report(self) -> dict[str, Any]:
        return json.loads((self.output / "data_report.json").read_text())

    @property
    def quarantine(self) -> dict[str, str]:
        lines = (self.output / "quarantine.jsonl").read_text().splitlines()
        return {e["path"]: e["reason"] for e in map(json.loads, lines)}

    @property
    def left_out(self) -> list[dict[str, Any]]:
        lines = (self.output / "quarantine_boxes.jsonl").read_text().splitlines()
        return list(map(json.loads, lines))

    def finding(self, kind: str) -> list[dict[str, str]]:
        return next((f["examples"] for f in self.report["findings"] if f["kind"] == kind), [])

    def kinds(self) -> set[str]:
        return {f["kind"] for f in self.report["findings"]}

    def rows(self) -> dict[str, tuple[str, Row]]:
        dataset = Dataset.open(self.output)
        return {row.path: (split, row) for split in SPLITS for row in dataset.split(split)}

    def boxes(self, name: str) -> list[tuple[Any, ...]]:
        """A picture's boxes in the data set: class, edges, and crowd where it is one."""
        classes = Dataset.open(self.output).info.classes
        objects = self.rows()[name][1].objects
        assert objects is not None
        return [
            (classes[label], *box.round(6).tolist(), *(["crowd"] if crowd else []))
            for label, box, crowd in zip(objects.labels, objects.boxes, objects.crowd, strict=True)
        ]


@pytest.fixture
def room(tmp_path: Path, put: Put) -> Room:
    """Sixteen good pictures: a cat in each, a dog in every second."""
    room = Room(tmp_path, put)
    for number in range(16):
        dog = [("dog", 30, 20, 10, 15)] * (number % 2)
        room.add(f"{number:02d}.png", ("cat", number, 2, 12.5, 10), *dog)
    return room


def test_good_boxes_become_a_data_set_without_findings(room: Room) -> None:
    info = room.prepare()
    assert info.task == "detection"
    assert info.classes == ("cat", "dog")
    assert sum(info.pictures.values()) == 16
    assert sum(c["cat"] for c in info.counts.values()) == 16
    assert sum(c["dog"] for c in info.counts.values()) == 8
    assert all(info.counts[split]["dog"] for split in SPLITS)
    assert room.kinds() <= {"moved_to_fill"}
    assert room.quarantine == {}
    assert room.left_out == []
    assert room.boxes("03.png") == [("cat", 3, 2, 15.5, 12), ("dog", 30, 20, 40, 35)]
    assert all(row.label == -1 for _, row in room.rows().values())
    lines = summary(info, room.report)
    assert lines[0].startswith("16 pictures with 24 boxes of 2 classes: ")


def test_one_class_is_enough(room: Room) -> None:
    info = room.prepare(classes=["cat"])
    assert info.classes == ("cat",)
    room.annotations.clear()
    with pytest.raises(DataError, match="no usable box"):
        room.prepare()


def test_bad_boxes_are_left_out_and_listed(room: Room) -> None:
    room.add(
        "bad.png",
        ("cat", 1, 1, 20, 20),
        ("cat", 10, 10, 0, 5),
        ("dog", 10, 10, -5, 5),
        ("dog", 60, 10, 5, 5),
        ("no name", 3, 3, 9, 9),
        ("cat", 1, 1, 20, 20),
        ("dog", 1, 1, 20, 20),
        ("dog", 40, 30, 20, 20),
        ("dog", 20, 30, 10, 10.5),
    )
    room.prepare()
    assert room.boxes("bad.png") == [
        ("cat", 1, 1, 21, 21),
        ("dog", 1, 1, 21, 21),
        ("dog", 40, 30, 48, 40),
        ("dog", 20, 30, 30, 40),
    ]
    said = {kind: [e["detail"] for e in room.finding(kind)] for kind in room.kinds()}
    said.pop("moved_to_fill", None)
    assert said == {
        "empty_box": ["box 2 'cat': 0 wide and 5 high"],
        "invalid_box": ["box 3 'dog': -5 wide and 5 high"],
        "outside_box": ["box 4 'dog': the picture is 48×40"],
        "unnamed_class": ["box 5: labels.json: annotation 28: the category 'no name' has no name."],
        "duplicate_box": ["box 6 'cat': the same as box 1"],
        "conflicting_boxes": ["box 7 'dog': box 1, 'cat', is in the same place"],
        "clipped_box": ["box 8 'dog': 12 px outside, the picture is 48×40"],
        "clipped_edge": ["box 9 'dog': 0.5 px outside, the picture is 48×40"],
    }
    assert said.keys() <= KINDS.keys()
    assert [(b["box"], b["reason"]) for b in room.left_out] == [
        (2, "empty_box"),
        (3, "invalid_box"),
        (4, "outside_box"),
        (5, "unnamed_class"),
        (6, "duplicate_box"),
    ]
    assert room.left_out[1]["xyxy"] == [10, 10, 5, 15]
    assert room.left_out[1]["source"] == "labels.json: image 16"
    assert any(
        line == "warning: 1 box without an area (left out): bad.png"
        for line in summary(Dataset.open(room.output).info, room.report)
    )


def test_pictures_without_boxes_are_kept_and_those_with_unknown_boxes_are_not(room: Room) -> None:
    room.add("empty.png")
    room.put(room.source / "unknown.png", 100)
    room.unlabelled.append("unknown.png")
    room.prepare()
    assert room.quarantine == {"unknown.png": "unlabelled"}
    assert room.boxes("empty.png") == []
    assert room.finding("no_objects") == [{"path": "empty.png", "detail": "no boxes"}]


def test_a_picture_whose_boxes_are_all_wrong_is_not_known_to_be_empty(room: Room) -> None:
    room.add("wrong.png", ("cat", 5, 5, 0, 0), ("cat", 90, 5, 5, 5))
    room.add("crowded.png", ("cat", 5, 5, 0, 0), ("cat", 5, 5, 30, 20, "crowd"))
    room.prepare()
    assert room.quarantine == {"wrong.png": "no_box_left"}
    detail = room.finding("no_box_left")[0]["detail"]
    assert "empty_box" in detail
    assert "outside_box" in detail
    assert room.boxes("crowded.png") == [("cat", 5, 5, 35, 25, "crowd")]
    assert len(room.left_out) == 3


def test_crowds_are_kept_and_not_counted(room: Room) -> None:
    room.add("crowd.png", ("cat", 0, 0, 40, 30, "crowd"), ("owl", 0, 0, 40, 30, "crowd"))
    info = room.prepare()
    assert sum(c["cat"] for c in info.counts.values()) == 16
    assert info.classes == ("cat", "dog")
    assert room.boxes("crowd.png") == [("cat", 0, 0, 40, 30, "crowd")]
    assert room.left_out[0]["reason"] == "box_class_not_in_train"
    assert room.left_out[0]["crowd"] is True


def test_listed_classes_are_the_classes(room: Room) -> None:
    room.add("odd.png", ("CAT", 1, 1, 9, 9), ("dgo", 20, 20, 9, 9), ("catt", 5, 5, 20, 20))
    room.add("others.png", ("lion", 1, 1, 9, 9))
    info = room.prepare(classes=["cat", "dog", "owl"])
    assert info.classes == ("cat", "dog")
    assert room.boxes("odd.png") == [("cat", 1, 1, 10, 10)]
    assert room.boxes("others.png") == []
    details = [e["detail"] for e in room.finding("unknown_class")]
    assert "box 3 'catt': data.classes lists no 'catt'; did you mean 'cat'?" in details
    assert "box 1 'lion': data.classes lists no 'lion'" in details
    assert room.finding("respelt_class") == [{"path": "CAT", "detail": "1 box counted as 'cat'"}]
    assert [e["path"] for e in room.finding("class_not_found")] == ["owl"]


def test_likely_misspellings_are_named_and_kept(room: Room) -> None:
    for number in range(20, 30):
        room.add(f"{number}.png", *[("Platelets", 5 * i, 5, 4, 4) for i in range(8)])
    room.add("slip.png", ("platlets", 5, 5, 9, 9), ("Dog", 20, 20, 9, 9))
    info = room.prepare()
    assert info.classes == ("Dog", "Platelets", "cat", "dog", "platlets")
    assert room.finding("similar_classes") == [
        {"path": "Dog", "detail": "1 box; looks like 'dog' (8)"},
        {"path": "platlets", "detail": "1 box; looks like 'Platelets' (80)"},
    ]


def lying(orientation: int, frame: str) -> tuple[bytes, XYWH, tuple[int, int]]:
    """A picture with a red rectangle, its box in a frame, and that frame's size."""
    pixels = np.random.default_rng(orientation).integers(0, 60, (40, 64, 3), np.uint8)
    pixels[8:20, 10:34] = (250, 10, 10)
    exif = Image.Exif()
    exif[0x0112] = orientation
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, "PNG", exif=exif)
    seen = pixels if frame == "stored" else decode_image(encoded.getvalue())
    ys, xs = np.nonzero(seen[:, :, 0] > 128)
    left, top = int(xs.min()), int(ys.min())
    box = (left, top, int(xs.max()) + 1 - left, int(ys.max()) + 1 - top)
    return encoded.getvalue(), box, (seen.shape[1], seen.shape[0])


@pytest.mark.parametrize("frame", ["stored", "upright"])
@pytest.mark.parametrize("told", ["by size", "by configuration", "by both"])
def test_boxes_of_lying_pictures_end_on_what_they_mark(room: Room, frame: str, told: str) -> None:
    # Without being told, 2, 3 and 4 look the same either way, and upright is taken.
    guessed = told == "by size" and frame == "stored"
    orientations = [1, 5, 6, 7, 8] if guessed else range(1, 9)
    for orientation in orientations:
        content, box, size = lying(orientation, frame)
        known = None if told == "by configuration" else size
        room.add(f"lying{orientation}.png", ("cat", *box), content=content, size=known)
    room.prepare(box_frame="auto" if told == "by size" else frame)
    for orientation in orientations:
        row = room.rows()[f"lying{orientation}.png"][1]
        assert row.objects is not None
        ys, xs = np.nonzero(decode_image(row.image)[:, :, 0] > 128)
        marked = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
        assert row.objects.boxes.tolist() == [marked]
    unclear = {e["path"] for e in room.finding("box_frame_unclear")}
    expected = {f"lying{o}.png" for o in (2, 3, 4)} if told == "by size" and not guessed else set()
    assert unclear == expected


def test_labels_of_another_size_are_scaled_or_taken_as_they_are(room: Room) -> None:
    room.add("half.png", ("cat", 2, 2, 10, 10), size=(24, 20))
    room.add("other.png", ("cat", 2, 2, 10, 10), size=(100, 20))
    room.add("none.png", ("cat", 2, 2, 10, 10), size=None)
    room.prepare()
    assert room.boxes("half.png") == [("cat", 4, 4, 24, 24)]
    assert room.boxes("other.png") == room.boxes("none.png") == [("cat", 2, 2, 12, 12)]
    assert room.finding("size_mismatch") == [
        {
            "path": "half.png",
            "detail": "labels say 24×20, the picture is 48×40; boxes were scaled",
        },
        {
            "path": "other.png",
            "detail": "labels say 100×20, the picture is 48×40;"
            " boxes were taken as pixels of the picture",
        },
    ]
    assert [e["path"] for e in room.finding("size_missing")] == ["none.png"]


def test_equal_pictures_with_equal_boxes_are_duplicates_and_others_contradict(room: Room) -> None:
    content = (room.source / "03.png").read_bytes()
    room.add("same.png", ("dog", 30, 20.2, 10, 15), ("cat", 3, 2, 12.5, 10), content=content)
    other = (room.source / "05.png").read_bytes()
    room.add("fewer.png", ("cat", 5, 2, 12.5, 10), content=other)
    room.prepare()
    assert room.quarantine == {
        "same.png": "duplicate",
        "05.png": "conflicting_labels",
        "fewer.png": "conflicting_labels",
    }
    assert room.finding("conflicting_labels")[0]["detail"] == "other boxes in 05.png and fewer.png"


def test_near_duplicates_with_other_things_on_them_are_a_warning(
    room: Room, paint: Any, encode: Any
) -> None:
    jpeg = encode(paint(3), "JPEG", quality=90)
    room.add("again.jpg", ("cat", 3, 2, 12.5, 10), content=jpeg)
    room.prepare()
    assert {e["path"] for e in room.finding("near_duplicate_labels")} == {"03.png", "again.jpg"}
    assert room.rows()["03.png"][0] == room.rows()["again.jpg"][0]


def test_a_class_without_a_training_picture_loses_its_boxes_only(room: Room) -> None:
    for number in range(16):
        room.images[number]["split"] = "test" if number >= 12 else "train"
    room.add("owl.png", ("owl", 1, 1, 9, 9), ("cat", 20, 20, 9, 9))
    room.images[-1]["split"] = "test"
    info = room.prepare()
    assert info.classes == ("cat", "dog")
    assert room.boxes("owl.png") == [("cat", 20, 20, 29, 29)]
    assert room.finding("box_class_not_in_train") == [
        {"path": "owl.png", "detail": "box 1 'owl': no training picture shows it"}
    ]


def test_small_classes_reach_every_split_and_take_none_from_others(room: Room) -> None:
    for number in range(20, 24):
        room.add(f"{number}.png", ("owl", 1, 1, 9, 9), ("fox", 20, 20, 9, 9))
    for number in range(24, 60):
        room.add(f"{number}.png", ("cat", 1, 1, 9, 9))
    info = room.prepare()
    assert all(info.counts[split][name] for split in SPLITS for name in info.classes)
    assert not {k for k in room.kinds() if k.startswith("class_not_in")}


def test_a_small_class_takes_no_split_from_another(room: Room) -> None:
    for number in range(20, 70):
        room.add(f"{number}.png", ("cat", 1, 1, 9, 9))
    room.prepare()
    members: dict[str, list[str]] = {split: [] for split in SPLITS}
    for name, (split, _) in sorted(room.rows().items(), key=lambda row: row[1][1].sha256):
        members[split].append(name)
    # One fox a split. Owls are in train, and twice in validation: first, by its hash, beside a fox.
    foxes = [members[split][0] for split in SPLITS]
    owls = [members["train"][1], *members["validation"][:2]]
    for label, names in (("fox", foxes), ("owl", owls)):
        for image in room.images:
            if image["file_name"] in names:
                box = {"category_id": label, "bbox": [20, 20, 9, 9], "iscrowd": 0}
                number = len(room.annotations)
                room.annotations.append({"id": number, "image_id": image["id"], **box})
    info = room.prepare()
    assert [info.counts[split]["fox"] for split in SPLITS] == [1, 1, 1, 1]
    assert {split: info.counts[split]["owl"] for split in SPLITS} == {
        "train": 1,
        "validation": 1,
        "calibration": 0,
        "test": 1,
    }


@pytest.mark.parametrize("pictures", [1, 2, 3])
def test_classes_that_only_come_together_are_trained(room: Room, pictures: int) -> None:
    for number in range(20, 20 + pictures):
        room.add(f"{number}.png", ("owl", 1, 1, 9, 9), ("fox", 20, 20, 9, 9))
    info = room.prepare()
    assert info.classes == ("cat", "dog", "fox", "owl")
    assert info.counts["train"]["owl"] >= 1
    assert info.counts["train"]["fox"] >= 1


def test_the_data_set_is_the_same_whatever_the_order(room: Room, tmp_path: Path, put: Put) -> None:
    info = room.prepare()
    whole = sha256_folder(room.output)
    again = Room(tmp_path / "again", put)
    again.source = room.source
    again.images, again.annotations = room.images[::-1], room.annotations
    assert again.prepare() == info
    # Where a label was read is by the picture's id, so all files are the same.
    assert sha256_folder(again.output) == whole


def test_preparing_again_inspects_nothing_and_reads_boxes_anew(room: Room) -> None:
    first = room.prepare()
    assert room.prepare() == first
    room.annotations[0]["bbox"][2] += 1
    assert room.prepare().sha256 != first.sha256


def test_strict_counts_findings_of_boxes(room: Room) -> None:
    room.prepare(strict=True)
    room.add("bad.png", ("cat", 1, 1, 20, 20), ("cat", 10, 10, 0, 5))
    with pytest.raises(DataError, match="1 box without an area"):
        room.prepare(strict=True)


def test_memory_does_not_grow_with_the_boxes(tmp_path: Path) -> None:
    """60,000 boxes as Python objects would be some 30 MB; half of that may stay."""
    index = Index.open(tmp_path / "index.sqlite", "any")
    boxes = tuple(Box("cat", (float(i), 1.0, i + 5.0, 9.0)) for i in range(60))
    facts = Facts(80, 40, "PNG", "RGB", 1, 0, b"", (0, 0, 0), (0, 0, 0))
    before = psutil.Process().memory_info().rss
    index.add_samples(
        Entry(f"{n}", f"/{n}", None, "train", "", boxes, (40, 20)) for n in range(1000)
    )
    index.record((FileState(f"/{n}", 1, 1), Inspection(f"{n:064}", facts)) for n in range(1000))
    settle_boxes(index, "auto")
    grown = psutil.Process().memory_info().rss - before
    (kept,) = index.db.execute("SELECT COUNT(*) FROM kept_boxes WHERE x2 - x1 > 5").fetchone()
    index.close()
    assert kept == 1000 * 38  # scaled by two, the others lie outside
    assert grown < 15_000_000


def test_real_blood_cells(room: Room, shared_data: Path) -> None:
    if not (shared_data / "bccd").is_dir():
        pytest.skip("no blood cells there")
    info = room.prepare(train=shared_data / "bccd")
    assert info.classes == ("Platelets", "RBC", "WBC")
    totals = {name: sum(c[name] for c in info.counts.values()) for name in info.classes}
    assert totals == {"Platelets": 361, "RBC": 4153, "WBC": 372}
    assert sum(info.pictures.values()) == 364
    assert info.pictures["test"] == 72
    assert [b["reason"] for b in room.left_out] == ["empty_box"] * 2
    assert room.quarantine == {}
    for split in SPLITS:
        for row in Dataset.open(room.output).split(split):
            assert row.objects is not None
            boxes = row.objects.boxes
            assert (boxes[:, :2] >= 0).all()
            assert (boxes[:, 2:] <= [row.width, row.height]).all()
            assert (boxes[:, 2:] - boxes[:, :2] >= 0.5).all()
