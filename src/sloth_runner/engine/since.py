"""Why: a file and a part of it may both be ours. What a later call of ours has made of the file is no drift, and is
told as the work of that call.

It is known for sure only while the file is, byte for byte, as that call has left it. In a folder that is to hold
nothing else it is what that call has put there.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping, Sequence

from sloth_runner.engine.recording import covered
from sloth_runner.plain import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sloth_runner.modules.base import Attributes, Kind
    from sloth_runner.state.ledger_records import Entry


def of_ours(kind: Kind, drifted: frozenset[str]) -> frozenset[str]:
    """Those of the attributes that calls on other resources change, too: what is in a file, or in a folder."""
    return drifted if kind.part else drifted & {"content", kind.lists}


def file_of(entry: Entry) -> str:
    """The file that a resource is, or is in."""
    return str(entry.params.get("path") or entry.id)


def listed(kind: Kind, entry: Entry, attributes: Attributes | None) -> list[str]:
    """The paths that a folder is found to hold beside what it should."""
    return [posixpath.join(entry.id, name) for name in (attributes or {}).get(kind.lists, ())]


def starts(kinds: Mapping[str, Kind], entry: Entry, paths: Iterable[str]) -> list[str]:
    """How the addresses begin of all that may be about these paths."""
    family = entry.kind.partition(".")[0]
    parts = [name for name, kind in kinds.items() if kind.part]
    return [start for path in paths for start in (f"{family}:{path}", *(f"{name}:{path}#" for name in parts))]


def by_file(entries: Iterable[Entry]) -> dict[str, list[Entry]]:
    """Entries by the file that they are about."""
    found: dict[str, list[Entry]] = {}
    for entry in entries:
        found.setdefault(file_of(entry), []).append(entry)
    return found


def author(entry: Entry, about_it: Iterable[Entry], digest: str) -> Entry | None:
    """Whose call, after the one that ``entry`` tells of, has left the file as it is now, with ``digest``; None if it
    was others."""
    for one in sorted(about_it, key=_time, reverse=True):
        left = one.file or (one.applied or {}).get("content")
        if one.time > entry.time and left == covered({"content": digest}, one.salt)["content"]:
            return one
    return None


def writer(entry: Entry, about_it: Iterable[Entry]) -> Entry | None:
    """Whose call, after the one that ``entry`` tells of, was the last to put something into the file."""
    later = (one for one in about_it if one.time > entry.time and one.file and one.address != entry.address)
    return max(later, key=_time, default=None)


def putter(entry: Entry, paths: Iterable[str], recorded: Mapping[str, Sequence[Entry]]) -> Entry | None:
    """Whose call was the last to put one of these paths into the folder; None if others put one there, too."""
    found: list[Entry] = []
    for path in paths:
        made = [one for one in recorded.get(path, ()) if one.before is None and one.applied is not None]
        found += [one for one in made if one.id == path and one.touched and one.time > entry.time][:1]
        if not found or found[-1].id != path:
            return None
    return max(found, key=_time, default=None)


def words(one: Entry) -> str:
    """What is said of a change that was made by a call of ours."""
    run = f", in run {one.by[3]}" if one.by[3] else ""
    return f"{one.module} of task {one.by[4]} changed it since{run}"


def _time(one: Entry) -> Any:
    return one.time
