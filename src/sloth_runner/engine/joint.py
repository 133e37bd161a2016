"""Why: several calls may each say a part of what one resource is to be like: a file's content here, its mode there.
They are recorded together, else drift would watch no more than what the last of them has said.

What no call says any more is found when a whole run has come to its end: who names a thing is known only then.
"""

from __future__ import annotations

from sloth_runner.engine.recording import covered, made
from sloth_runner.plain import TYPE_CHECKING

if TYPE_CHECKING:
    from sloth_runner.engine.job import About, Job
    from sloth_runner.modules.base import Attributes
    from sloth_runner.state.ledger import Ledger
    from sloth_runner.state.ledger_records import Entry


def also(job: Job, about: About) -> Attributes:
    """What other calls want of the resource, as recorded, that this one says nothing of."""
    entry, wanted = job.entry, job.wanted
    if entry is None or wanted is None or entry.wanted is None or entry.applied is None or job.made:
        return {}
    if (entry.params, bool(entry.salt)) != (job.want.resource.params, about.sensitive):
        return {}
    kind = covered({"type": wanted.get("type")}, entry.salt)["type"] if "type" in wanted else None
    if entry.wanted.get("type") != kind:
        return {}
    said = {name for group in job.apart if not group.isdisjoint(wanted) for name in group}
    return {key: value for key, value in entry.wanted.items() if key not in wanted and key not in said}


def name(ledger: Ledger, job: Job, stack: str) -> None:
    """A call of this run has said what it wants of a resource."""
    entry, named = job.recorded or job.entry, ledger.named.get(job.address, frozenset())
    if named is None:
        return
    named |= frozenset(job.wanted or ())
    named = ledger.named[job.address] = ledger.alike.setdefault(named, named)
    if entry is not None and not (named | of_others(entry, stack)).issuperset(entry.wanted or ()):
        ledger.surplus.add(job.address)
    else:
        ledger.surplus.discard(job.address)


def of_others(entry: Entry, stack: str) -> frozenset[str]:
    """What other stacks want of a resource."""
    others = {*entry.others, entry.stack} - {stack}
    return frozenset(key for one in others for key in entry.shares.get(one, ()))


def forget_unnamed(ledger: Ledger, stack: str) -> None:
    """The run has come to its end: what none of its calls wants of the resources that they have named is no longer
    wanted. What we made of it stays known, so that it can be undone."""
    for address in sorted(ledger.surplus):
        entry, named = ledger.entry(address), ledger.named[address]
        if entry is not None and entry.wanted is not None and named is not None:
            shares = {**entry.shares, stack: sorted(named)} if entry.shares else {}
            kept = _with_only(entry, named | of_others(entry, stack))
            ledger.record(kept._replace(shares=shares), {}, (), begun=False)
    ledger.surplus.clear()
    ledger.flush()


def _with_only(entry: Entry, named: frozenset[str]) -> Entry:
    wanted, had = entry.wanted or {}, entry.applied or {}
    applied = {key: value for key, value in had.items() if key in named or key not in wanted}
    whole = entry.before is not None and entry.before.get("type") == had.get("type")
    ours = made(entry) if entry.touched else {}
    known = entry if "content" in named else entry._replace(content=None, seen="", source="", call="")
    return known._replace(
        wanted={key: value for key, value in wanted.items() if key in named},
        applied=applied,
        left={k: v for k, v in ours.items() if k not in applied and (whole or k == "content")},
    )
