"""How long a client waits before it asks again."""

import random
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

#: The first wait at most, doubled with every further one up to the longest.
_FIRST_S, _LONGEST_S = 0.1, 5.0


def wait_s(attempt: int, retry_after: str | None = None) -> float:
    """Seconds until the next attempt.

    Exponential backoff with full jitter (M. Brooker, "Exponential Backoff And Jitter", AWS
    Architecture Blog, 2015): any time up to ``min(5, 0.1 · 2^attempt)`` s is as likely, so that
    clients that were refused together do not come back together.

    Args:
        attempt: attempts that failed before the last one, from 0.
        retry_after: the answer's header of that name, seconds or a date: waiting starts after it.
    """
    # Beyond this power the float overflows, and the longest wait was reached long before.
    longest = min(_LONGEST_S, _FIRST_S * 2.0 ** min(attempt, 32))
    return _asked_s(retry_after) + random.uniform(0, longest)  # noqa: S311 - no secret


def _asked_s(retry_after: str | None) -> float:
    """Seconds that a Retry-After header asks for (RFC 9110, 10.2.3); 0 for what is none."""
    if not retry_after:
        return 0.0
    if retry_after.strip().isdecimal():
        return float(retry_after)
    try:
        date = parsedate_to_datetime(retry_after)
    except ValueError:
        return 0.0
    # A date in "-0000" comes without a zone, and is in UTC as well.
    date = date if date.tzinfo else date.replace(tzinfo=UTC)
    return max(0.0, (date - datetime.now(UTC)).total_seconds())
