from datetime import UTC, datetime

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pixloop.monitoring.observations import ROWS, Observation, Observations
from pixloop.monitoring.unlike import find_unlike

_AT = datetime(2026, 5, 4, tzinfo=UTC)


def _rows(folder, values) -> Observations:
    rows = Observations(folder)
    made = [
        Observation(f"e{i}:0", _AT, "m:1", "0" * 64, {}, 0.9, "accept", v, np.empty(0, np.float32))
        for i, v in enumerate(values)
    ]
    rows.append(made)
    rows.count = len(made)
    return rows


def test_the_most_unlike_come_first(tmp_path):
    values = np.array([[0], [5], [-9], [2], [7]], np.float32)
    rows = _rows(tmp_path, values)
    reference = np.array([[-1], [1]], np.float32)
    assert find_unlike(rows, 0, reference, [(0, "higher")])[:3] == [4, 1, 3]
    assert find_unlike(rows, 0, reference, [(0, "lower")])[0] == 2
    assert find_unlike(rows, 0, reference, [(0, "wider")])[:2] == [2, 4]
    assert find_unlike(rows, 3, reference, [(0, "higher")]) == [4, 3]


@settings(max_examples=10, deadline=None)
@given(first=st.integers(0, 1300), cuts=st.lists(st.integers(1, 600), max_size=5))
def test_rows_are_the_same_however_they_were_appended(tmp_path_factory, first, cuts):
    values = np.arange(1300, dtype=np.float32)[:, None]
    rows = Observations(tmp_path_factory.mktemp("rows"))
    start = 0
    for end in [*np.minimum(np.cumsum(cuts), 1300).astype(int), 1300] if cuts else [1300]:
        part = _made(values[start:end], start)
        rows.append(part)
        rows.count += len(part)
        start = end
    read = np.concatenate([np.empty((0, 1)), *rows.values(first)])
    assert read[:, 0].tolist() == list(range(first, 1300))
    assert len(list(rows.tables())) == -(-1300 // ROWS)


def _made(values, start):
    return [
        Observation(f"e{start + i}:0", _AT, "m", "0", {}, 0.5, "refer", v, np.empty(0, np.float32))
        for i, v in enumerate(values)
    ]
