"""Why: what is put back must be ours: what others have made of it since stays, and so does what we never set.

``applied`` tells what the last run wanted; a task that asks for less than it did once has left more than that behind,
which the entry has as ``left``.
"""

from __future__ import annotations

from sloth_runner.engine.recording import covered
from sloth_runner.modules.base import differing
from sloth_runner.plain import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from sloth_runner.modules.base import Attributes, Kind, Observed
    from sloth_runner.state.ledger_records import Entry

EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
"""SHA-256 of nothing."""
MOVED = "folder"
"""Stands among ``theirs`` for: the folder that it is in is another one now."""


class Undoing(NamedTuple):
    """What a resource is to be again (None: absent), the attributes that others have changed since our writes, and
    those of ours whose earlier values nobody knows any more."""

    wanted: Attributes | None
    theirs: frozenset[str] = frozenset()
    lost: frozenset[str] = frozenset()


def undoing(entry: Entry, now: Observed, kind: Kind, *, masked: bool = False) -> Undoing:
    """What undoes our work on a resource that was looked at whole. What is gone is to be all that it was. ``masked``:
    it has an ACL of ours, which the group's digit of its mode follows."""
    there = now.attributes
    if there is None:
        return Undoing(entry.before, differing(None, entry.applied))
    seen, applied = covered(there, entry.salt), entry.applied or {}
    ours = _ours(entry, kind)
    before = entry.before or {}
    theirs = {key for key, value in applied.items() if seen.get(key) != value}
    theirs |= {key for key, value in ours.items() if seen.get(key) not in (value, before.get(key, value))}
    if _unknown(entry, ours, seen, kind):
        theirs.add("content")
    theirs -= kind.derived
    if masked and _but_for_group(str(seen.get("mode"))) == _but_for_group(str(ours.get("mode"))):
        theirs.discard("mode")
    if now.extra.get("real") != entry.extra.get("real"):  # a file that others moved there is theirs
        theirs.add(MOVED)
    if entry.before is None:
        return Undoing(None, frozenset(theirs))
    wanted = entry.before
    if wanted.get("type") == there.get("type"):  # else it has other attributes
        wanted = {key: value for key, value in wanted.items() if key in there and _is_ours(key, ours, kind)}
    lost = kind.lost(wanted) & differing(there, wanted)
    wanted = {key: value for key, value in wanted.items() if key not in lost}
    return Undoing(wanted, frozenset(theirs), lost.intersection(ours))


def _but_for_group(mode: str) -> str:
    return f"{mode[:-2]} {mode[-1:]}"


def _ours(entry: Entry, kind: Kind) -> Attributes:
    """All that our writes have set, as they left it; what is applied now overrules another name for the same."""
    applied = entry.applied or {}
    said = {name for group in kind.apart if not group.isdisjoint(applied) for name in group}
    return {**{key: value for key, value in entry.left.items() if key not in said}, **applied}


def _is_ours(key: str, ours: Attributes, kind: Kind) -> bool:
    group = next((group for group in kind.apart if key in group), None)
    return group is None or any(name in ours for name in group)


def _unknown(entry: Entry, ours: Attributes, seen: Attributes, kind: Kind) -> bool:
    """Whether there is a content that may have been ours once, and is not known to be so still: entries of older
    versions don't tell."""
    if "content" in ours or "content" not in seen or not any("content" in group for group in kind.apart):
        return False
    if entry.before is None:
        return bool(seen["content"] != covered({"content": EMPTY}, entry.salt)["content"])
    return entry.before_content is not None and bool(seen["content"] != entry.before.get("content"))


def words(theirs: frozenset[str]) -> str:
    """The attributes that others have changed, for people."""
    names = sorted(theirs - {MOVED})
    if MOVED in theirs:
        names.append("a link took the place of a folder above it")
    return ", ".join(names)
