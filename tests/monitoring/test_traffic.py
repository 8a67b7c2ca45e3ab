"""Pictures over time, from what was kept of them."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from pixloop.monitoring.observations import ROWS, Observation, Observations
from pixloop.monitoring.traffic import STRETCHES, Arrivals, count_traffic, read_arrivals

BEGAN = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)


def row(number: int) -> Observation:
    return Observation(
        id=f"{number}:0",
        at=BEGAN + timedelta(minutes=number),
        model="pets:1",
        sha256=str(number),
        answer={},
        score=0.5,
        decision="refer" if number % 4 == 0 else "accept",
        values=np.array([number, np.nan], np.float32),
        embedding=np.empty(0, np.float32),
    )


def arrivals(*seconds: float, referred: tuple[int, ...] = ()) -> Arrivals:
    at = np.array([(BEGAN.timestamp() + s) * 1e6 for s in seconds]).astype(np.int64)
    return Arrivals(at, np.isin(np.arange(len(at)), referred))


@pytest.fixture
def rows(tmp_path: Path) -> Observations:
    kept = Observations(tmp_path)
    count = ROWS + 88
    kept.append([row(i) for i in range(count)])
    kept.count = count
    return kept


def test_every_row_arrives_once_and_in_order(rows):
    found = read_arrivals(rows)
    assert len(found.at) == 600
    assert found.at[0] == int(BEGAN.timestamp()) * 1_000_000
    assert (np.diff(found.at) == 60_000_000).all()
    assert found.referred.sum() == 150
    assert found.referred[[0, 4, 596]].all()


def test_rows_that_do_not_count_yet_do_not_arrive(rows):
    rows.count = 10
    assert len(read_arrivals(rows).at) == 10
    rows.count = 0
    assert len(read_arrivals(rows).at) == 0


def test_values_are_read_from_the_middle_of_a_file(rows):
    first, second = rows.values(500)
    assert first[:, 0].tolist() == list(range(500, 512))
    assert np.isnan(first[:, 1]).all()
    assert second[:, 0].tolist() == list(range(512, 600))


@pytest.mark.parametrize(
    ("span_s", "length"),
    [(0, "second"), (100, "second"), (1000, "10 seconds"), (7000, "minute"), (86400, "15 minutes")],
)
def test_stretches_are_as_short_as_their_number_allows(span_s, length):
    traffic = count_traffic(arrivals(0, span_s))
    assert traffic.length == length
    assert len(traffic.stretches) <= STRETCHES
    assert sum(each.pictures for each in traffic.stretches) == 2


def test_stretches_without_pictures_stand_between_others():
    # Not in the order of time: captures of several hours are read file by file.
    found = count_traffic(arrivals(9, 0, 0.5, 9.5, referred=(0, 3)))
    assert [each.pictures for each in found.stretches] == [2, 0, 0, 0, 0, 0, 0, 0, 0, 2]
    assert found.stretches[0].start == BEGAN
    assert found.stretches[0].referral_rate == 0.0
    assert found.stretches[1].referral_rate is None
    assert found.stretches[-1].referral_rate == 1.0


def test_decades_apart_are_still_few_stretches():
    assert len(count_traffic(arrivals(0, 40 * 365 * 86400)).stretches) < 1000


def test_without_pictures_there_is_no_traffic():
    assert count_traffic(arrivals()).stretches == ()


def test_reading_imports_neither_pandas_nor_scipy(rows, tmp_path):
    program = (
        "import sys; from pathlib import Path; import pixloop.monitoring.monitor;"
        "from pixloop.monitoring.traffic import Observations, read_arrivals;"
        f"rows = Observations(Path({str(tmp_path)!r}), 600); read_arrivals(rows); "
        "list(rows.values());"
        "sys.exit(' '.join({'pandas', 'scipy.stats', 'scipy.optimize'} & set(sys.modules)) or 0)"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
