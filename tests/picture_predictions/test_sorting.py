import os

from hypothesis import given
from hypothesis import strategies as st

from pixloop.picture_predictions.sorting import in_order

# File names hold neither slashes nor zero bytes; some hold line ends, some are no UTF-8.
NAMES = st.binary(min_size=1).filter(lambda name: not {0, 47} & set(name)).map(os.fsdecode)


@given(st.lists(NAMES | st.sampled_from(["a\n", "a\r\nb", "\n"])), st.integers(1, 4))
def test_names_come_in_order_however_few_are_held(names: list[str], at_once: int) -> None:
    assert list(in_order(names, at_once)) == sorted(names)
