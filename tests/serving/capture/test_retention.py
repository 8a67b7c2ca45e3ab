from pathlib import Path

import pytest

from pixloop.serving.capture.retention import Retention

HOUR = "AllTraffic/2026/05/04/03"


@pytest.fixture
def retention(tmp_path: Path) -> Retention:
    return Retention(tmp_path, 1_000_000)


def put(folder: Path, name: str, size: int) -> Path:
    path = folder / name.format("-000-0a1b2c3d-0000-4000-8000-000000000000.jsonl")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size))
    return path


def test_what_is_written_counts_at_once(retention: Retention, tmp_path: Path) -> None:
    put(tmp_path, HOUR + "/02-01{}", 560_000)
    assert list(retention.surplus(1)) == []
    assert retention.has_room(440_000)
    retention.add(40_000)
    assert retention.has_room(400_000)
    assert not retention.has_room(400_001)


def test_files_that_are_written_count_and_stay(retention: Retention, tmp_path: Path) -> None:
    put(tmp_path, HOUR + "/.02-01{}.part", 300_000)
    whole = put(tmp_path, HOUR + "/02-02{}", 300_000)
    assert list(retention.surplus(450_000)) == [whole]
    assert retention.has_room(450_000)
    assert not retention.has_room(750_000)


def test_the_oldest_of_all_variants_go_first(retention: Retention, tmp_path: Path) -> None:
    names = ["a/2026/05/04/03/02-02{}", "b/2026/05/04/03/02-01{}", "a/2025/12/31/23/59-59{}"]
    files = [put(tmp_path, name, 300_000) for name in names]
    assert list(retention.surplus(400_000)) == [files[2], files[1]]


def test_what_another_server_wrote_is_seen_in_time(retention: Retention, tmp_path: Path) -> None:
    assert list(retention.surplus(1)) == []
    other = put(tmp_path, HOUR + "/02-01{}", 990_000)
    retention.add(50_000)
    assert list(retention.surplus(20_000)) == [other]
