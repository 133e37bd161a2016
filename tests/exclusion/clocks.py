"""Why: libfaketime shares its clock with children by a semaphore and a piece of memory that bear the number of its
process. One that is killed leaves both behind, and the next process that is given this number can't begin.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

ENVIRON = {
    "DONT_FAKE_MONOTONIC": "1",  # a clock that is set wrong does not run wrong
    "FAKETIME_FORCE_MONOTONIC_FIX": "0",  # with it, threads that wait for each other spin
}
SHARED = Path("/dev/shm")
_NAMES = ("sem.faketime_sem_{}", "faketime_shm_{}")
_AFRESH = "; ".join(["rm -f " + " ".join(str(SHARED / name.format("$$")) for name in _NAMES), 'exec "$@"'])


def wrong(argv: Sequence[str], minutes: int) -> list[str]:
    """The command, with a clock that is wrong by so many minutes; it needs ``ENVIRON``, too. What bears the number of
    its process, which is alive, is of one that is not."""
    return ["sh", "-c", _AFRESH, "sh", "faketime", "-m", "-f", f"{minutes:+d}m", *argv]


def tidy(pid: int) -> None:
    """Remove what this process left, which was killed."""
    for name in _NAMES:
        (SHARED / name.format(pid)).unlink(missing_ok=True)
