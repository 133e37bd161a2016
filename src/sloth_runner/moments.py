"""Why: moments are written by people (``2h ago`` as "2h", an ISO time) and shown as ISO 8601 in UTC."""

from __future__ import annotations

from sloth_runner.durations import seconds


def iso(moment: float) -> str:
    """Seconds since the epoch as UTC, to the millisecond: ``2026-01-31T09:08:07.123Z``."""
    import time

    whole = int(moment // 1)
    millis = min(999, round((moment - whole) * 1000))
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(whole))}.{millis:03d}Z"


def exact(moment: float) -> str:
    """Seconds since the epoch as UTC, to the microsecond and never earlier: it can be given back to a command."""
    import math
    from datetime import UTC, datetime, timedelta

    when = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=math.ceil(moment * 1e6))
    return f"{when:%Y-%m-%dT%H:%M:%S.%f}Z"


def parse_moment(text: str, now: float | None = None) -> float:
    """Seconds since the epoch of an ISO 8601 time (without a zone: UTC), or of "2d" before ``now``.

    Raises ValueError for anything else; a duration needs ``now``.
    """
    from datetime import UTC, datetime

    if now is not None:
        try:
            return now - seconds(text.removesuffix("ago").strip())
        except ValueError:
            pass  # no duration: it may be a time
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError(f'a time is written as "2026-01-31T09:08:07Z"; not {text!r}') from None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
