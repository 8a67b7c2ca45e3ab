from collections import Counter
from pathlib import Path

import pytest

from pixloop.data.formats import read_samples, voc
from pixloop.records import Box, Finding, Sample

OBJECT = (
    "<object><name> cat </name><difficult>{difficult}</difficult><bndbox><xmin>{0}</xmin>"
    "<ymin>{1}</ymin><xmax>{2}</xmax><ymax>{3}</ymax></bndbox></object>"
)


def xml(*objects: str, filename: str = "", size: tuple[int, int] | None = (48, 40)) -> str:
    frame = f"<size><width>{size[0]}</width><height>{size[1]}</height></size>" if size else ""
    return f"<annotation><filename>{filename}</filename>{frame}{''.join(objects)}</annotation>"


CAT = OBJECT.format(1, 2, 11, 22.5, difficult=0)


def put(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


def read(root: Path) -> list[Sample]:
    return list(read_samples(root, task="detection"))


def splits(root: Path) -> set[tuple[str | None, str, bool]]:
    return {(s.split, s.path.relative_to(root).as_posix(), s.boxes is not None) for s in read(root)}


def test_boxes_are_passed_on_as_they_are(tmp_path: Path, put_picture) -> None:
    for name in ("1", "2", "3"):
        put_picture(tmp_path / f"{name}.jpg")
    odd = OBJECT.format(9, 9, 9, -3, difficult=1)
    put(tmp_path / "1.xml", xml(CAT, odd, CAT))
    put(tmp_path / "2.xml", xml(size=(0, 0)))
    put(tmp_path / "3.xml", xml(CAT.replace("<name> cat </name>", ""), size=None))
    one, two, three = sorted(read(tmp_path), key=lambda s: s.path)
    assert one.boxes == (
        Box("cat", (1, 2, 11, 22.5)),
        Box("cat", (9, 9, 9, -3), crowd=True),
        Box("cat", (1, 2, 11, 22.5)),
    )
    assert (one.size, one.source, one.label) == ((48, 40), "1.xml", None)
    assert (two.boxes, two.size) == ((), None)
    assert three.boxes is not None
    assert (three.boxes[0].label, three.size) == ("", None)
    assert three.boxes[0].findings == (Finding("unnamed_class", "3.xml: object 1 has no name."),)


def test_the_lists_name_the_splits(tmp_path: Path, put_picture) -> None:
    for name in ("a", "b", "c", "d"):
        put_picture(tmp_path / "JPEGImages" / f"{name}.jpg")
    for name in ("a", "b", "c"):
        put(tmp_path / "Annotations" / f"{name}.xml", xml(CAT))
    lists = tmp_path / "ImageSets/Main"
    put(lists / "train.txt", "a\n")
    put(lists / "val.txt", "b\r\n\r\n")
    put(lists / "trainval.txt", "a\nb\nd\n")
    put(lists / "cat_train.txt", "a  1\n")
    assert splits(tmp_path) == {
        ("train", "JPEGImages/a.jpg", True),
        ("test", "JPEGImages/b.jpg", True),
        ("train", "JPEGImages/d.jpg", False),
    }
    put(lists / "test.txt", "c\ngone\n")
    assert splits(tmp_path) == {
        ("train", "JPEGImages/a.jpg", True),
        ("train", "JPEGImages/b.jpg", True),
        ("test", "JPEGImages/c.jpg", True),
        ("train", "JPEGImages/d.jpg", False),
        ("test", "JPEGImages/gone.jpg", False),
    }


@pytest.mark.parametrize(
    ("picture", "label"),
    [
        ("{0}/images/1.png", "{0}/annotations/1.xml"),
        ("{0}/1.png", "{0}/1.xml"),
        ("images/{0}/1.png", "annotations/{0}/1.xml"),
        ("VOC/{0}/JPEGImages/1.png", "VOC/{0}/Annotations/1.xml"),
    ],
)
def test_split_folders(tmp_path: Path, put_picture, picture: str, label: str) -> None:
    for split in ("train", "valid"):
        put_picture(tmp_path / picture.format(split))
        put(tmp_path / label.format(split), xml(CAT, filename="1.jpg"))
    assert splits(tmp_path) == {
        ("train", picture.format("train"), True),
        ("test", picture.format("valid"), True),
    }


def test_pictures_without_an_xml_are_not_labelled(tmp_path: Path, put_picture) -> None:
    put_picture(tmp_path / "images/1.jpg")
    put_picture(tmp_path / "images/2.jpg")
    put(tmp_path / "annotations/1.xml", xml())
    assert splits(tmp_path) == {(None, "images/1.jpg", True), (None, "images/2.jpg", False)}


def test_two_years_beside_each_other(tmp_path: Path, put_picture) -> None:
    for year in ("VOC2007", "VOC2012"):
        put_picture(tmp_path / "VOCdevkit" / year / "JPEGImages/1.jpg")
        put(tmp_path / "VOCdevkit" / year / "Annotations/1.xml", xml(CAT))
    assert {path for _, path, _ in splits(tmp_path)} == {
        "VOCdevkit/VOC2007/JPEGImages/1.jpg",
        "VOCdevkit/VOC2012/JPEGImages/1.jpg",
    }


def test_the_picture_is_found_though_its_name_is_wrong(tmp_path: Path, put_picture) -> None:
    for name in ("1.png", "2.jpg", "2.png", "4 b.jpg"):
        put_picture(tmp_path / "images" / name)
    put(tmp_path / "annotations/1.xml", xml(filename="C:\\other\\2.jpg"))
    put(tmp_path / "annotations/2.xml", xml(filename="/elsewhere/2.png"))
    put(tmp_path / "annotations/3.xml", xml(filename="4 b.jpg"))
    put(tmp_path / "annotations/5.xml", xml())
    found = {Path(s.source).stem: s.path.name for s in read(tmp_path) if s.boxes is not None}
    assert found == {"1": "1.png", "2": "2.png", "3": "4 b.jpg", "5": "5.jpg"}


@pytest.mark.parametrize(
    ("element", "message"),
    [
        ("<object><name>a</name></object>", " has no bndbox; expected one with xmin, ymin, xmax"),
        (CAT.replace("11", "wide"), ", xmax: expected a number, got 'wide'"),
        (CAT.replace("11", "nan"), ", xmax: expected a number, got 'nan'"),
        (CAT.replace("<xmax>11</xmax>", ""), ", xmax: expected a number, got None"),
    ],
)
def test_an_object_that_cannot_be_read_is_named_and_others_stay(
    tmp_path: Path, put_picture, said, element: str, message: str
) -> None:
    put_picture(tmp_path / "JPEGImages/1.jpg")
    put(tmp_path / "Annotations/1.xml", xml(CAT, element, CAT))
    (sample,) = read(tmp_path)
    ((kind, words),) = said([sample])
    assert kind == "unreadable_box"
    assert words.startswith(f"Annotations/1.xml: object 2{message}")
    cat = Box("cat", (1, 2, 11, 22.5))
    assert sample.boxes is not None
    assert (sample.boxes[0], sample.boxes[2]) == (cat, cat)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (xml(CAT)[:-3], "is not valid XML: "),
        ("<?xml version='1.0' encoding='xx'?>" + xml(CAT), ""),
        ("<html/>", "is not Pascal VOC: expected <annotation>, got <html>."),
        (
            '<!DOCTYPE a [<!ENTITY b "cat"><!ENTITY c "&b;&b;&b;">]><annotation>&c;</annotation>',
            "declares XML entities",
        ),
        (
            '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><annotation>&b;</annotation>',
            "declares XML entities",
        ),
    ],
)
def test_an_xml_that_cannot_be_read_is_named_and_others_are_read(
    tmp_path: Path, put_picture, said, text: str, message: str
) -> None:
    for name in ("1", "2"):
        put_picture(tmp_path / "JPEGImages" / f"{name}.jpg")
    put(tmp_path / "Annotations/1.xml", xml(CAT))
    put(tmp_path / "Annotations/2.xml", text)
    good, bad = sorted(read(tmp_path), key=lambda s: s.path)
    ((kind, words),) = said([good, bad])
    assert kind == "unreadable_label"
    assert words.startswith(f"Annotations/2.xml {message}")
    assert (bad.path, bad.boxes) == (tmp_path / "JPEGImages/2.jpg", None)
    assert len(good.boxes or ()) == 1


