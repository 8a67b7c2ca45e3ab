import hashlib
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from pixloop.data.split import PRIORITY, Shares, choose_split, fill_splits

SHARES = st.builds(
    Shares,
    test=st.floats(0, 0.5),
    validation=st.floats(0, 0.4),
    calibration=st.floats(0, 0.4),
)
KEYS = st.binary(max_size=8).map(lambda data: hashlib.sha256(data).hexdigest())


def test_the_splits_are_as_large_as_their_shares() -> None:
    keys = [hashlib.sha256(str(n).encode()).hexdigest() for n in range(20_000)]
    counts = Counter(choose_split(key, Shares(0.2, 0.1, 0.05)) for key in keys)
    assert abs(counts["test"] / 20_000 - 0.2) < 0.01
    assert abs(counts["validation"] / 16_000 - 0.1) < 0.01
    assert abs(counts["calibration"] / 16_000 - 0.05) < 0.01


@given(key=KEYS, shares=SHARES)
def test_a_split_without_a_share_gets_nothing(key: str, shares: Shares) -> None:
    assert choose_split(key, shares) in shares.wanted()


@given(key=KEYS, shares=SHARES, test=st.floats(0, 0.5))
def test_another_test_share_leaves_the_other_splits_alone(
    key: str, shares: Shares, test: float
) -> None:
    other = choose_split(key, Shares(test, shares.validation, shares.calibration))
    mine = choose_split(key, shares)
    assert "test" in (mine, other) or mine == other


@given(
    members=st.dictionaries(KEYS, st.sampled_from(PRIORITY), max_size=8),
    wanted=st.integers(1, 4).map(lambda n: PRIORITY[:n]),
)
def test_a_class_reaches_as_many_splits_as_it_has_pictures(
    members: dict[str, str], wanted: tuple[str, ...]
) -> None:
    members = {key: split for key, split in members.items() if split in wanted}
    moves = fill_splits(members, wanted)  # type: ignore[arg-type]
    after = members | moves
    assert set(after) == set(members)
    reached = set(after.values())
    assert reached == set(wanted) or (
        len(reached) == len(members) and reached == set(wanted[: len(members)])
    )
    if set(members.values()) == set(wanted):
        assert moves == {}
