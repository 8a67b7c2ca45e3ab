"""Which numbers of a page evaluation.json does not have."""

import re
from collections.abc import Iterator
from typing import Any

from pixloop.evaluation.formats import count, percent

# A picture's own score ("40.5 % sure") is in the table of predictions.
_MEASURED = re.compile(r"(?<![\w.])\d+\.\d{3}(?![\w.])|\d+(?:\.\d+)?\xa0%(?!\s+sure)")
#: Of intervals, axes and the like.
_SAID = {"95\xa0%", "80\xa0%", "100\xa0%", "0\xa0%"}


def measured_numbers(text: str) -> list[str]:
    """What looks measured: three decimals, or a percentage."""
    return _MEASURED.findall(text)


def missing_numbers(text: str, content: Any) -> set[str]:
    """Of a page's measured numbers those that are in no number of ``content``, however written."""
    found = list(_numbers(content))
    known = {form for number in found for form in _forms(number)}
    # The bar's parts are what these leave to one.
    known |= {percent(1 - share) for share in found if 0 < share < 1}
    return {each for each in measured_numbers(text) if each not in known | _SAID}


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, dict):
        for inner in value.values():
            yield from _numbers(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _numbers(inner)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield float(value)


def _forms(number: float) -> Iterator[str]:
    yield f"{number:.3f}"
    yield count(round(number))
    if 0 <= number <= 1:
        yield percent(number)
        yield percent(number, 2)
        yield f"{number * 100:.4g}\xa0%"
