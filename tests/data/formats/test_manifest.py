import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixloop.data.formats import read_samples
from pixloop.errors import DataError
from pixloop.records import Box, Finding


def write(file: Path, *entries: Any) -> Path:
    file.write_text("".join(json.dumps(entry) + "\n" for entry in entries), encoding="utf-8")
    return file


def ground_truth(address: str, label: str, job: str = "job") -> dict[str, Any]:
    return {
        "source-ref": address,
        job: 0,
        f"{job}-metadata": {
            "class-name": label,
            "confidence": 0.9,
            "type": "groundtruth/image-classification",
        },
    }


def test_an_s3_address_means_the_file_of_the_same_relative_name(tmp_path: Path) -> None:
    for name in ("b/1.jpg", "1.jpg", "2.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    file = write(
        tmp_path / "out.manifest",
        ground_truth("s3://bucket/a/b/1.jpg", "cat"),
        ground_truth("s3://bucket/a/2.jpg", "dog"),
        ground_truth("s3://bucket/a/gone.jpg", "dog"),
        ground_truth("s3://bucket/../../secret.jpg", "dog"),
    )
    assert [(s.path.relative_to(tmp_path).as_posix(), s.label) for s in read_samples(file)] == [
        ("b/1.jpg", "cat"),
        ("2.jpg", "dog"),
        ("a/gone.jpg", "dog"),
        ("secret.jpg", "dog"),
    ]


def test_the_last_labelling_job_counts_and_verification_is_none(tmp_path: Path) -> None:
    entry = ground_truth("1.jpg", "cat", "first") | ground_truth("1.jpg", "dog", "second")
    entry["check-metadata"] = {"class-name": "good", "type": "groundtruth/label-verification"}
    failed = {"source-ref": "2.jpg", "job-metadata": {"failure-reason": "ClientError"}}
    file = write(tmp_path / "out.jsonl", entry, failed)
    assert [s.label for s in read_samples(file)] == ["dog", None]


@given(
    key=st.sampled_from(["image", "path", "file_name"]),
    label=st.text(st.characters(exclude_categories=["Cs"])).filter(lambda t: t == t.strip()),
    number=st.integers(),
)
def test_plain_lines(
    tmp_path_factory: pytest.TempPathFactory, key: str, label: str, number: int
) -> None:
    file = tmp_path_factory.mktemp("manifest") / "labels.jsonl"
    write(file, {key: "p/1.jpg", "label": label, "split": "test"}, {key: "2.jpg", "label": number})
    first, second = read_samples(file)
    assert (first.path, first.label) == (file.parent / "p/1.jpg", label or None)
    assert (first.split, first.source) == ("test", "labels.jsonl:1")
    assert (second.label, second.split) == (str(number), None)


def test_a_folder_with_train_and_test_manifests(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", {"image": "1.jpg", "label": "cat"})
    write(tmp_path / "validation.jsonl", {"image": "2.jpg", "label": "cat"})
    assert {(s.split, s.path.name) for s in read_samples(tmp_path)} == {
        ("train", "1.jpg"),
        ("test", "2.jpg"),
    }


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"image": ', " is not valid JSON: "),
        ("[1]", " is not a JSON object."),
        ('{"label": "a"}', " names no picture; expected one of source-ref, image, "),
        ('{"image": "1.jpg", "split": "x"}', ": split 'x' is not train, validation or test."),
    ],
)
def test_a_line_that_cannot_be_read_is_named_and_others_stay(
    tmp_path: Path, said, line: str, message: str
) -> None:
    (tmp_path / "labels.jsonl").write_text(
        f'{line}\n{{"image": "2.jpg", "label": "a", "split": "test"}}\n'
    )
    bad, good = read_samples(tmp_path)
    ((kind, words),) = said([bad])
    assert kind == "unreadable_label"
    assert words.startswith(f"labels.jsonl:1{message}")
    assert bad.label is None
    assert bad.path.name == ("1.jpg" if "1.jpg" in line else "labels.jsonl")
    assert (good.path.name, good.label, good.split) == ("2.jpg", "a", "test")


