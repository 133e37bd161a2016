"""Why: moments are written by people (``2h ago`` as "2h", an ISO time) and shown as ISO 8601 in UTC."""

from __future__ import annotations

from sloth_runner.durations import TooLong, seconds
from sloth_runner.plain import Final

_FIRST: Final = -62_135_596_800.0
_LAST: Final = 253_402_300_799.999
"""The years 1 to 9999: outside of them a time has no ISO form."""


def iso(moment: float) -> str:
    """Seconds since the epoch as UTC, to the millisecond: ``2026-01-31T09:08:07.123Z``.

    Of what lies outside of the years 1 to 9999, the nearest moment within.
    """
    import time

    moment = _within(moment)
    whole = int(moment // 1)
    millis = min(999, round((moment - whole) * 1000))
    at = time.gmtime(whole)  # not all platforms write a year with its zeros
    return f"{at.tm_year:04d}-{time.strftime('%m-%dT%H:%M:%S', at)}.{millis:03d}Z"


def exact(moment: float) -> str:
    """Seconds since the epoch as UTC, to the microsecond and never earlier: it can be given back to a command."""
    import math
    from datetime import UTC, datetime, timedelta

    when = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=math.ceil(_within(moment) * 1e6))
    return f"{when.replace(tzinfo=None).isoformat(timespec='microseconds')}Z"


def parse_moment(text: str, now: float | None = None) -> float:
    """Seconds since the epoch of an ISO 8601 time (without a zone: UTC), or of "2d" before ``now``.

    Raises TooLong for more than 100 years before, ValueError for anything else; a duration needs ``now``.
    """
    from datetime import UTC, datetime

    if now is not None:
        try:
            return now - seconds(text.removesuffix("ago").strip(), "how long ago")
        except TooLong:
            raise
        except ValueError:
            pass  # no duration: it may be a time
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError(f'a time is written as "2026-01-31T09:08:07Z"; not {text!r}') from None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def _within(moment: float) -> float:
    return min(max(moment, _FIRST), _LAST)
