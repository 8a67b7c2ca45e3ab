import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixloop.data import duplicates
from pixloop.data.duplicates import group_near_duplicates


def group(hashes: list[int], thumbnails: list[int], means: list[float] | None = None) -> list[int]:
    """Pictures by hash; equal numbers of thumbnails are equal thumbnails."""
    pixels = [np.random.default_rng(n).integers(0, 256, 256, np.uint8) for n in thumbnails]
    colours = np.array([[m] * 3 for m in means or [0.5] * len(hashes)], np.float32)
    return group_near_duplicates(
        np.array(hashes, np.uint64), np.array(pixels, np.uint8).reshape(-1, 256), colours
    ).tolist()


def test_equal_thumbnails_with_near_hashes_belong_together() -> None:
    assert group([0, 0b1111, 0b11111 << 59], [1, 1, 1]) == [0, 0, 2]


def test_near_hashes_alone_do_not_suffice() -> None:
    assert group([7, 7, 7], [1, 2, 1]) == [0, 1, 0]


def test_other_colours_are_another_picture() -> None:
    assert group([7, 7], [1, 1], [0.5, 0.6]) == [0, 1]


def test_pictures_of_one_colour_are_not_compared() -> None:
    flat = np.full((2, 256), 128, np.uint8)
    means = np.full((2, 3), 0.5, np.float32)
    assert group_near_duplicates(np.zeros(2, np.uint64), flat, means).tolist() == [0, 1]


def test_chains_join_whole_groups() -> None:
    assert group([0b0, 0b11110000, 0b1111, 0b11111111], [3] * 4) == [0, 0, 0, 0]


@pytest.mark.parametrize("count", [0, 1])
def test_nothing_to_compare(count: int) -> None:
    assert group([0] * count, [0] * count) == list(range(count))


@given(bits=st.sets(st.integers(0, 63), max_size=6), base=st.integers(0, 2**64 - 1))
def test_hashes_up_to_the_limit_are_found_wherever_the_bits_lie(bits: set[int], base: int) -> None:
    other = base ^ sum(1 << bit for bit in bits)
    expected = [0, 0] if len(bits) <= duplicates.MAX_BITS else [0, 1]
    assert group([base, other], [5, 5]) == expected


@given(
    st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=12),
    st.lists(st.tuples(st.integers(0, 11), st.sets(st.integers(0, 63), max_size=5)), max_size=30),
    st.integers(1, 9),
)
def test_blocks_of_sorted_hashes_miss_no_pair(
    bases: list[int], copies: list[tuple[int, set[int]]], block: int
) -> None:
    hashes = [*bases, *(bases[i % len(bases)] ^ sum(1 << bit for bit in b) for i, b in copies)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(duplicates, "_SORTED", block)
        found = duplicates._candidates(np.array(hashes, np.uint64))
        pairs = {
            tuple(sorted(p)) for a, b in found for p in zip(a.tolist(), b.tolist(), strict=True)
        }
    expected = {
        (i, j)
        for j in range(len(hashes))
        for i in range(j)
        if (hashes[i] ^ hashes[j]).bit_count() <= duplicates.MAX_BITS
    }
    assert pairs == expected
