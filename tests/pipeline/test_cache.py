import os
from pathlib import Path
from typing import Any

import pytest

from pixloop.pipeline.cache import code_digest, fingerprint, outside_digest, step_key
from pixloop.pipeline.jobs import Job


def job(**changes: Any) -> Job:
    parts: dict[str, Any] = {
        "name": "A",
        "kind": "Processing",
        "command": ("python",),
        "environment": {},
        "inputs": {"x": ("file:///somewhere", "processing/input/x")},
        "outputs": {"result": "ml/processing/output/result"},
        "documents": {},
        "settings": {"command": ["python"]},
    }
    return Job(**{**parts, **changes})


@pytest.mark.parametrize(
    "change",
    [{"name": "B"}, {"settings": {"command": ["sh"]}}, {"environment": {"LEVEL": "3"}}],
)
def test_what_decides_the_result_changes_the_key(change: Any) -> None:
    assert step_key(job(**change), {"x": "1"}) != step_key(job(), {"x": "1"})


def test_the_inputs_content_changes_the_key() -> None:
    assert step_key(job(), {"x": "2"}) != step_key(job(), {"x": "1"})


@pytest.mark.parametrize(
    "change",
    [
        {"inputs": {"x": ("file:///elsewhere", "processing/input/x")}},
        {"documents": {"config/processingjobconfig.json": {"RoleArn": "other"}}},
        {"environment": {"PIXLOOP_COMMIT": "0123abc"}},
        {"environment": {"PIXLOOP_DATA_VERSION": "2", "PIXLOOP_CHAMPION_VERSION": "3"}},
    ],
)
def test_addresses_roles_and_versions_leave_the_key(change: Any) -> None:
    assert step_key(job(**change), {"x": "1"}) == step_key(job(), {"x": "1"})


def test_changed_code_changes_every_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "training").mkdir()
    (tmp_path / "cli").mkdir()
    for name in ("__init__.py", "training/train.py", "cli/app.py"):
        (tmp_path / name).write_text("a = 1\n")
    monkeypatch.setattr("pixloop.__file__", str(tmp_path / "__init__.py"))
    before = code_digest.__wrapped__()
    (tmp_path / "cli" / "app.py").write_text("a = 2\n")
    assert code_digest.__wrapped__() == before
    (tmp_path / "training" / "train.py").write_text("a = 2\n")
    assert code_digest.__wrapped__() != before


@pytest.mark.parametrize("change", ["content", "name", "new", "gone"])
def test_a_folders_fingerprint_notices(tmp_path: Path, change: str) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("a", "sub/b"):
        (tmp_path / name).write_text("x")
    before = fingerprint(tmp_path)
    assert fingerprint(tmp_path) == before
    file = tmp_path / "sub" / "b"
    match change:
        case "content":
            file.write_text("xy")
        case "name":
            file.rename(tmp_path / "sub" / "c")
        case "new":
            (tmp_path / "sub" / "c").touch()
        case "gone":
            file.unlink()
    assert fingerprint(tmp_path) != before


def test_an_edit_that_keeps_the_size_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    before = fingerprint(tmp_path)
    (tmp_path / "a").write_text("y")
    os.utime(tmp_path / "a", ns=(1, 1))
    assert fingerprint(tmp_path) != before


def test_links_are_followed_and_circles_end(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a").write_text("x")
    data = tmp_path / "data"
    data.mkdir()
    (data / "link").symlink_to(tmp_path / "real")
    (data / "loop").symlink_to(data)
    (data / "nowhere").symlink_to(tmp_path / "missing")
    before = fingerprint(data)
    (tmp_path / "real" / "a").write_text("xy")
    assert fingerprint(data) != before


def test_a_label_file_stands_for_the_pictures_beside_it(tmp_path: Path) -> None:
    for name in ("labels.csv", "weights.safetensors"):
        (tmp_path / name).write_text("x")
    labels, weights = (outside_digest(tmp_path / n) for n in ("labels.csv", "weights.safetensors"))
    (tmp_path / "a.jpg").write_text("a picture")
    assert outside_digest(tmp_path / "labels.csv") != labels
    assert outside_digest(tmp_path / "weights.safetensors") == weights
