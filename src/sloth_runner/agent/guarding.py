"""Why: an agent that is killed (by the system, for want of memory) can't end what it has begun, so another must.

A small shell hears of each process group that begins and ends. When the pipe to it ends, so has the agent, and the
groups that are left are ended as the agent would have done it: TERM, a while to leave, KILL. It is started before the
first program; a program that begins in the very moment in which the agent is killed may be missed. Standard library
only; runs on Python 3.8.
"""

from __future__ import annotations

import os
import subprocess
import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional

GRACE = 5
"""Seconds between TERM and KILL."""
_SCRIPT = """
trap '' HUP INT TERM
left=' '
while read -r what group; do
    case $what in
    begun) left="$left$group " ;;
    ended) left="${left%% $group *} ${left#* $group }" ;;
    esac
done
for round in TERM %s KILL; do
    still=
    for group in $left; do kill -s $round -- -$group && still=yes; done
    test "$still" || exit 0
    sleep 1
done 2>/dev/null
"""


class Guard:
    """The shell that outlives us, at most for a moment."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pipe: Optional[int] = None
        self._given_up = False
        self._shell: Optional[subprocess.Popen[bytes]] = None

    def ready(self) -> None:
        """Be there before something begins. Where no shell can be started, nobody guards."""
        with self._lock:
            if self._pipe is None and not self._given_up:
                self._start()

    def begun(self, group: int) -> None:
        """A process group that ends with us."""
        with self._lock:
            self._tell("begun", group)

    def ended(self, group: int) -> None:
        """What is left of it is its own affair."""
        with self._lock:
            self._tell("ended", group)

    def _start(self) -> None:
        script = _SCRIPT % " ".join(["0"] * GRACE)
        read, write = os.pipe()
        try:
            self._shell = subprocess.Popen(  # noqa: S603 - it ends by itself, when we do
                ["/bin/sh", "-c", script],
                stdin=read,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env={"PATH": os.defpath},
                start_new_session=True,
            )
            self._pipe = write
        except OSError:
            self._given_up = True
            os.close(write)
        finally:
            os.close(read)

    def _tell(self, what: str, group: int) -> None:
        if self._pipe is not None:
            try:
                os.write(self._pipe, b"%s %d\n" % (what.encode(), group))
            except OSError:  # somebody has ended the shell
                os.close(self._pipe)
                self._pipe, self._given_up = None, True


GUARD = Guard()
"""Of this process."""
