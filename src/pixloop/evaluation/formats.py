"""Numbers as people read them."""


def percent(share: float, digits: int = 1) -> str:
    r"""A share in per cent; nothing but all is 100, and nothing but none is 0.

    >>> percent(0.9412), percent(0.99999), percent(1.0), percent(0.00001)
    ('94.1\xa0%', '99.9\xa0%', '100\xa0%', '0.1\xa0%')
    """
    if share in (0, 1):
        return f"{share * 100:.0f}\xa0%"
    least = 10.0**-digits
    return f"{min(max(share * 100, least), 100 - least):.{digits}f}\xa0%"


def target(share: float) -> str:
    """A share that someone chose, with the digits they chose: ``2 %``."""
    return f"{share * 100:.4g}\xa0%"


def points(difference: float) -> str:
    """A difference of shares in percentage points, with its sign."""
    return f"{difference * 100:+.1f}".replace("-", "−")


def count(number: int) -> str:
    """A whole number with its thousands apart."""
    return f"{number:,}".replace(",", "\u202f")
