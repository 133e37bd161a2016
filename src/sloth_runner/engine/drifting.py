"""Why: what was applied and what is there now are compared resource by resource, from the ledger alone."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence

from sloth_runner.engine.solo import complete
from sloth_runner.errors import Lost, SlothError, TaskFailed
from sloth_runner.modules.base import Look, Observed, Resource
from sloth_runner.modules.difference import HIDDEN, difference
from sloth_runner.ops import Stat
from sloth_runner.plain import TYPE_CHECKING, Any, NamedTuple
from sloth_runner.state.ledger_records import checksum

if TYPE_CHECKING:
    from collections.abc import Callable

    from sloth_runner.modules.base import Kind
    from sloth_runner.ops import Found as Stated
    from sloth_runner.state.ledger_records import Entry
    from sloth_runner.transport.base import Transport
    from sloth_runner.transport.loop import Loop

OK, DRIFTED, MISSING, UNKNOWN = "ok", "drifted", "missing", "unknown"


class Found(NamedTuple):
    """How a recorded resource was met. ``attributes`` are the differing ones: name, recorded, actual; ``reason`` says
    why it is unknown, or which call of ours changed it since; ``observed`` is all that was seen."""

    entry: Entry
    status: str
    attributes: tuple[tuple[str, Any, Any], ...] = ()
    diff: str | None = None
    reason: str | None = None
    observed: Observed | None = None


def watched(entry: Entry) -> bool:
    """Whether an entry is about something that can be looked at (and not only a call's memory)."""
    return entry.memory is None


def look_all(
    kinds: Mapping[str, Kind],
    transport: Transport,
    entries: Sequence[Entry],
    content: Callable[[str], bytes | None],
    loop: Loop,
    *,
    whole: bool = False,
) -> list[Found]:
    """Look at resources of one machine, those of one kind together; with ``whole`` at all that can be seen of them.
    ``content`` gives a kept content by digest. Raises Unreachable."""
    by_kind: dict[tuple[str, str | None], list[Entry]] = {}
    for entry in entries:
        by_kind.setdefault((entry.kind, entry.user), []).append(entry)
    found: dict[str, Found] = {}
    for (name, user), group in by_kind.items():
        kind, way = kinds.get(name), transport.as_user(user)
        if kind is None:
            reason = f"this version has no kind of resource {name!r}"
            found.update({e.address: Found(e, UNKNOWN, reason=reason) for e in group})
            continue
        for entry, seen in zip(group, _observe(kind, way, group, loop, whole), strict=True):
            if isinstance(seen, SlothError):
                found[entry.address] = Found(entry, UNKNOWN, reason=seen.message)
            else:
                found[entry.address] = _compare(kind, way, entry, seen, content, loop)
    return [found[entry.address] for entry in entries]


def by_user(entries: Iterable[Entry]) -> dict[str | None, list[Entry]]:
    """Entries by who made them: as that user they are looked at."""
    found: dict[str | None, list[Entry]] = {}
    for entry in entries:
        found.setdefault(entry.user, []).append(entry)
    return found


def without_ours(
    kinds: Mapping[str, Kind],
    transport: Transport,
    found: Found,
    recorded: Mapping[str, Sequence[Entry]],
    loop: Loop,
) -> Found:
    """Leave out what another call of ours has made of the resource since. ``recorded`` are all that are about a file,
    by its path."""
    from sloth_runner.engine import since

    entry, kind = found.entry, kinds.get(found.entry.kind)
    names = frozenset(name for name, _, _ in found.attributes)
    ours = frozenset[str]() if kind is None else since.of_ours(kind, names)
    if kind is None or not ours:
        return found
    if kind.lists:
        seen = None if found.observed is None else found.observed.attributes
        one = since.putter(entry, since.listed(kind, entry, seen), recorded)
    else:
        path, way = since.file_of(entry), transport.as_user(entry.user)
        one = since.author(entry, recorded.get(path, ()), complete(way, _digest(path), loop))
        also = since.writer(entry, recorded.get(path, ())) if one is None and found.diff else None
        if also is not None:
            return found._replace(reason=f"{since.words(also)}, and others have: both show here")
    if one is None:
        return found
    left = tuple(row for row in found.attributes if row[0] not in ours)
    return found._replace(attributes=left, reason=since.words(one))


def _digest(path: str) -> Generator[Any, Any, str]:
    there: Stated = yield Stat(path, digest=True, names=False)
    return there.digest or ""


def _observe(
    kind: Kind, transport: Transport, group: Sequence[Entry], loop: Loop, whole: bool
) -> Sequence[Observed | SlothError]:
    """One look at all; if that fails, one at each, so that one failure hides no other. Raises Unreachable."""
    looks = [look(entry, whole=whole) for entry in group]
    try:
        seen: Sequence[Observed] = complete(transport, kind.observe(looks), loop)
        return seen
    except Lost:
        raise
    except SlothError as error:
        if len(looks) == 1:
            return [error]
    return [one for entry in group for one in _observe(kind, transport, [entry], loop, whole)]


def look(entry: Entry, *, whole: bool) -> Look:
    """The look at a recorded resource: at what was applied, or at all of it."""
    keys = None if whole or entry.applied is None else frozenset(entry.applied)
    return Look(Resource(entry.kind, entry.id, entry.params), keys)


def _compare(
    kind: Kind,
    transport: Transport,
    entry: Entry,
    seen: Observed,
    content: Callable[[str], bytes | None],
    loop: Loop,
) -> Found:
    applied, actual = entry.applied, seen.attributes
    if applied is None:
        if actual is None:
            return Found(entry, OK, observed=seen)
        return Found(entry, DRIFTED, (("present", False, True),), observed=seen)
    if actual is None:
        return Found(entry, MISSING, (("present", True, False),), observed=seen)
    rows: list[tuple[str, Any, Any]] = []
    for name, recorded in applied.items():
        now = actual.get(name)
        if entry.salt:
            if checksum({"salt": entry.salt, name: now}) != recorded:
                rows.append((name, HIDDEN, HIDDEN))
        elif now != recorded:
            rows.append((name, recorded, now))
    if not rows:
        return Found(entry, OK, observed=seen)
    diff = _diff(kind, transport, entry, content, loop) if any(row[0] == "content" for row in rows) else None
    return Found(entry, DRIFTED, tuple(rows), diff, observed=seen)


def _diff(
    kind: Kind, transport: Transport, entry: Entry, content: Callable[[str], bytes | None], loop: Loop
) -> str | None:
    if entry.salt:
        return HIDDEN
    recorded = content(entry.content) if entry.content is not None else None
    if kind.content is None or recorded is None:
        return None
    try:
        actual: bytes | None = complete(
            transport, kind.content(Resource(entry.kind, entry.id, entry.params)), loop
        )
    except TaskFailed:
        return None
    return None if actual is None else difference(entry.id, recorded, actual)