def test_an_xml_that_is_a_link_to_nowhere_is_told_in_words(
    tmp_path: Path, put_picture, said
) -> None:
    put_picture(tmp_path / "JPEGImages/2.jpg")
    put(tmp_path / "Annotations/1.xml", xml(CAT))
    (tmp_path / "Annotations/2.xml").symlink_to(tmp_path / "gone.xml")
    assert said(read(tmp_path)) == [
        ("unreadable_label", "Annotations/2.xml cannot be read: No such file or directory.")
    ]


def test_class_folders_with_an_xml_beside_each_picture_stay_class_folders(
    tmp_path: Path, put_picture
) -> None:
    for name in ("cat", "dog"):
        put_picture(tmp_path / name / "1.jpg")
        put(tmp_path / name / "1.xml", xml(CAT))
    assert not voc.matches(tmp_path)
    assert {s.label for s in read_samples(tmp_path)} == {"cat", "dog"}


def test_a_real_data_set(shared_data: Path) -> None:
    samples = read(shared_data / "bccd")
    assert Counter(s.split for s in samples) == {"train": 292, "test": 72}
    assert all(s.path.is_file() and s.size == (640, 480) for s in samples)
    boxes = [box for s in samples for box in s.boxes or ()]
    assert {box.label for box in boxes} == {"WBC", "RBC", "Platelets"}
    empty = [b for b in boxes if b.xyxy[0] >= b.xyxy[2] or b.xyxy[1] >= b.xyxy[3]]
    assert len(empty) == 2
