"""Why: a lock or a run says which process holds it; whether that still lives is asked here, in one manner."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from sloth_runner.plain import Any, Final

_ENDED: Final = ("Z", "X")
"""States of a process that is through (proc_pid_stat(5))."""


def identity() -> tuple[str, int]:
    """This boot's id and this process's start time, which tell it from a later one with its pid."""
    from sloth_runner.state.backends.bootclock import boot_id

    return boot_id(), start_time(os.getpid()) or 0


def is_gone(process: Sequence[Any], host: str) -> bool:
    """Whether a process (its host, boot id, pid and start time) ran on ``host``, this machine, and is no more. Of
    another machine's nothing is known."""
    its_host, its_boot, pid, started = process
    return bool(its_host == host) and (its_boot != identity()[0] or start_time(pid) != started)


def start_time(pid: int) -> int | None:
    """The start time of the process that has ``pid`` now (its unit is the system's); None: no such process.

    One that has ended and that nobody has asked for (a zombie, for good where a container's first process asks for
    none) is no more."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None if Path("/proc/self/stat").exists() else _start_by_ps(pid)
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in _ENDED else int(fields[19])


def _start_by_ps(pid: int) -> int | None:
    import subprocess
    import time

    out = subprocess.run(  # noqa: S603 - fixed program, a number
        ["/bin/ps", "-o", "lstart=", "-p", str(pid)],
        capture_output=True,
        text=True,
        check=False,
        env={"LC_ALL": "C"},
    )
    text = " ".join(out.stdout.split())
    return int(time.mktime(time.strptime(text, "%a %b %d %H:%M:%S %Y"))) if text else None
