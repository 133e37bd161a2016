"""Why: what keys held before and who changed it, of one key or of a whole namespace, has one form."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice

from sloth_runner import documents
from sloth_runner.documents import Document, reveals
from sloth_runner.documents.keys import first_kept, missing
from sloth_runner.errors import UsageError
from sloth_runner.moments import iso
from sloth_runner.plain import TYPE_CHECKING, NamedTuple, TypeAlias
from sloth_runner.state.history import Filter, Mark, Revision, head, latest, matching, one
from sloth_runner.state.layout import RUN, SHARED, check_key, check_prefix, place, prefix_of

if TYPE_CHECKING:
    from sloth_runner.app import App
    from sloth_runner.state.state import State
    from sloth_runner.state.store import Store


_BEYOND = chr(0x10FFFF) * 130
"""Sorts behind every key."""


class KeyPage(NamedTuple):
    """Some revisions of one key, newest first; ``first`` is the oldest of the key that is kept; ``shown_to``: who saw
    its sensitive values."""

    namespace: str
    key: str
    revisions: list[Revision]
    first: int
    more: bool
    shown_to: list[Document]


class Change(NamedTuple):
    """A revision, and of which key it is."""

    namespace: str
    mark: Mark
    revision: Revision


class RecentPage(NamedTuple):
    """Some changes of a namespace (None: of all), newest first, and where to go on."""

    namespace: str | None
    prefix: str
    changes: list[Change]
    next: str | None


Finding: TypeAlias = Callable[["Store", str, str, Filter, int, "Mark | None"], list[Mark]]
"""Finds the newest changes of one namespace, as ``history.latest`` does."""


def who_is_meant(store: Store, word: str) -> frozenset[str]:
    """The names that "by" means: a user's as it is, and the run that it is the start of, or the last one.

    Raises UsageError for nothing, BadName for what names nobody.
    """
    if not word:
        raise UsageError("--by takes a user, user@host, or a run")
    check_prefix(word, "who made a change")
    last = word == "last"
    prefix = prefix_of(SHARED, RUN, "" if last else word)
    found = list(store.scan(prefix, reverse=last, limit=1 if last else 2))
    return frozenset({word, place(found[0].key).name} if len(found) == 1 else {word})


def since_run(names: frozenset[str]) -> float | None:
    """Since when changes can be by one of these: a run's id begins with the moment of its start."""
    from datetime import UTC, datetime

    for name in names:
        try:
            return datetime.strptime(name[:15], "%Y%m%d-%H%M%S").replace(tzinfo=UTC).timestamp()
        except ValueError:
            continue
    return None


def of_key(
    view: State, key: str, wanted: Filter, limit: int | None, before: int | None, *, reveal: bool
) -> KeyPage:
    """What a key held; ``reveal`` is recorded. Raises BadName, KeyMissing."""
    namespace, store = view.home(check_key(key)), view.writer.store
    if head(store, namespace, key) is None:
        raise missing(view, key)
    found = matching(store, namespace, key, wanted, before=before)
    part = list(islice(found, limit))
    more = limit is not None and next(found, None) is not None
    if reveal and any(r.secret or r.old_secret for r in part):
        reveals.record_key(view, namespace, key)
    first = first_kept(view, key, part[-1].record)[0] if part else 1
    return KeyPage(namespace, key, part, first, more, reveals.found(store, namespace, key))


def key_history(app: App, part: KeyPage, *, reveal: bool) -> Document:
    """``state.history``."""
    return {
        "store": app.stores.name,
        "namespace": part.namespace,
        "key": part.key,
        "compacted_below": part.first if part.first > 1 else 0,
        "next": part.revisions[-1].record.number if part.more else None,
        "revisions": [documents.revision(r, reveal=reveal) for r in part.revisions],
        "reveals": part.shown_to,
    }


def recent(
    views: Sequence[State],
    prefix: str,
    wanted: Filter,
    limit: int,
    after: str | None,
    *,
    everywhere: bool,
    reveal: bool,
    find: Finding = latest,
) -> RecentPage:
    """The newest changes of the namespace that ``prefix`` lies in, or of all (``everywhere``); ``reveal`` is
    recorded. Raises BadName, UsageError."""
    check_prefix(prefix)
    last = None if after is None else _last(after, views, everywhere)
    marks: list[tuple[tuple[float, str, str, int], State, str, Mark]] = []
    for view in views:
        namespace = view.home(prefix)
        for mark in find(view.writer.store, namespace, prefix, wanted, limit + 1, _before(last, namespace)):
            marks.append(((-mark.time, namespace, mark.key, -mark.number), view, namespace, mark))
    marks.sort(key=lambda one: one[0])
    part: list[Change] = []
    for _, view, namespace, mark in marks[:limit]:
        found = one(view.writer.store, namespace, mark)
        if found is None:
            continue
        known = any(change.mark.key == mark.key and change.namespace == namespace for change in part)
        if reveal and not known and (found.secret or found.old_secret):
            reveals.record_key(view, namespace, mark.key)
        part.append(Change(namespace, mark, found))
    more = _cursor(marks[limit - 1][2], marks[limit - 1][3], everywhere) if len(marks) > limit else None
    return RecentPage(None if everywhere else views[0].home(prefix), prefix, part, more)


def changes(part: RecentPage, *, reveal: bool) -> list[Document]:
    """Each change as a row."""
    return [
        {
            "key": change.mark.key,
            "namespace": change.namespace,
            **documents.revision(change.revision, reveal=reveal),
        }
        for change in part.changes
    ]


def recent_history(app: App, part: RecentPage, wanted: Filter, *, reveal: bool) -> Document:
    """``state.history.list``."""
    rows = changes(part, reveal=reveal)
    return {
        "store": app.stores.name,
        "namespace": part.namespace,
        "prefix": part.prefix,
        "since": None if wanted.since is None else iso(wanted.since),
        "until": None if wanted.until is None else iso(wanted.until),
        "by": sorted(wanted.by),
        "count": len(rows),
        "next": part.next,
        "revisions": rows,
    }


def _cursor(namespace: str, mark: Mark, everywhere: bool) -> str:
    place = f"{namespace}/" if everywhere else ""
    return f"{mark.time!r}/{mark.number}/{place}{mark.key}"


def _last(text: str, views: Sequence[State], everywhere: bool) -> tuple[str, Mark]:
    """The namespace and the mark of the last change of the page before."""
    time, _, rest = text.partition("/")
    number, _, rest = rest.partition("/")
    namespace, _, key = rest.partition("/") if everywhere else (views[0].namespace, "", rest)
    try:
        return namespace, Mark(float(time), check_prefix(key, "the key to go on after"), int(number))
    except ValueError:
        raise UsageError('--after takes the "next" of a page, such as 1790000000.0/3/KEY') from None


def _before(last: tuple[str, Mark] | None, namespace: str) -> Mark | None:
    """From where on a namespace goes on; of changes at the very same time, all of the namespaces before are had."""
    if last is None:
        return None
    place, mark = last
    if namespace == place:
        return mark
    return Mark(mark.time, _BEYOND if namespace < place else "", 0 if namespace < place else 1 << 62)
