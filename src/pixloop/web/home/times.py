"""Times as files and records have them, which may be damaged or another program's."""

from datetime import UTC, datetime


def read_time(text: str) -> datetime | None:
    """A time of a record; None where it is none, or has no zone.

    >>> read_time("2026-03-01T12:30:00+00:00").hour, read_time("yesterday")
    (12, None)
    """
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo is not None else None


def moment_of(seconds: float) -> str:
    """Seconds since the epoch as ISO 8601, UTC.

    >>> moment_of(0.0)
    '1970-01-01T00:00:00+00:00'
    """
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
