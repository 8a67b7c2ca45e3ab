import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixloop.data.formats import read_samples
from pixloop.errors import DataError


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
    ("lines", "message"),
    [
        ('{"image": "1.jpg"}\n{"image": \n', r"labels\.jsonl:2 is not valid JSON"),
        ('{"image": "1.jpg"}\n[1]\n', r"labels\.jsonl:2 is not a JSON object"),
        ('{"image": "1.jpg"}\n{"label": "a"}\n', r"labels\.jsonl:2 names no picture"),
        ('{"image": "1.jpg", "split": "x"}\n', r"labels\.jsonl:1: split 'x'"),
        ('{"other": "1.jpg"}\n', "holds no labels"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, lines: str, message: str) -> None:
    (tmp_path / "labels.jsonl").write_text(lines)
    with pytest.raises(DataError, match=message):
        list(read_samples(tmp_path))
