"""Why: a line may be gone that said a part of what a resource is to be like, its mode perhaps, while others name it
still. What it had set stays; prune says so, for nobody else does.

It is not put back: an entry does not tell which line said what, so it may be one that was not come to.
"""

from __future__ import annotations

from sloth_runner.engine.drifting import look
from sloth_runner.engine.job import shown
from sloth_runner.engine.joint import of_others
from sloth_runner.engine.recording import covered, made
from sloth_runner.engine.solo import complete
from sloth_runner.errors import SlothError
from sloth_runner.plain import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

    from sloth_runner.modules.base import Attributes, Kind
    from sloth_runner.state.ledger_records import Entry
    from sloth_runner.transport.base import Transport
    from sloth_runner.transport.loop import Loop


def unsaid(
    entry: Entry, kind: Kind, stack: str, said: Collection[str], transport: Transport, loop: Loop
) -> str:
    """What our writes have made of a resource that was there before, is as they left it, and is not among what is
    ``said`` of it now, in words; "" if there is nothing, or it can't be looked at."""
    ours = _ours(entry, kind, {*said, *of_others(entry, stack)})
    if not ours:
        return ""
    try:
        (now,) = complete(transport, kind.observe([look(entry, whole=True)]), loop)
    except SlothError:
        return ""
    seen = covered(now.attributes or {}, entry.salt)
    names = sorted(name for name, value in ours.items() if seen.get(name) == value)
    if not names:
        return ""
    before = entry.before or {}
    told = "" if entry.salt else _values({n: ours[n] for n in names if n != "content"}, before)
    back = "" if entry.salt else "prune puts it back when nothing names it any more, or "
    return (
        f"its {', '.join(names)} stays as an earlier run has set it{told}, though no line that was come to says so:"
        f" {back}say what it is to be"
    )


def _ours(entry: Entry, kind: Kind, said: Collection[str]) -> Attributes:
    """What our writes have made, beside what is said, of what can be put back alone."""
    if not entry.touched or not entry.before or entry.applied is None or (entry.others and not entry.shares):
        return {}
    if entry.before.get("type") != entry.applied.get("type"):
        return {}
    alone = {name for group in kind.apart if group.isdisjoint(said) for name in group}
    return {key: value for key, value in made(entry).items() if key in alone and key in entry.before}


def _values(ours: Attributes, before: Attributes) -> str:
    told = [f"{name} {shown(value)}, before {shown(before[name])}" for name, value in ours.items()]
    return f" ({'; '.join(told)})" if told else ""
