from datetime import UTC, datetime

import pytest

from pixloop.pipeline.runs import RunRecord, new_run_id


@pytest.mark.parametrize(
    ("identity", "started", "began"),
    [
        (
            "20261127T151527919-3df7",
            "2026-11-27T15:15:27+00:00",
            datetime(2026, 11, 27, 15, 15, 27, 919000, UTC),
        ),
        ("an-execution", "2026-11-27T15:15:27+00:00", datetime(2026, 11, 27, 15, 15, 27, 0, UTC)),
        ("an-execution", "yesterday", None),
    ],
)
def test_when_a_run_began(identity, started, began):
    assert RunRecord(id=identity, pid=1, started=started).began == began


def test_a_new_run_begins_now():
    before = datetime.now(UTC)
    began = RunRecord(id=new_run_id(), pid=1, started="").began
    assert abs((began - before).total_seconds()) < 5
