"""Wall-clock times as text: RFC 3339 UTC, and dates of HTTP. Deadlines use monotonic clocks and never these.

Times of files are whatever a job says, and file systems keep them millions of years away; what no calendar here can
say is told as the first or the last moment that it can.
"""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import formatdate

FIRST, LAST = -62135596800.0, 253402300799.0
"""The first second of the year 1 and the last one of the year 9999, since the epoch."""


def rfc3339(seconds: float | None) -> str | None:
    """Seconds since the epoch as "2026-01-02T03:04:05.678Z"; None stays None."""
    if seconds is None:
        return None
    moment = datetime.fromtimestamp(within_calendar(seconds), UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def http_date(seconds: float) -> str:
    """As "Fri, 02 Jan 2026 03:04:05 GMT" (RFC 9110 5.6.7)."""
    return formatdate(within_calendar(seconds), usegmt=True)


def within_calendar(seconds: float) -> float:
    """The moment, or the nearest one of the years 1 to 9999."""
    return min(max(seconds, FIRST), LAST)
