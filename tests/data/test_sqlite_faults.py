import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from pixloop.data.sqlite_faults import faults_told
from pixloop.errors import DataError


def test_a_full_disk_is_told_and_the_database_stays(tmp_path: Path) -> None:
    file = tmp_path / "some.sqlite"
    with closing(sqlite3.connect(file)) as db:
        db.execute("CREATE TABLE some (content BLOB)")
        db.execute("PRAGMA max_page_count = 3")
        expected = r"some\.sqlite cannot be used: .* full\. Make room"
        with pytest.raises(DataError, match=expected), faults_told(file):
            db.execute("INSERT INTO some VALUES (zeroblob(100000))")
    assert file.exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no disk that is always full")
def test_a_disk_that_is_full_of_something_else_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="A disk is full"), faults_told(tmp_path / "some.sqlite"):
        Path("/dev/full").write_bytes(b"some")


def test_a_database_that_cannot_be_opened_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="its folder can be written to"), faults_told(tmp_path):
        sqlite3.connect(tmp_path)


def test_a_mistake_in_a_statement_stays_what_it_is(tmp_path: Path) -> None:
    file = tmp_path / "some.sqlite"
    with (
        pytest.raises(sqlite3.OperationalError, match="no such table"),
        faults_told(file),
        closing(sqlite3.connect(file)) as db,
    ):
        db.execute("SELECT * FROM nowhere")
