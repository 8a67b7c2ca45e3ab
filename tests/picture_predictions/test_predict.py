from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tests.small_bundles import write_colours

from pixloop.data.check import MAX_FILE_BYTES
from pixloop.errors import ImageError, ServingError
from pixloop.picture_predictions.predict import predict_with, predict_with_bundle


def ask(picture: bytes) -> dict[str, Any]:
    """Answers a file with its own text; one that says "bad" is bad."""
    if picture == b"bad":
        raise ImageError("it is bad")
    prediction = {"label": picture.decode(), "score": 1, "decision": "refer", "probabilities": {}}
    return {"model": "text:1", "predictions": [prediction]}


def test_answers_and_errors_come_in_the_order_of_the_files(tmp_path: Path) -> None:
    contents = ["a", None, None, "bad", "b", None, *map(str, range(50)), None]
    paths = [tmp_path / str(i) for i in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        if content is not None:
            path.write_text(content)
    answers = list(predict_with(ask, paths))
    assert [answer.path for answer in answers] == list(map(str, paths))
    for answer, content in zip(answers, contents, strict=True):
        if content is None:
            assert answer.error == "the file cannot be read: No such file or directory"
        elif content == "bad":
            assert answer.error == "it is bad"
        else:
            assert (answer.label, answer.error) == (content, None)


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    with (tmp_path / "b").open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)  # takes no room
    first, second = predict_with(ask, [tmp_path / "a", tmp_path / "b"])
    assert first.label == "a"
    assert second.error == "the file has 200,000,001 bytes; at most 200,000,000 are read"


@pytest.mark.parametrize("count", [0, 1, 3])
def test_files_may_all_be_unreadable(tmp_path: Path, count: int) -> None:
    answers = list(predict_with(ask, [tmp_path / "no"] * count))
    assert [answer.error is None for answer in answers] == [False] * count


def test_what_fails_for_another_reason_ends_it(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")

    def fail(picture: bytes) -> dict[str, Any]:
        raise ServingError("nothing answers")

    with pytest.raises(ServingError, match="nothing answers"):
        list(predict_with(fail, [tmp_path / "a"]))


@pytest.mark.parametrize("where", ["here", "elsewhere"])
def test_files_are_read_as_answers_are_taken(tmp_path: Path, where: str) -> None:
    if where == "here":
        Image.new("RGB", (20, 30)).save(tmp_path / "a", "PNG")
    else:
        (tmp_path / "a").write_text("a")
    read = 0

    def endless() -> Iterator[Path]:
        nonlocal read
        while True:
            read += 1
            yield tmp_path / "a"

    stream = (
        predict_with_bundle(write_colours(tmp_path / "bundle"), endless())
        if where == "here"
        else predict_with(ask, endless())
    )
    for taken in range(1, 100):
        assert next(stream).error is None
        assert read <= taken + 64