def test_other_json_lines_are_no_manifest(tmp_path: Path) -> None:
    (tmp_path / "labels.jsonl").write_text('{"other": "1.jpg"}\n')
    with pytest.raises(DataError, match="holds no labels"):
        list(read_samples(tmp_path))


def box_job(name: str = "1.jpg", *annotations: Any, **job: Any) -> dict[str, Any]:
    return {
        "source-ref": name,
        "job": {"annotations": list(annotations), "image_size": [{"width": 64, "height": 48}]}
        | job,
        "job-metadata": {"class-map": {"0": "red cat"}, "type": "groundtruth/object-detection"},
    }


def box(class_id: Any = 0, **edges: Any) -> dict[str, Any]:
    return {"class_id": class_id, "left": 1, "top": 2, "width": 10, "height": 20.5} | edges


def test_a_bounding_box_job(tmp_path: Path) -> None:
    failed = {"source-ref": "3.jpg", "job-metadata": {"failure-reason": "ClientError"}}
    checked = box_job("4.jpg", box())
    checked |= {"check": 1, "check-metadata": {"type": "groundtruth/label-verification"}}
    file = write(
        tmp_path / "out.manifest",
        box_job("1.jpg", box(), box(7, width=0, left=-3)),
        box_job("2.jpg", image_size=[]),
        failed,
        checked,
    )
    one, two, three, four = read_samples(file, task="detection")
    unnamed = Finding(
        "unnamed_class", "out.manifest:1: annotation 2: the class map has no class_id 7."
    )
    assert one.boxes == (
        Box("red cat", (1, 2, 11, 22.5)),
        Box("", (-3, 2, -3, 22.5), findings=(unnamed,)),
    )
    assert (one.size, one.label, one.source) == ((64, 48), None, "out.manifest:1")
    assert (two.boxes, two.size) == ((), None)
    assert (three.boxes, len(four.boxes or ())) == (None, 1)


def test_the_last_bounding_box_job_counts(tmp_path: Path) -> None:
    entry = box_job("1.jpg", box())
    entry |= {"adjusted": {"annotations": []}, "adjusted-metadata": entry["job-metadata"]}
    (sample,) = read_samples(write(tmp_path / "a.manifest", entry), task="detection")
    assert sample.boxes == ()


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (box_job("1.jpg", box(left="x"), box()), "annotation 1: expected a number, got 'x'."),
        (box_job("1.jpg", {"class_id": 0}, box()), "annotation 1: expected a number, got None."),
        (box_job("1.jpg", 3, box()), "annotation 1 is no object."),
    ],
)
def test_a_box_that_cannot_be_read_is_named_and_others_stay(
    tmp_path: Path, said, entry: Any, message: str
) -> None:
    file = write(tmp_path / "a.manifest", box_job(), entry)
    _, sample = read_samples(file, task="detection")
    assert said([sample]) == [("unreadable_box", f"a.manifest:2: {message}")]
    assert sample.boxes is not None
    assert sample.boxes[1:] == (Box("red cat", (1, 2, 11, 22.5)),)


def test_boxes_that_are_no_list_are_not_none(tmp_path: Path, said) -> None:
    file = write(tmp_path / "a.manifest", box_job(), box_job("1.jpg", annotations={}))
    _, sample = read_samples(file, task="detection")
    assert said([sample]) == [
        ("unreadable_label", "a.manifest:2: expected annotations to be a list.")
    ]
    assert (sample.boxes, sample.path.name) == (None, "1.jpg")


def test_a_manifest_for_the_other_task_says_so(tmp_path: Path) -> None:
    boxes = write(tmp_path / "boxes.manifest", box_job("1.jpg", box()))
    with pytest.raises(DataError, match="manifest, for detection and not for classification"):
        list(read_samples(boxes))
    classes = write(tmp_path / "classes.manifest", ground_truth("1.jpg", "cat"))
    with pytest.raises(DataError, match="manifest, for classification and not for detection"):
        list(read_samples(classes, task="detection"))
