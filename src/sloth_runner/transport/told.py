"""Why: what a machine says went wrong is told the same way whichever way led to that machine."""

from __future__ import annotations

from sloth_runner.errors import Indeterminate, TaskFailed, TimedOut
from sloth_runner.plain import Final

WIDEST = 300
"""Characters of a line that a machine has said."""
_AGAIN: Final = ("run again: it looks what is there, and does what is missing",)


def last_lines(said: bytes) -> list[str]:
    """The last that a machine has said. A shell or an appliance may say what it was asked, which is long."""
    lines = said.decode("utf-8", "replace").replace("\0", "").strip().splitlines()[-3:]
    return [line if len(line) <= WIDEST else line[:WIDEST] + " …" for line in lines]


def timed_out(label: str, timeout: float, said: bytes) -> TimedOut:
    """A program took too long and was stopped; ``said`` is the last that it wrote."""
    from sloth_runner.durations import human

    return TimedOut(
        f"{label} took longer than its timeout of {human(timeout)} and was stopped",
        system="\n".join(last_lines(said)) or None,
        next=["give it longer: timeout = …", "what it had done by then stays done"],
    )


def unstoppable(label: str, user: str, group: int, system: str) -> TaskFailed:
    """A program has to be stopped and can't be; ``group`` is its process group."""
    return TaskFailed(
        f"{label} has to be stopped, but runs as {user}, whose processes we may not signal: it may still be running",
        system=system,
        next=[f"look for it: ps -s {group} -f"],
    )


def stopped_unseen(address: str, agent: str, why: str) -> Indeterminate:
    """A program was to be stopped while nobody was at the other end of the line, or nobody who answered."""
    return Indeterminate(
        f"{address}: {why}, so whether what was under way has stopped is not known",
        target=agent,
        next=["if the agent is still there, it stops by itself what its controller left behind", *_AGAIN],
    )


def unanswered(address: str, agent: str, why: str) -> Indeterminate:
    """An operation that may have changed something was not answered."""
    return Indeterminate(
        f"{address}: the connection was lost before the answer came: whether it was done is not known",
        target=agent,
        system=why or None,
        next=_AGAIN,
    )
