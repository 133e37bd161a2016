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
    """The clock of this machine."""
    return LeaseClock(boot_id(), since_boot)


def since_boot() -> float:
    """Seconds since this machine was started. Linux: CLOCK_BOOTTIME. macOS: CLOCK_MONOTONIC, which counts through
    sleep there."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def boot_id() -> str:
    """The name of this boot: the kernel's boot id, on macOS its boot session."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except FileNotFoundError:
        import subprocess

        out = subprocess.run(
            ["/usr/sbin/sysctl", "-n", "kern.bootsessionuuid"], capture_output=True, check=True, text=True
        )
        return out.stdout.strip()
