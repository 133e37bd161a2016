"""Why: a lease on one machine is judged by a clock that nobody sets and that counts through sleep."""

from __future__ import annotations

import time
from collections.abc import Callable

from sloth_runner.plain import NamedTuple


class LeaseClock(NamedTuple):
    """``boot`` names this boot of the machine; ``now`` gives seconds since it, counting through suspension."""

    boot: str
    now: Callable[[], float]


def system_clock() -> LeaseClock:
    """Linux: the kernel's boot id and CLOCK_BOOTTIME. macOS: its boot session and CLOCK_MONOTONIC, which counts
    through sleep there."""
    kind = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return LeaseClock(boot_id(), lambda: time.clock_gettime(kind))


def boot_id() -> str:
    """The name of this boot."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except FileNotFoundError:
        import subprocess

        out = subprocess.run(
            ["/usr/sbin/sysctl", "-n", "kern.bootsessionuuid"], capture_output=True, check=True, text=True
        )
        return out.stdout.strip()
